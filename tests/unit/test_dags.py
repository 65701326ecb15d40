"""The DAG files: they import, have the design's shape, and read nothing while they are parsed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

DAGS = Path(__file__).resolve().parents[2] / "dags"
IDS = (
    "fs_sync_rclone",
    "fs_sync_rclone_from_minio",
    "fs_sync_rclone_minio",
    "fs_sync_rclone_worker",
    "fs_sync_rsync",
    "fs_sync_rsync_full",
    "fs_sync_rsync_quick",
    "fs_sync_service_full",
    "fs_sync_service_quick",
)
STALE = "fs_sync_stale"
# Pairs of one Variable.
PAIRS = ("fs_sync_rsync", "fs_sync_service")
FULL = tuple(f"{pair}_full" for pair in PAIRS)
SCHEDULES = {f"{pair}_quick": "* * * * *" for pair in PAIRS} | dict.fromkeys(FULL, "0 */2 * * *")
VARIABLES = {dag_id: dag_id.rpartition("_")[0] for dag_id in SCHEDULES}
BY_WORKER = ("fs_sync_rclone_worker", "fs_sync_service_full", "fs_sync_service_quick")

# Parses the files as Airflow does, where a socket or a look at a Variable or a Connection is an error.
PARSE = """
import json, socket, sys
from airflow.sdk import BaseHook, Connection, Variable
def never(*args, **kwargs):
    raise AssertionError("a DAG file read something while it was parsed")
from airflow.dag_processing.dagbag import DagBag
for owner, name in ((socket.socket, "connect"), (Variable, "get"), (BaseHook, "get_connection"), (Connection, "get")):
    setattr(owner, name, never)
bag = DagBag(sys.argv[1])
from airflow.serialization.serialized_objects import DagSerialization
print(json.dumps({"errors": bag.import_errors, "heavy": [name for name in ("asyncssh", "fs_sync.scripts", "fs_sync.hosts") if name in sys.modules],
    "dags": {name: {
        "catchup": dag.catchup, "paused": dag.is_paused_upon_creation, "runs": dag.max_active_runs, "schedule": dag.timetable.expression, "tags": sorted(dag.tags), "doc": dag.doc_md,
        "params": list(dag.params), "leaves": [task.task_id for task in dag.leaves], "serialized": bool(DagSerialization.to_dict(dag)),
        "tasks": {task.task_id: {"up": sorted(task.upstream_task_ids), "rule": str(task.trigger_rule.value), "retries": task.retries,
            "policy": type(task.retry_policy).__name__, "queue": task.queue, "pool": task.pool, "fields": list(task.template_fields),
            "told": bool(task.on_failure_callback), "inlets": [one.name for one in task.inlets]}
            for task in dag.tasks}} for name, dag in bag.dags.items()}}))
