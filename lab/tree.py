"""A tree of files to replicate, and what is needed to compare two of them."""

from __future__ import annotations

import hashlib
import os
import random
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

MEBI = 1024 * 1024
# Everything that the job leaves on a target stands under this one name, and is no part of the copy.
OURS = b".fs-sync"
# A fixed time in the past, with a part of a second that only a tool that keeps nanoseconds brings over.
EPOCH = 1_700_000_000_123_456_789

# Names that break a tool or a script that is careless; each is one path component.
AWKWARD: dict[str, bytes] = {
    "space": b"two words",
    "spaces": b" leading and trailing ",
    "single quote": b"it's",
    "double quote": b'say "hi"',
    "command": b"$(touch x)",
    "backquote": b"`touch y`",
    "jinja": b"{{ 7*7 }}",
    "jinja comment": b"${#x}",
    "dash": b"-rf",
    "double dash": b"--delete",
    "newline": b"new\nline",
    "tab": b"a\ttab",
    "return": b"carriage\rreturn",
    "backslash": b"back\\slash",
    "escape": b"\\#012",
    "not utf-8": b"latin-\xe9\xff",
    "long": b"l" * 255,
    "nfc": "caf\u00e9".encode(),
    "nfd": "cafe\u0301".encode(),
    "dot": b".hidden",
    "dots": b"...",
    "glob": b"a*b?[c]{d}",
    "hash": b"#comment",
    "semicolon": b";comment",
    "colon": b"host:path",
    "percent": b"100%s",
    "ampersand": b"a&b|c<d>e",
    "emoji": "\U0001f4c1".encode(),
    "rsync's partial": b".x.AbC123",
    "rclone's partial": b"x.1a2b3c4d.partial",
    "a tilde": b"~",
    "quote of rclone": "\u201b".encode(),
    "control": b"bell\x07",
}


@dataclass(frozen=True)
class Entry:
    """One entry of a listing; what differs between two listings of an untouched tree is nothing."""

    kind: str
    mode: int
    mtime_ns: int
    size: int
    link: bytes = b""


def make_tree(
    root: Path,
    files: int = 300,
    big: int = 0,
    seed: int = 1,
    awkward: Iterable[str] | bool = True,
    empty: bool = True,
) -> int:
    """Make a tree of nested directories, small files, awkward names and one big file; return the number of files.

    `awkward` chooses from AWKWARD by key. The same arguments make the same tree, its times included.
    """
    chance = random.Random(seed)
    base = os.fsencode(root)
    os.makedirs(base, exist_ok=True)
    made: list[bytes] = []
    for number in range(files):
        depth = number % 4
        directory = b"/".join(b"dir-%d" % chance.randrange(5) for _ in range(depth))
        made.append(os.path.join(directory, b"file-%04d.bin" % number))
    keys = AWKWARD if awkward is True else (awkward or ())
    for key in keys:
        made += [os.path.join(b"awkward", AWKWARD[key]), os.path.join(b"awkward directories", AWKWARD[key], b"inside")]
    for number, name in enumerate(made):
        size = 0 if number == 0 else chance.randrange(1, 20_000)
        write(os.path.join(base, name), chance.randbytes(size), mode=chance.choice([0o644, 0o640, 0o755, 0o600]))
    if big:
        made.append(b"big.bin")
        write_big(os.path.join(base, b"big.bin"), big, seed)
    if empty:
        os.makedirs(os.path.join(base, b"empty", b"empty too"), exist_ok=True)
    for directory, names, _ in os.walk(base, topdown=False):
        for name in names:
            os.utime(os.path.join(directory, name), ns=(EPOCH, EPOCH))
    return len(made)


def write(path: Path | bytes, data: bytes, mode: int = 0o644, mtime_ns: int | None = EPOCH) -> None:
    """Write a file with its mode and time, and the directories above it."""
    name = os.fsencode(path)
    os.makedirs(os.path.dirname(name), exist_ok=True)
    with open(name, "wb") as file:
        file.write(data)
    os.chmod(name, mode)
    if mtime_ns is not None:
        os.utime(name, ns=(mtime_ns, mtime_ns))


def write_big(path: Path | bytes, size: int, seed: int = 1) -> None:
    """Write a file of random bytes without holding it in memory."""
    chance = random.Random(seed)
    with open(path, "wb") as file:
        while size > 0:
            file.write(chance.randbytes(min(size, MEBI)))
            size -= MEBI
    os.utime(path, ns=(EPOCH, EPOCH))


def files(root: Path) -> Iterator[bytes]:
    """Return the regular files below a root (or the root itself), by path relative to it."""
    base = os.fsencode(root)
    if os.path.isfile(base):
        yield os.path.basename(base)
        return
    for directory, names, found in os.walk(base):
        if directory == base:
            names[:] = [name for name in names if name != OURS]
        for name in found:
            path = os.path.join(directory, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield os.path.relpath(path, base)


def checksums(root: Path, only: Iterable[bytes] | None = None) -> dict[bytes, str]:
    """Return the SHA-256 of every regular file below a root (or of some of them, what is missing left out)."""
    base = os.fsencode(root)
    found = {}
    for name in files(root) if only is None else only:
        path = base if os.path.isfile(base) else os.path.join(base, name)
        if only is not None and not os.path.isfile(path):
            continue
        with open(path, "rb") as file:
            found[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def digest(root: Path, only: Iterable[bytes] | None = None) -> str:
    """Return one SHA-256 over the sorted list of the files below a root and their contents."""
    total = hashlib.sha256()
    for name, checksum in sorted(checksums(root, only).items()):
        total.update(checksum.encode() + b"  " + name + b"\0")
    return total.hexdigest()


def keepable(name: bytes) -> bool:
    """Return whether an object store can keep a name: its keys are UTF-8 and, since listings are XML, without control characters."""
    try:
        return all(character >= " " and character != "\x7f" for character in name.decode())
    except UnicodeDecodeError:
        return False


def listing(root: Path) -> dict[bytes, Entry]:
    """Return everything below a root, itself too, with what a copy must not touch: kind, mode, time, size, link."""
    base = os.fsencode(root)
    found = {b".": _entry(base)}
    for directory, names, others in os.walk(base):
        for name in (*names, *others):
            path = os.path.join(directory, name)
            found[os.path.relpath(path, base)] = _entry(path)
    return found


def _entry(path: bytes) -> Entry:
    status = os.lstat(path)
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "other")
    # The size of a directory is the file system's own business.
    size = status.st_size if kind == "file" else 0
    link = os.readlink(path) if kind == "link" else b""
    return Entry(kind, stat.S_IMODE(status.st_mode), status.st_mtime_ns, size, link)
