"""What a step hands on to the next ones, and the report that they make together; plain JSON, for XCom."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from fs_sync import records as recorded
from fs_sync.errors import FsSyncError, JobVanished, from_exit
from fs_sync.job import TIERS, Answer
from fs_sync.options import Endpoint, Route
from fs_sync.records import Records
from fs_sync.report import Report, report
from fs_sync.route import Kind

# More than either is copied by a tier of its own before `finish`; below, `finish` alone is the fastest.
SMALL_BYTES = 64 * 1024**2
SMALL_FILES = 1000


def planned(said: Records, worker_bytes: int, began: float, *, ahead: bool = True) -> dict[str, Any]:
    """
    Given what plan found, return what the later steps need of it; `tiers` are those with enough to do for a step of their own.

    Not `ahead` where the worker carries the bytes: a step of its own might come to another worker, and gains nothing.
    """
    files, size = said.counts.get("new", 0) + said.counts.get("changed", 0), said.bytes.get("todo", 0)
    over = said.nothing or said.dry
    return {
        "files": files,
        "bytes": size,
        "tiers": [tier for tier in TIERS if ahead and not over and _much(*said.tiers.get(tier, (0, 0)))],
        "over": over,
        "oversized": _asked(said),
        "report": None,
        "records": said.to_dict(),
        "worker_bytes": worker_bytes,
        "began": began,
    }


def _asked(said: Records) -> dict[str, Any] | None:
    """What a person is to be asked about."""
    files, size = said.tiers.get("oversized", (0, 0))
    why = [text for _, policy, text in said.anomalies if policy == "approve"]
    return {"files": files, "bytes": size, "named": [list(one) for one in said.oversized], "why": why, "rate": 0} if files else None


def _much(files: int, size: int) -> bool:
    return size > SMALL_BYTES or files > SMALL_FILES


def transferred(said: Records, worker_bytes: int) -> dict[str, Any]:
    """Given what a tier did, return what finish needs of it."""
    return {"records": said.to_dict(), "worker_bytes": worker_bytes}


def route_report(
    dag_id: str, kind: Kind, route: Route, said: Records, worker_bytes: int, began: float, earlier: Sequence[Mapping[str, Any]] = ()
) -> Report:
    """Given a route, what this step said and what those before handed on, return the report of all of them."""
    steps = [*(recorded.from_dict(step["records"]) for step in earlier), said]
    if kind.runner == "worker":
        # All that the tool moved, it moved through this machine.
        worker_bytes += sum(step.bytes.get("wire", 0) for step in steps)
    return report(
        recorded.merge(*steps),
        route=route.name,
        backend=kind.backend,
        source=_place(route.source),
        target=_place(route.target),
        dag_id=dag_id,
        worker_bytes=worker_bytes + sum(int(step["worker_bytes"]) for step in earlier),
        total=max(0.0, time.time() - began),
    )


def _place(end: Endpoint) -> str:
    return f"{end.conn}:{'/'.join(part for part in (end.bucket, end.path) if part)}"


def failure(answer: Answer, said: Records) -> FsSyncError | None:
    """Given a job's last answer and its records, return the error that it ended with, if it is one."""
    if answer.state != "done" or answer.exit is None:
        where = "its directory is gone from the host" if answer.state == "missing" else "it left no exit status"
        return JobVanished(f"the job is gone and {where}: a reboot, no memory left, or somebody killed it; it is started again")
    if answer.exit == 0:
        return None
    own = said.error is not None and said.error[0] == answer.exit
    return from_exit(answer.exit, said.error[1] if own and said.error else "")
