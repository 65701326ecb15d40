"""One real Airflow over one lab for all tests that go through a scheduler, and what they look at a run with."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fs_sync import job
from lab import tree
from lab.accounts import Account, account
from lab.airflow import REPOSITORY
from lab.place import SOURCE, TARGET, ssh_connection
from lab.processes import alive, kill, pids, until
from lab.rest import Rest
from lab.servers import Sshd, sshd
from lab.stage import Stage, stage

# Further schedules of rsync, see dags/schedules.py: jobs of the first are watched by their worker, of the second by the triggerer.
WORKER, TRIGGERER = "fs_sync_rsync_worker", "fs_sync_rsync_triggerer"
FLAT, TEXT, TEN, FORM, DRY = "fs_sync_rsync_flat", "fs_sync_rsync_text", "fs_sync_rsync_ten", "fs_sync_rsync_form", "fs_sync_rsync_dry"
PAIR, QUICK, FULL = "fs_sync_rsync_pair", "fs_sync_rsync_pair_quick", "fs_sync_rsync_pair_full"
CARRIED = "fs_sync_rclone_carried"
TOLD, NIGHTLY, STALE = "fs_sync_rsync_told", "nightly_copy", "fs_sync_stale"
SETTINGS = {
    "AIRFLOW__CORE__PARALLELISM": "8",
    # The files are read once; nothing here changes them.
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    # A triggerer that was killed is noticed after this time and not after half a minute.
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "5",
}
BY_PASSWORD = "target_by_password"
MEBI = tree.MEBI
numbers = itertools.count()


@dataclass(frozen=True)
class Run:
    """One run of a DAG, and how it is looked at."""

    lab: Lab
    dag_id: str
    id: str

    def wait(self, timeout: float = 120) -> str:
        return self.lab.rest.wait(self.dag_id, self.id, timeout)

    def good(self, timeout: float = 120) -> Run:
        """Wait for a green end."""
        state = self.wait(timeout)
        assert state == "success", self.told()
        return self

    def told(self) -> str:
        """The states of all tasks and the ends of the logs of the bad ones, for a test that failed."""
        states = self.lab.rest.states(self.dag_id, self.id)
        logs = [self.lab.rest.log(self.dag_id, self.id, *key) for key, state in states.items() if state in ("failed", "up_for_retry")]
        return "\n".join([str(states), *(log[-1500:] for log in logs)])

    def state(self, step: str, index: int = 0) -> str | None:
        return self.lab.rest.states(self.dag_id, self.id).get((f"route.{step}", index))

    def reach(self, step: str, *states: str, timeout: float = 60) -> str:
        """Wait until a step of the first route is in one of the states."""
        return self.lab.rest.reach(self.dag_id, self.id, f"route.{step}", states, 0, timeout)

    def tries(self, step: str) -> int:
        return int(self.task(step)["try_number"])

    def task(self, step: str) -> dict[str, Any]:
        return self.lab.rest.task(self.dag_id, self.id, f"route.{step}", 0)

    def log(self, step: str, index: int = 0, try_number: int | None = None) -> str:
        return self.lab.rest.log(self.dag_id, self.id, f"route.{step}", index, try_number)

    def log_of(self, task_id: str) -> str:
        return self.lab.rest.log(self.dag_id, self.id, task_id)

    def report(self, index: int = 0) -> dict[str, Any]:
        """The report that `finish` left, or `plan` where it was the last step."""
        found = self.lab.rest.xcom(self.dag_id, self.id, "route.finish", index)
        return dict(found or self.lab.rest.xcom(self.dag_id, self.id, "route.plan", index)["report"])

    def jobs(self) -> list[Path]:
        """The directories of all jobs of this run on the source host."""
        routes = self.lab.rest.xcom(self.dag_id, self.id, "routes")
        run = job.digest(self.dag_id, self.id, routes[0]["nonce"])[:12] if routes else "-"
        return sorted(self.lab.runs.glob(f"*-{run}/*-g[0-9]*"))

    def job(self, step: str, generation: int = 0) -> Path:
        """The directory of a step's only job."""
        (found,) = [path for path in self.jobs() if path.name.startswith(f"{step}-") and path.name.endswith(f"-g{generation}")]
        return found

    def group(self, step: str) -> str:
        """Which processes a step's job is made of: its process group and when it began."""
        return (self.job(step) / "pgid").read_text()

    def processes(self) -> list[int]:
        """The processes of all jobs of this run on the source host."""
        return [pid for path in self.jobs() for pid in carrying(f"FS_SYNC_JOB={path}\0".encode())]

    def copying(self) -> list[int]:
        """The tools that `finish` copies with, once some bytes have gone over."""
        for path in self.jobs():
            with contextlib.suppress(FileNotFoundError):
                if path.name.startswith("finish-") and b"\nprogress " in (path / "log").read_bytes():
                    return [pid for pid in carrying(f"FS_SYNC_JOB={path}\0".encode()) if program(pid) in ("rsync", "rclone")]
        return []

    def clear(self, step: str) -> None:
        self.lab.rest.clear(self.dag_id, self.id, [(f"route.{step}", 0)])

    def mark_failed(self, step: str) -> None:
        self.lab.rest.set_state(self.dag_id, self.id, f"route.{step}", "failed", 0)


