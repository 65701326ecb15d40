"""Drives the real scripts of a route over real SSH, as the operator does, without Airflow around them."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fs_sync import credentials, job, records, report, scripts
from fs_sync.credentials import PlainConnection
from fs_sync.options import Route
from fs_sync.route import Kind
from lab.place import BUCKET, Place, s3_connection, ssh_connection
from lab.processes import until
from lab.servers import Sshd

RSYNC, RCLONE, MINIO = Kind("rsync", "ssh"), Kind("rclone", "ssh"), Kind("rclone", "s3")
numbers = itertools.count()

ENDS = ("rsync", "rclone", "minio", "rclone-sftp", "rsync-only")
ON_DISK = ("rsync", "rclone", "rclone-sftp", "rsync-only")
BY_RSYNC = ("rsync", "rsync-only")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make an account or a disk of its own")


@dataclass(frozen=True)
class Done:
    """What one step's job came to."""

    step: str
    exit: int
    log: str
    records: records.Records

    @property
    def error(self) -> str:
        return self.records.error[1] if self.records.error else ""


@dataclass
class Copy:
    """A run of a route: its steps so far, and the report that they make."""

    route: Route
    steps: list[Done] = field(default_factory=list)

    @property
    def exit(self) -> int:
        return self.steps[-1].exit

    @property
    def error(self) -> str:
        return self.steps[-1].error

    @property
    def log(self) -> str:
        return "\n".join(f"[{done.step}]\n{done.log}" for done in self.steps)

    @property
    def records(self) -> records.Records:
        return records.merge(*(done.records for done in self.steps))

    @property
    def held(self) -> dict[str, str]:
        """The reason for each name that was held, names as reports show them."""
        return {name: reason for reason, name in self.records.held}

    @property
    def counts(self) -> dict[str, int]:
        return dict(self.records.counts)

    @property
    def equal(self) -> bool | None:
        made = report.report(self.records, route=self.route.name, backend="", source="", target="")
        return made.digests["equal"]

    def good(self) -> Copy:
        assert self.exit == 0, f"{self.error}\n{self.log}"
        return self


