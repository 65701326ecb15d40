"""Secrets while a transfer runs and after it: in no command line, no file and no log, and the agent ends with its job."""

import base64
import contextlib
import os
import re
import shlex
import stat
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from fs_sync import job
from fs_sync.credentials import from_connection, secret_forms
from lab import processes, tree
from lab.accounts import account
from lab.place import ssh_connection
from lab.processes import marked, until
from lab.servers import sshd
from tests.integration.driver import End, needs_root, plain

PASSWORD = "s3cret 'of'\"the\" $target&co=%41/+"
# rclone's own key, which is in its source: what it calls obscured is no secret.
OBSCURE = bytes.fromhex("9c935b48730a554d6bfd7c63c886a92bd390198eb8128afbf4de162b8b95f638")
TOKEN = re.compile(rb"[A-Za-z0-9_-]{24,}")
RCLONE = Path(sys.executable).parent / "rclone"


@dataclass
class Seen:
    """All that was seen of a run, by where, and the agents of its source host."""

    source: Path | None = None
    places: dict[str, set[bytes]] = field(default_factory=lambda: {"command lines": set(), "files": set()})
    agents: set[int] = field(default_factory=set)

    def look(self) -> None:
        """Look at every process of the machine."""
        for pid in processes.pids():
            with contextlib.suppress(OSError):
                line = processes.command(pid)
                self.places["command lines"].add(line)
                # Other tests have agents of their own.
                if (
                    line.startswith(b"ssh-agent\0-D")
                    and os.fsencode(f"FS_SYNC_JOB={self.source}/") in Path(f"/proc/{pid}/environ").read_bytes()
                ):
                    self.agents.add(pid)

    def read(self, *directories: Path) -> None:
        """Read every file below some directories, and their names."""
        for directory in directories:
            for place, _, names in os.walk(directory):
                for name in names:
                    path = Path(place, name)
                    self.places["files"].add(os.fsencode(path))
                    with contextlib.suppress(FileNotFoundError):
                        if stat.S_ISREG(path.lstat().st_mode):
                            self.places["files"].add(path.read_bytes())

    def hits(self, secrets: list[str]) -> list[tuple[str, bytes]]:
        """Where a form of one of the secrets was seen."""
        wanted = {form for secret in secrets for form in forms(secret)}
        found = []
        for where, texts in self.places.items():
            for text in texts:
                if any(form in text for form in wanted) or any(reveals(token, secrets) for token in TOKEN.findall(text)):
                    found.append((where, text[:300]))
        return found


def forms(secret: str) -> set[bytes]:
    """Every form of a secret that is always the same text; a key also by each line of its body."""
    made = {*secret_forms(secret), shlex.quote(secret), quote(secret), quote(secret, safe=""), base64.b64encode(secret.encode()).decode()}
    if "\n" in secret:
        made |= {line for line in secret.splitlines() if line and not line.startswith("-----")}
    return {form.encode() for form in made}


def reveals(token: bytes, secrets: list[str]) -> bool:
    """Whether a word is one of the secrets as rclone obscures them: another text each time."""
    if len(token) not in {(len(secret.encode()) + 16) * 4 // 3 + bool((len(secret.encode()) + 16) % 3) for secret in secrets}:
        return False
    try:
        raw = base64.urlsafe_b64decode(token + b"=" * (-len(token) % 4))
    except ValueError:
        return False
    decryptor = Cipher(algorithms.AES(OBSCURE), modes.CTR(raw[:16])).decryptor()
    return decryptor.update(raw[16:]) in {secret.encode() for secret in secrets}


def secrets_of(end: End) -> list[str]:
    target = from_connection(end.connection, end.kind.target, "connection")
    return [secret for secret in (target.password, target.key, target.secret_key) if secret]


def where(end: End) -> list[Path]:
    """The directories of both hosts that a job may write to, and the logs."""
    place = end.place
    far = [end.server.home, end.server.root] if end.server else [place.s3.root]
    return [place.source.home, *far]


def logs(end: End) -> list[Path]:
    return [end.place.source.log, end.server.log if end.server else end.place.s3.log]


@contextlib.contextmanager
def watched(seen: Seen) -> Iterator[None]:
    """Look at the machine's processes all the time until the end of the block."""
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.03):
            seen.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def copy(end: End, source: Path, seen: Seen, *, stop: bool = False) -> list[job.Job]:
    """Copy a tree slowly and look at all of it meanwhile; with `stop` end the job in the middle. Return the jobs."""
    route = end.route(source, end.fresh()[0], bandwidth="150K")
    run = uuid.uuid4().hex
    with watched(seen):
        plan = end.start("plan", route, run)
        assert end.wait(plan).exit == 0
        finish = end.start("finish", route, run)
        directory = end.directory(finish)
        until(lambda: b"progress" in (directory / "log").read_bytes(), "a progress line", every=0.02)
        assert not (directory / "exit").exists()
        seen.read(*where(end))
        if stop:
            end.place.source.run("exec sh", job.killer(finish))
        done = end.wait(finish)
    assert done.exit == (143 if stop else 0), f"{done.error}\n{done.log}"
    seen.read(*where(end))
    seen.places["logs"] = {log.read_bytes() for log in logs(end)}
    return [plan, finish]