@dataclass(frozen=True)
class Lab:
    """The stage, its REST client, and routes of the tests' own."""

    stage: Stage
    rest: Rest
    by_password: Sshd | None
    account: Account | None

    @property
    def runs(self) -> Path:
        return self.stage.place.source.home / ".fs-sync" / "runs"

    def source(self, name: str) -> Path:
        return self.stage.place.source.root / "routes" / name

    def target(self, name: str, server: Sshd | None = None) -> Path:
        return (server or self.stage.place.target).root / "copies" / name

    def route(self, name: str, size: int = 0, files: int = 3, server: Sshd | None = None, **options: Any) -> dict[str, Any]:
        """A route over a new small tree with one big file of `size`, to a target of its own."""
        tree.make_tree(self.source(name), files, size, seed=next(numbers), awkward=False)
        to = {"conn": BY_PASSWORD if server else TARGET, "path": str(self.target(name, server))}
        return {"name": name, "source": {"conn": SOURCE, "path": str(self.source(name))}, "target": to, **options}

    def configure(self, dag_id: str, *routes: Mapping[str, Any]) -> None:
        self.rest.set_variable(dag_id, json.dumps({"routes": routes}))

    def trigger(self, dag_id: str, **form: Any) -> Run:
        return Run(self, dag_id, self.rest.trigger(dag_id, form))

    def same(self, name: str) -> bool:
        """Whether a route's target holds what its source holds, byte for byte."""
        return tree.checksums(self.source(name)) == tree.checksums(self.target(name))

    def arriving(self, name: str, server: Sshd | None = None) -> int:
        """How many bytes of a route's big file are on the target by now, under whatever name it has while it is written."""
        found = self.target(name, server).rglob("*big.bin*")
        total = 0
        for path in found:
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def begun(self, name: str, server: Sshd | None = None) -> None:
        """Wait until a route's big file is being written."""
        until(lambda: self.arriving(name, server), f"the first bytes of {name}", timeout=60)


@contextlib.contextmanager
def frozen(*runs: Run) -> Iterator[None]:
    """Stop the copies of `finish` in the middle of it until the end of the block, so that no test races against them."""
    held: dict[str, list[int]] = {}

    def all_held() -> bool:
        for run in runs:
            if run.id not in held and (tools := run.copying()):
                held[run.id] = tools
                for pid in tools:
                    os.kill(pid, signal.SIGSTOP)
        return len(held) == len(runs)

    try:
        try:
            until(all_held, "the middle of all copies", timeout=90, every=0.1)
        except TimeoutError as error:
            raise TimeoutError("\n".join([str(error), *(run.told() for run in runs if run.id not in held)])) from error
        yield
    finally:
        for pid in itertools.chain(*held.values()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def inside(directory: Path) -> list[int]:
    """The processes that work in a directory or below."""
    found = []
    for pid in pids():
        with contextlib.suppress(OSError):
            at = os.readlink(f"/proc/{pid}/cwd")
            if f"{at}/".startswith(f"{directory}/") and alive(pid):
                found.append(pid)
    return found


def program(pid: int) -> str:
    """The name of a process's program, or nothing if it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def carrying(text: bytes) -> list[int]:
    """The processes that have a text in their environment."""
    found = []
    for pid in pids():
        with contextlib.suppress(OSError):
            if text in Path(f"/proc/{pid}/environ").read_bytes() and alive(pid):
                found.append(pid)
    return found


def kill_job(group: str) -> None:
    """Kill every process of a job on its host, as the kernel does when memory runs out."""
    wanted = int(group.split()[0])
    members = []
    for pid in pids():
        with contextlib.suppress(OSError):
            if os.getpgid(pid) == wanted:
                members.append(pid)
    assert members, group
    kill(*members)


def dag_files(directory: Path) -> Path:
    """A folder with the DAGs of the project and with further ones."""
    shutil.copytree(REPOSITORY / "dags", directory, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(Path(__file__).parent / "dags" / "schedules.py", directory)
    return directory


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The stage of all these tests; as root it has an account with a password too."""
    base = tmp_path_factory.mktemp("stage")
    with contextlib.ExitStack() as stack:
        owner = server = None
        connections = {}
        if os.geteuid() == 0:
            owner = stack.enter_context(account())
            server = stack.enter_context(sshd(base / "account", owner))
            connections[BY_PASSWORD] = ssh_connection(server, password=owner.password)
        staged = stack.enter_context(stage(base, more_connections=connections, environment=SETTINGS, dags=dag_files(base / "dags")))
        rest = staged.airflow.rest()
        rest.ready((WORKER, TRIGGERER, FLAT, TEXT, TEN, FORM, DRY, QUICK, FULL, CARRIED, TOLD, NIGHTLY, STALE))
        yield Lab(staged, rest, server, owner)
