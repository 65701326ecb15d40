"""A job watched from the worker: its log as it comes, over a connection that may break and is made again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from fs_sync.errors import ConnectionFailed
from fs_sync.lines import Lines

if TYPE_CHECKING:
    from fs_sync.credentials import PlainConnection
    from fs_sync.hosts import Host, Watch
    from fs_sync.job import Answer, Job, Launched

POLL = 0.25
# A host that was there is tried for so long before the task is given back to Airflow's own retries.
PATIENCE = 180.0
LONGEST_PAUSE = 20.0


class Watcher:
    """Starts a job and watches it."""

    def __init__(self, conn: PlainConnection, say: Callable[[str], None]) -> None:
        self.conn = conn
        self.say = say
        self.stopping = threading.Event()
        self._stack = ExitStack()
        self._host: Host | None = None
        self._watch: Watch | None = None
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """What went over the control channel, both ways."""
        return self._bytes + (self._host.bytes if self._host else 0)

    def __enter__(self) -> Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def launch(self, job: Job, script: str, secrets: Mapping[str, str]) -> Launched:
        """Start the job, or find it; a host that can't be reached is an error at once."""
        return self._connected().launch(job, script, secrets)

    def watch(self, job: Job, lines: Lines, until: float | None) -> Answer | None:
        """
        Log the job's lines until it ends; return its last answer, or None if it still ran at `until` (of time.monotonic).

        None also when `stopping` is set. Raise ConnectionFailed when the host stays away.
        """
        lost: float | None = None
        pause = 1.0
        while True:
            try:
                answer = self._look(job, lines)
                lost, pause = None, 1.0
            except ConnectionFailed as error:
                self._drop()
                lost = time.monotonic() if lost is None else lost
                if time.monotonic() - lost > PATIENCE:
                    raise
                self.say(f"The connection is lost, the job is not: it is looked for again in {pause:.0f} s ({error})")
                if self.stopping.wait(pause):
                    return None
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            if answer.ended:
                return answer
            if self.stopping.is_set() or (until is not None and time.monotonic() >= until):
                return None
            if lines.offset == answer.offset:  # nothing new, or no whole line yet
                self.stopping.wait(POLL)

    def _look(self, job: Job, lines: Lines) -> Answer:
        if self._watch is None:
            self._watch = self._stack.enter_context(self._connected().watch())
        answer = self._watch.ask(job, lines.offset)
        for line in lines.feed(answer.offset, answer.log, last=answer.ended):
            self.say(line)
        return answer

    def _connected(self) -> Host:
        from fs_sync import hosts

        if self._host is None:
            self._host = self._stack.enter_context(hosts.connect(self.conn))
        return self._host

    def _drop(self) -> None:
        self._bytes = self.bytes
        self._host = self._watch = None
        self._stack.close()


def kill(conn: PlainConnection, job: Job) -> str:
    """End a job over a connection of its own, whatever became of the one that watches it; return what the host says."""
    from fs_sync import hosts

    with hosts.connect(conn, patience=0) as host:
        return host.kill(job)