def nothing_left(end: End, jobs: list[job.Job]) -> None:
    """Neither host has a process of the jobs."""
    for made in jobs:
        until(lambda made=made: not marked(f"FS_SYNC_JOB={end.directory(made)}"), f"the end of {made.name} on the source", 10)
        assert not (end.directory(made) / "agent").exists()
    until(lambda: not end.place.source.sessions(), "the end of all sessions on the source", 10)
    if end.server:
        until(lambda: not end.server.sessions(), "the end of all sessions on the target", 10)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    tree.make_tree(path, files=20, big=400_000)
    return path


@pytest.fixture
def by_password(ends: dict[str, End], tmp_path: Path) -> Iterator[Callable[[str], End]]:
    with account(password=PASSWORD) as person, sshd(tmp_path / "login", person) as server:

        def end(name: str) -> End:
            return replace(ends[name], server=server, connection=plain("target", ssh_connection(server, password=PASSWORD)))

        yield end


def check(end: End, seen: Seen) -> None:
    found = secrets_of(end)
    assert found
    assert len(seen.places["command lines"]) > 10
    assert len(seen.places["files"]) > 50
    assert seen.hits(found) == []


@pytest.mark.parametrize("name", ["rsync", "rclone", "minio"])
def test_a_key_is_seen_nowhere_and_the_agent_ends_with_the_job(ends: dict[str, End], source: Path, name: str) -> None:
    seen = Seen(ends[name].place.source.home)
    jobs = copy(ends[name], source, seen)
    check(ends[name], seen)
    tool = b"rsync\0" if name == "rsync" else b"rclone\0"
    assert any(line.startswith(tool) and b"bwlimit" in line for line in seen.places["command lines"])
    assert bool(seen.agents) == (name != "minio")
    nothing_left(ends[name], jobs)
    assert not [pid for pid in seen.agents if processes.alive(pid)]


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("name", ["rsync", "rclone"])
def test_a_password_is_seen_nowhere(by_password: Callable[[str], End], source: Path, name: str) -> None:
    end, seen = by_password(name), Seen()
    assert secrets_of(end) == [PASSWORD]
    jobs = copy(end, source, seen)
    check(end, seen)
    assert not [line for line in seen.places["command lines"] if b"sshpass" in line]
    nothing_left(end, jobs)


@pytest.mark.parametrize("name", ["rsync", "minio"])
def test_a_job_that_is_stopped_leaves_no_process_and_no_secret(ends: dict[str, End], source: Path, name: str) -> None:
    seen = Seen(ends[name].place.source.home)
    jobs = copy(ends[name], source, seen, stop=True)
    check(ends[name], seen)
    nothing_left(ends[name], jobs)
    assert not [pid for pid in seen.agents if processes.alive(pid)]


def test_the_search_finds_every_form(tmp_path: Path) -> None:
    key = (
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
        and (tmp_path / "key").read_text()
    )
    obscured = subprocess.run([RCLONE, "obscure", "-"], input=PASSWORD, capture_output=True, text=True, check=True).stdout.strip()
    texts = [
        PASSWORD,
        shlex.quote(PASSWORD),
        quote(PASSWORD, safe=""),
        base64.b64encode(PASSWORD.encode()).decode(),
        obscured,
        key.splitlines()[2],
    ]
    for text in texts:
        seen = Seen()
        seen.places["files"] = {f"before {text}=after".encode(), b"other"}
        assert len(seen.hits([PASSWORD, key])) == 1, text
    with subprocess.Popen(["sh", "-c", "read line", PASSWORD], stdin=subprocess.PIPE) as process:
        seen = Seen()
        until(lambda: seen.look() or seen.hits([PASSWORD]), "the password in a command line", 5)
        process.communicate(b"end\n")
