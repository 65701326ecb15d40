"""Looks for secrets in texts: as they are, quoted, in base64 wherever it begins, and as rclone obscures them."""

from __future__ import annotations

import base64
import json
import re
import shlex
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from lab.processes import command, pids

# Public, and the same for everybody: what rclone obscures, anybody may reveal. The nonce in front makes each text another one.
RCLONE_KEY = bytes.fromhex("9c935b48730a554d6bfd7c63c886a92bd390198eb8128afbf4de162b8b95f638")
BLOCK = 16
# Of a key in its envelope, each line is a secret of its own, but for the first ones of the body, which say only what kind it is.
KEY_LINE = 60


def parts(secret: str) -> list[str]:
    """The secret, or the lines of a key that tell something of it."""
    lines = secret.splitlines()
    return [line for line in lines[2:] if len(line) >= KEY_LINE] if len(lines) > 1 else [secret]


def forms(secret: str) -> set[bytes]:
    """All fixed forms of a secret."""
    raw = secret.encode()
    found = {raw, shlex.quote(secret).encode(), json.dumps(secret)[1:-1].encode(), quote(secret, safe="").encode(), raw.hex().encode()}
    for shift in range(3):
        # Without what stands in one group with its neighbours.
        text = base64.b64encode(b"\0" * shift + raw)[4 if shift else 0 :].rstrip(b"=")[:-1]
        found |= {text, text.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def obscured(text: bytes, secret: str) -> bool:
    """Whether a text holds a word that rclone would reveal as the secret."""
    raw = secret.encode()
    length = (8 * (BLOCK + len(raw)) + 5) // 6
    for word in re.findall(rb"(?<![\w-])[\w-]{%d}(?![\w-])" % length, text):
        plain = base64.urlsafe_b64decode(word + b"=" * (-len(word) % 4))
        cipher = Cipher(algorithms.AES(RCLONE_KEY), modes.CTR(plain[:BLOCK])).decryptor()
        if cipher.update(plain[BLOCK:]) == raw:
            return True
    return False


def hits(texts: Iterable[tuple[str, bytes]], secrets: dict[str, str]) -> list[str]:
    """Given named texts and named secrets, return which secret is in which text."""
    wanted = [(name, part, forms(part)) for name, secret in secrets.items() for part in parts(secret)]
    found = []
    for where, text in texts:
        for name, part, fixed in wanted:
            if any(form in text for form in fixed) or obscured(text, part):
                found.append(f"{name} in {where}")
    return found


def command_lines() -> Iterator[tuple[str, bytes]]:
    """The command lines of all processes of this machine."""
    for pid in pids():
        try:
            text = command(pid)
        except OSError:
            continue
        yield f"the command line of {pid}: {text[:60]!r}", text


def files(*roots: Path) -> Iterator[tuple[str, bytes]]:
    """The names and contents of all regular files below some directories."""
    for root in roots:
        for path in [root, *root.rglob("*")]:
            try:
                yield str(path), str(path).encode() + b"\n" + (path.read_bytes() if path.is_file() and not path.is_symlink() else b"")
            except FileNotFoundError:
                continue


def database(path: Path) -> Iterator[tuple[str, bytes]]:
    """Airflow's database as text, a statement at a time; the table of connections, which is encrypted, aside."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30) as opened:
        for number, statement in enumerate(opened.iterdump()):
            if not statement.startswith('INSERT INTO "connection"'):
                yield f"the database, statement {number}: {statement[:60]}", statement.encode()