@dataclass(frozen=True)
class End:
    """A backend with one of its targets: where the copy arrives, and how the job logs in there."""

    name: str
    kind: Kind
    place: Place
    connection: PlainConnection
    server: Sshd | None

    def fresh(self) -> tuple[str, Path]:
        """A target path that nothing else uses, as the route says it, and where it is on this machine."""
        name = f"to-{next(numbers)}"
        if self.server is None:
            return name, self.place.s3.root / BUCKET / name
        return str(self.server.root / name), self.server.root / name

    def route(self, source: Path | str, target: str, **options: Any) -> Route:
        to = {"conn": self.connection.conn_id, "path": target, "bucket": BUCKET if self.server is None else ""}
        return Route.model_validate({"name": "r", "source": {"conn": "source", "path": str(source)}, "target": to, **options})

    def copy(
        self,
        source: Path | str,
        target: str,
        *,
        tiers: bool = False,
        dry_run: bool = False,
        run: str = "",
        after: Copy | None = None,
        **options: Any,
    ) -> Copy:
        """
        Run plan, then the tiers if asked for, then finish, as the DAG does: what there is nothing to do for is left out.

        `after` is the last green run, whose cursor a quick scan goes on from.
        """
        made = Copy(self.route(source, target, **options))
        run = run or uuid.uuid4().hex
        made.steps.append(self.step("plan", made.route, run, dry_run=dry_run, more=cursor_of(after)))
        if made.exit or made.records.nothing or dry_run:
            return made
        for step in job.TIERS if tiers else ():
            made.steps.append(self.step(step, made.route, run))
        made.steps.append(self.step("finish", made.route, run))
        return made

    def start(
        self,
        step: str,
        route: Route,
        run: str,
        generation: int = 0,
        dry_run: bool = False,
        more: Mapping[str, str] | None = None,
        answer: str = "",
    ) -> job.Job:
        """Start one step's job, with more in its environment than the secrets, and return it."""
        target = credentials.from_connection(self.connection, self.kind.target, route.target_auth)
        identity = f"{target.address}|{route.target.bucket}|{route.target.path}"
        named = job.name_job("dag", run, "nonce", step, route.name, generation, identity, route.job_dir, route.timeout, route.stall_after)
        script = scripts.render(step, route, target, self.kind, dry_run=dry_run, answer=answer)
        handed = {**credentials.environment(target), **(more or {})}
        sent = self.place.source.run("exec sh", job.launcher(named, script, handed))
        job.parse_launch(sent.stdout)
        return named

    def step(
        self,
        step: str,
        route: Route,
        run: str,
        generation: int = 0,
        dry_run: bool = False,
        timeout: float = 120,
        more: Mapping[str, str] | None = None,
        answer: str = "",
    ) -> Done:
        """Start one step's job and wait for its end."""
        return self.wait(self.start(step, route, run, generation, dry_run, more, answer), timeout)

    def abandon(self) -> None:
        """Let time go by, so that a run which nobody goes on with no longer keeps its route."""
        for owner in (self.place.source.home / ".fs-sync" / "locks").glob("*.owner"):
            os.utime(owner, (0, 0))

    def directory(self, named: job.Job) -> Path:
        return self.place.source.home / named.place

    def wait(self, named: job.Job, timeout: float = 120) -> Done:
        directory = self.directory(named)
        until((directory / "exit").exists, f"the end of {named.name}", timeout=timeout, every=0.02)
        log = (directory / "log").read_bytes().decode("utf-8", "backslashreplace")
        results = directory / "results"
        found = records.parse(results.read_bytes() if results.exists() else b"")
        return Done(named.frame.step, int((directory / "exit").read_text()), log, found)


def cursor_of(last: Copy | None) -> dict[str, str]:
    """What a plan gets of the last green run, as the operator hands it over."""
    if last is None or last.records.cursor is None:
        return {}
    at, token = last.records.cursor
    return {"FS_SYNC_CURSOR": f"{token} {at}"}


def on(*names: str) -> pytest.MarkDecorator:
    """Run a test on these ends."""
    return pytest.mark.parametrize("end", names, indirect=True)


def shown(name: bytes) -> str:
    """A name as reports show it: control bytes as rsync writes them, other odd ones as Python does."""
    text = b"".join(b"\\#%03o" % byte if byte < 32 or byte == 127 else bytes([byte]) for byte in name)
    return records.printable(text)


def plain(conn_id: str, connection: dict[str, Any]) -> PlainConnection:
    """A connection of the lab as the package's own value."""
    return PlainConnection(
        conn_id,
        connection["conn_type"],
        connection.get("host") or "",
        connection.get("port"),
        connection.get("login") or "",
        connection.get("password") or "",
        connection.get("extra") or {},
    )


def ends(place: Place, sftp: Sshd | None = None, rsync: Sshd | None = None) -> dict[str, End]:
    """Every backend with every kind of target that is at hand."""
    found = {
        "rsync": End("rsync", RSYNC, place, plain("target", ssh_connection(place.target)), place.target),
        "rclone": End("rclone", RCLONE, place, plain("target", ssh_connection(place.target)), place.target),
        "minio": End("minio", MINIO, place, plain("store", s3_connection(place.s3)), None),
    }
    if sftp is not None:
        found["rclone-sftp"] = End("rclone-sftp", RCLONE, place, plain("sftp", ssh_connection(sftp)), sftp)
    if rsync is not None:
        found["rsync-only"] = End("rsync-only", RSYNC, place, plain("rsyncd", ssh_connection(rsync)), rsync)
    return found


def login(server: Sshd, **changes: Any) -> PlainConnection:
    """A connection to a host of the lab, with parts of it changed."""
    return plain("here", {**ssh_connection(server), **changes})
