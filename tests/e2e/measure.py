"""What a run costs the worker, measured from outside: the bytes that pass, and the memory of its task."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lab.processes import until
from lab.servers import HOST

MEBI = 1024 * 1024


@dataclass
class Relay:
    """A port that leads to another one; `bytes` is all that went through, both ways."""

    port: int
    bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextlib.contextmanager
def relay(port: int) -> Iterator[Relay]:
    """Lead connections to a port of this machine, and count, until the end of the block."""
    with socket.create_server((HOST, 0)) as server:
        counted = Relay(server.getsockname()[1])
        threading.Thread(target=_accept, args=(server, port, counted), daemon=True).start()
        yield counted


def _accept(server: socket.socket, port: int, counted: Relay) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = server.accept()
            host = socket.create_connection((HOST, port))
            for ends in (client, host), (host, client):
                threading.Thread(target=_pump, args=(*ends, counted), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket, counted: Relay) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            with counted.lock:
                counted.bytes += len(data)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def memory(pid: int, name: str) -> int:
    """Given a process and a name of its status (VmRSS, VmHWM), return the KiB, or 0 if it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return 0


def growth(pid: int) -> int:
    """Follow a process to its end and return by how many KiB its peak lies above what it has now."""
    before = memory(pid, "VmRSS")
    peaks = [before]

    def ended() -> bool:
        peaks.append(memory(pid, "VmHWM"))
        return not peaks[-1]

    until(ended, f"end of process {pid}", timeout=120, every=0.1)
    return max(peaks) - before


def fill(path: Path, size: int) -> None:
    """Write a file that no tool can make smaller, cheaply: one block of random bytes, of which each copy begins with its number."""
    block = bytearray(os.urandom(8 * MEBI))
    with path.open("wb") as file:
        for number in range(size // len(block)):
            block[:8] = number.to_bytes(8, "little")
            file.write(block)