"""


def parse(home: Path, dags: Path, **more: str) -> dict:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "FS_SYNC"))}
    environment |= {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR", **more}
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(dags)], env=environment, cwd=home, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    return parse(tmp_path_factory.mktemp("airflow"), DAGS)


def test_files_import_and_read_nothing(parsed: dict) -> None:
    assert parsed["errors"] == {}
    assert sorted(parsed["dags"]) == sorted((*IDS, STALE))
    assert parsed["heavy"] == []
    assert all(dag["serialized"] for dag in parsed["dags"].values())


@pytest.mark.parametrize("dag_id", IDS)
def test_settings(parsed: dict, dag_id: str) -> None:
    dag = parsed["dags"][dag_id]
    assert (dag["catchup"], dag["runs"]) == (False, 1 if dag_id in BY_WORKER else 24)
    # What runs each minute must be switched on.
    assert bool(dag["paused"]) is (dag_id in SCHEDULES)
    assert SCHEDULES.get(dag_id, "0 * * * *") in dag["schedule"]
    assert "fs-sync" in dag["tags"]
    assert f"the Variable `{VARIABLES.get(dag_id, dag_id)}`" in dag["doc"]
    assert {"routes", "dry_run", "verify", "bandwidth", "scan"} == set(dag["params"])


@pytest.mark.parametrize("dag_id", IDS)
def test_shape(parsed: dict, dag_id: str) -> None:
    dag = parsed["dags"][dag_id]
    tasks = dag["tasks"]
    assert {name: set(task["up"]) for name, task in tasks.items()} == {
        "routes": set(),
        "route.plan": {"routes"},
        "route.small": {"route.plan"},
        "route.large": {"route.plan"},
        "route.finish": {"route.plan", "route.small", "route.large"},
        "route.approve": {"route.finish"},
        "route.oversized": {"route.approve"},
        "outcome": {"routes", "route.finish", "route.oversized"},
    }
    assert dag["leaves"] == ["outcome"]
    assert {name for name, task in tasks.items() if task["rule"] == "all_done"} == {"route.finish", "route.approve", "outcome"}
    assert {task["policy"] for task in tasks.values()} == {"ExceptionRetryPolicy"}
    # The full one asks again and again for the route, which quick ones hold every minute.
    patient = {"route.oversized": 900, **({"route.plan": 30} if dag_id in FULL else {})}
    assert len(tasks) <= 8
    assert {name: task["retries"] for name, task in tasks.items()} == {**dict.fromkeys(tasks, 3), "outcome": 0, **patient}
    assert {(task["queue"], task["pool"]) for task in tasks.values()} == {("default", "default_pool")}
    assert tasks["route.plan"]["fields"] == ["command"]


def test_what_fails_is_told_by_the_task_itself_where_that_is_the_end_of_its_route(parsed: dict) -> None:
    """A tier may fail without harm, and `outcome` tells of what was killed."""
    tasks = parsed["dags"]["fs_sync_rsync"]["tasks"]
    told = {"routes", "route.plan", "route.finish", "route.approve", "route.oversized"}
    assert {name for name, task in tasks.items() if task["told"]} == told
    assert {name for name, task in tasks.items() if task["inlets"]} == {*told, "outcome"}
    assert {name for task in tasks.values() for name in task["inlets"]} == {"fs-sync/fs_sync_rsync"}


def test_the_stale_dag_runs_by_itself_and_is_one_task(parsed: dict) -> None:
    dag = parsed["dags"][STALE]
    assert (dag["catchup"], dag["runs"], dag["paused"], dag["schedule"]) == (False, 1, False, "*/15 * * * *")
    assert (list(dag["tasks"]), dag["params"], dag["tags"]) == (["look"], ["trial"], ["fs-sync"])


def test_the_environment_says_when_a_dag_runs_whose_file_does_not(tmp_path: Path) -> None:
    found = parse(tmp_path, DAGS, FS_SYNC_SCHEDULE="30 4 * * *")["dags"]
    assert found["fs_sync_rsync"]["schedule"] == "30 4 * * *"
    assert found["fs_sync_rsync_quick"]["schedule"] == "* * * * *"


def test_a_tier_runs_on_the_queue_and_pool_of_the_environment_or_of_the_file(tmp_path: Path) -> None:
    dags = tmp_path / "dags"
    dags.mkdir()
    calls = {
        "environment": "",
        "given": ", large_queue='q', large_pool='p'",
        "plain": ", large_queue='', large_pool=''",
    }
    text = "from fs_sync.dag import replicate  # an Airflow dag\n"
    text += "".join(f"replicate({name!r}, backend='rsync', target='ssh'{more})\n" for name, more in calls.items())
    (dags / "more.py").write_text(text)
    found = parse(tmp_path, dags, FS_SYNC_LARGE_QUEUE="large_files", FS_SYNC_LARGE_POOL="large")
    assert found["errors"] == {}
    places = {
        name: {
            task: (of["queue"], of["pool"]) for task, of in dag["tasks"].items() if (of["queue"], of["pool"]) != ("default", "default_pool")
        }
        for name, dag in found["dags"].items()
    }
    assert places == {
        "environment": dict.fromkeys(("route.large", "route.oversized"), ("large_files", "large")),
        "given": dict.fromkeys(("route.large", "route.oversized"), ("q", "p")),
        "plain": {},
    }


def test_a_file_is_thin() -> None:
    for path in DAGS.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 10
