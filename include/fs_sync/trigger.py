"""JobTrigger: a job watched from the triggerer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from fs_sync.errors import ConnectionFailed, FsSyncError
from fs_sync.host_watch import HostWatch, kill, shared
from fs_sync.job import Answer, Job
from fs_sync.lines import Lines

POLL = 1.0
# A host that stays away for so long gives the task back to the worker, which says so.
PATIENCE = 600.0
LONGEST_PAUSE = 30.0
KILL_WAIT = 25.0
# The request and the head of an answer, about.
OVERHEAD = 200


class JobTrigger(BaseTrigger):
    """
    Logs a job's lines until it ends, then says so in one event.

    What a trigger is made of can't be changed while it runs, so how far the log was read is kept where every look at the job is
    noted anyway: with its lease, on the host. A triggerer that takes over goes on from there, and repeats one piece at most.
    """

    def __init__(
        self, conn_id: str, job: dict[str, Any], offset: int = 0, worker_bytes: int = 0, late_at: float = 0.0, slow: str = ""
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id
        self.job = job
        self.offset = offset
        self.worker_bytes = worker_bytes
        self.late_at = late_at
        self.slow = slow

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class and its arguments; the connection's id stands for all that is secret."""
        names = ("conn_id", "job", "offset", "worker_bytes", "late_at", "slow")
        return "fs_sync.trigger.JobTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """
        Watch until the job ends, or is late (epoch seconds); the event holds the state, how far the log was read, and the bytes that went
        over the control channel.
        """
        lines = Lines(self.offset)
        try:
            async with shared(self.conn_id) as watch:
                answer = await self._watch(watch, lines)
            event: dict[str, Any] = {"state": answer.state, "exit": answer.exit}
        except FsSyncError as error:
            event = {"state": "unwatched", "error": f"{type(error).__name__}: {error}"[:1000]}
        event |= {"offset": lines.offset, "bytes": self.worker_bytes, "late_at": self.late_at, "slow": self.slow}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """End the job, when somebody marks the task or clears it."""
        try:
            said = await asyncio.wait_for(kill(self.conn_id, Job.from_dict(self.job)), KILL_WAIT)
            self.log.info("%s", said)
        except (FsSyncError, TimeoutError) as error:
            self.log.warning("The job could not be ended; it stops itself when nobody watches it any more: %s", error)

    async def _watch(self, watch: HostWatch, lines: Lines) -> Answer:
        """Log until the job's last answer, or the first one when it is late, and return that. Raise what keeps it from being watched."""
        job = Job.from_dict(self.job)
        clock = asyncio.get_running_loop().time
        lost: float | None = None
        pause, resumed = POLL, True
        while True:
            try:
                answer = await watch.ask(job, lines.offset, resumed=resumed)
            except ConnectionFailed as error:
                lost = clock() if lost is None else lost
                if clock() - lost > PATIENCE:
                    raise
                self.log.info("The connection is lost, the job is not: it is looked for again in %.0f s (%s)", pause, error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            lost, pause, resumed = None, POLL, False
            self.worker_bytes += len(answer.log) + len(answer.results) + OVERHEAD
            for line in lines.feed(answer.offset, answer.log, last=answer.ended):
                self.log.info("%s", line)
            if answer.ended or 0 < self.late_at <= time.time():
                return answer
            if lines.offset == answer.offset:  # nothing new, or no whole line yet
                await asyncio.sleep(POLL)
