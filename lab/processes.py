"""Start, find and end processes so that none is left behind."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# Every process of a lab carries this in its environment, and so do the jobs that it starts on the lab's hosts.
MARK = "FS_SYNC_LAB"
PR_SET_PDEATHSIG = 1


def until(condition: Callable[[], T], what: str, timeout: float = 30, every: float = 0.05) -> T:
    """Given a condition, return its first true value. Raise TimeoutError, naming what was waited for."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(every)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(
    argv: Sequence[str | Path],
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    mark: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, with its output in the log; it ends when the one that started it does."""
    environment = dict(os.environ if env is None else env)
    if mark is not None:
        environment[MARK] = str(mark)
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=cwd,
            start_new_session=True,
            # The kernel sends this signal when the *thread* that started the process ends, so only the main thread asks for it.
            preexec_fn=functools.partial(_end_with_parent, os.getpid()) if threading.current_thread() is threading.main_thread() else None,
        )


def stop(process: subprocess.Popen[bytes], patience: float = 10) -> None:
    """End a process that was started here, its group and all its descendants; return when they are gone."""
    family = [process.pid, *descendants(process.pid)]
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kill(*family[1:])


def kill(*pids: int) -> None:
    """Kill processes and return when they are gone; one that is gone already is no error."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: not any(alive(pid) for pid in pids), f"end of {pids}", timeout=10, every=0.01)


def alive(pid: int) -> bool:
    """Return whether the process runs; a zombie does not."""
    try:
        # The name in brackets may hold anything, so the state is looked for after the last one.
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def descendants(pid: int) -> list[int]:
    """Return the children of a process, their children and so on."""
    children: dict[int, list[int]] = {}
    for other in pids():
        with contextlib.suppress(OSError):
            parent = int(Path(f"/proc/{other}/stat").read_bytes().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(other)
    found: list[int] = []
    queue = [pid]
    while queue:
        queue = [child for parent in queue for child in children.get(parent, [])]
        found += queue
    return found


def of_user(uid: int) -> list[int]:
    """Return the processes of a user."""
    found = []
    for pid in pids():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}").stat().st_uid == uid and alive(pid):
                found.append(pid)
    return found


def marked(text: str | bytes | Path, *, environment: bool = True) -> list[int]:
    """Return the processes whose command line (or environment) has the text, this one and its parents aside."""
    wanted = os.fsencode(text) if not isinstance(text, bytes) else text
    found = []
    for pid in sorted(set(pids()) - _ancestors()):
        with contextlib.suppress(OSError):
            if wanted in command(pid) or (environment and wanted in Path(f"/proc/{pid}/environ").read_bytes()):
                found.append(pid)
    return [pid for pid in found if alive(pid)]


def command(pid: int) -> bytes:
    """Return the command line of a process, its words parted by NUL."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def sweep(directory: Path) -> list[int]:
    """Kill what carries the mark of a lab's directory, jobs that outlived their server among them; return the pids."""
    found = marked(f"{MARK}={directory}\0")
    kill(*found)
    return found


@contextlib.contextmanager
def alone(directory: Path, keep: bool = False) -> Iterator[None]:
    """Hold a directory for this process until the end of the block, made anew and empty if not kept. Raise SystemExit if another one does.

    Only its owner can look into it.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    with directory.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SystemExit(f"{directory} is used by another run: wait for its end or stop it") from None
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700, exist_ok=keep)
        # What a run that was killed left behind would go on in a directory that is no more.
        for part in directory, *(directory / name for name in ("run", "lab/source", "lab/target", "lab/s3")):
            sweep(part)
        yield


def pids() -> Iterator[int]:
    """Return the ids of all processes."""
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _ancestors() -> set[int]:
    found = set()
    pid = os.getpid()
    while pid > 0:
        found.add(pid)
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
        except OSError:
            break
    return found


def _end_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before the call
        os.kill(os.getpid(), signal.SIGTERM)
