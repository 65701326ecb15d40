"""Temporary accounts of the machine, for what a lab's own login can't show: passwords, other shells, other users."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lab.processes import alive, kill, of_user

PREFIX = "fslab"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Account:
    """An account of the machine, with a directory that holds its home and that it may reach."""

    name: str
    uid: int
    gid: int
    home: Path
    directory: Path
    shell: str
    password: str = field(repr=False)


@contextlib.contextmanager
def account(shell: str = "/bin/sh", password: str | None = "") -> Iterator[Account]:
    """Make an account until the end of the block; password "" means a random one and None means no password login. Root only."""
    if os.geteuid() != 0:
        raise PermissionError("an account can be made by root only")
    sweep_accounts()
    if password == "":
        password = secrets.token_urlsafe(18)
    # The name tells which process made it, so that a leftover can be told from another's.
    name = f"{PREFIX}{os.getpid()}n{next(_numbers)}"
    directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}-"))
    directory.chmod(0o755)
    home = directory / "home"
    try:
        subprocess.run(["useradd", "--create-home", "--home-dir", home, "--shell", shell, "--user-group", name], check=True)
        if password:
            subprocess.run(["chpasswd"], input=f"{name}:{password}\n".encode(), check=True)
        else:
            # "*" forbids a password but not a key, where "!" would lock the account for sshd altogether.
            subprocess.run(["usermod", "--password", "*", name], check=True)
        entry = pwd.getpwnam(name)
        os.chown(directory, entry.pw_uid, entry.pw_gid)
        yield Account(name, entry.pw_uid, entry.pw_gid, home, directory, shell, password or "")
    finally:
        _remove(name)
        shutil.rmtree(directory, ignore_errors=True)


def sweep_accounts() -> list[str]:
    """Remove the accounts whose maker is gone; return their names."""
    gone = []
    for entry in pwd.getpwall():
        maker, _, number = entry.pw_name.removeprefix(PREFIX).partition("n")
        if entry.pw_name.startswith(PREFIX) and maker.isdigit() and number.isdigit() and not alive(int(maker)):
            _remove(entry.pw_name)
            shutil.rmtree(Path(entry.pw_dir).parent, ignore_errors=True)
            gone.append(entry.pw_name)
    return gone


def _remove(name: str) -> None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return
    kill(*of_user(entry.pw_uid))
    subprocess.run(["userdel", "--force", name], check=False, capture_output=True)
    subprocess.run(["groupdel", name], check=False, capture_output=True)
