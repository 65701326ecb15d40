"""Runs by the REST API over the stack's own hosts, as its user starts them; what arrived is compared inside the containers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

import pytest

from lab.processes import until
from tests.e2e.stack.compose import DAGS, MEBI, MINIO, RCLONE, RSYNC, SOURCE, TARGET, Run, Stack

BIG = 200 * MEBI
# What the worker's own figure and the counters of its interface may be of what was copied.
LITTLE = 0.01
AIRFLOW = ("airflow-apiserver", "scheduler", "dag-processor", "triggerer", "worker", "worker-large")


def test_the_source_may_be_the_home_of_its_login(stack: Stack) -> None:
    """By both of its names; what our own jobs keep there is no part of the copy."""
    named = {"home-tilde": "~", "home-path": "/home/files"}
    routes = [{"name": name, "source": {"path": path}, "target": {"path": f"~/copies/{name}"}} for name, path in named.items()]
    stack.configure(RSYNC, *routes)
    stack.trigger(RSYNC).good()
    home = stack.checksums("source", "~")
    assert "./outbox/read me.txt" in home
    for name in named:
        assert stack.checksums("target", f"~/copies/{name}") == home
        there = stack.sh("target", f"find ~/copies/{name} -name .fs-sync -print").split()
        assert there == []
    assert stack.sh("source", "ls ~/.fs-sync/runs").split()


def test_each_dag_brings_what_was_created_and_changed_and_keeps_what_was_deleted(stack: Stack) -> None:
    routes = {dag_id: stack.route(f"semantics-{dag_id}", 100_000, dag_id) for dag_id in DAGS}

    def all_good() -> dict[str, Run]:
        for dag_id, route in routes.items():
            stack.configure(dag_id, route)
        runs = {dag_id: stack.trigger(dag_id, f"semantics-{dag_id}") for dag_id in DAGS}
        for run in runs.values():
            run.good()
        return runs

    for dag_id, run in all_good().items():
        assert stack.same(run.name, dag_id)
        report = run.report()
        assert (report["counts"]["new"], report["counts"]["moved"]) == (4, 4)
        assert report["digests"]["equal"] is True
    kept = {}
    for dag_id in DAGS:
        name = f"semantics-{dag_id}"
        kept[dag_id] = stack.arrived(dag_id, f"copies/{name}")["./one/small"]
        stack.sh("source", f"cd ~/cases/{name} && rm one/small && echo changed >big.bin && mkdir new && echo created >'new/a file'")
    for dag_id, run in all_good().items():
        sent, arrived = stack.checksums("source", f"~/cases/{run.name}"), stack.arrived(dag_id, f"copies/{run.name}")
        assert arrived == {**sent, "./one/small": kept[dag_id]}
        report = run.report()
        assert (report["counts"]["new"], report["counts"]["changed"], report["counts"]["moved"]) == (1, 1, 2)
        assert report["digests"]["equal"] is True
    for run in all_good().values():
        assert run.report()["state"] == "nothing to do"


def test_a_run_is_told_in_the_log_the_report_and_an_asset_event(stack: Stack) -> None:
    """What the UI shows of each: the log with progress and the table, the XCom, the event."""
    runs = [stack.begin(f"told-{dag_id}", 12 * MEBI, dag_id, bandwidth="2M") for dag_id in DAGS]
    for run in runs:
        run.good()
        log = run.log("finish")
        assert re.search(r"^\s*progress ", log, re.M), log
        assert "The job was started: runs/" in log
        table = log[log.rindex("route    ") :]
        names = [line.split()[0] for line in table.splitlines() if line]
        assert names[:6] == ["route", "backend", "state", "files", "bytes", "time"]
        assert "digests  equal" in table
        report = run.report()
        assert report["route"] == run.name
        assert report["bytes"]["files"] > 12 * MEBI
        (event,) = stack.rest.asset_events(run.dag_id, run.id)
        assert event["uri"].rstrip("/") == f"fs-sync://{run.dag_id}"
        assert event["extra"] == report
        assert stack.same(run.name, run.dag_id)
        rendered = stack.rest.rendered(run.dag_id, run.id, "route.finish", 0)["command"]
        assert "tool_copy" in rendered


def test_both_workers_take_tasks(stack: Stack) -> None:
    workers = {container["Id"][:12] for container in stack.containers("worker")}
    assert len(workers) == 2
    took: Counter[str] = Counter()

    def both() -> bool:
        for run in [stack.trigger(dag_id, "demo") for dag_id in DAGS]:
            run.good()
            took.update(task["hostname"] for task in stack.rest.tasks(run.dag_id, run.id) if task["hostname"])
        return workers <= set(took)

    until(both, "tasks on both workers", timeout=300)
    print(dict(took))
    assert set(took) <= workers  # small files are no work for the worker of the large ones


def test_bytes_go_past_airflow(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """200 MiB that can't be compressed: the counters of each container's interface, and the worker for large files takes the transfer."""
    route = stack.route("counted", BIG, large_file="100M")
    stack.configure(RSYNC, route)
    before = counters(stack)
    run = stack.trigger(RSYNC, "counted").good()
    grown = {name: count - before[name] for name, count in counters(stack).items()}
    assert stack.same("counted")
    (large,) = stack.containers("worker-large")
    transfer = run.task("large")
    assert (transfer["state"], transfer["hostname"]) == ("success", large["Id"][:12])
    assert (transfer["queue"], transfer["pool"]) == ("large_files", "fs_sync_large")
    assert run.task("finish")["queue"] == "default"
    airflow = sum(count for (service, _), count in grown.items() if service in AIRFLOW)
    report = run.report()
    with capsys.disabled():
        told = ", ".join(f"{service}-{number} {count / 1e6:.2f}" for (service, number), count in sorted(grown.items()))
        print(f"\nMB in and out over {report['seconds']['total']:.0f} s: {told}; Airflow's {airflow / BIG:.2%} of {BIG / 1e6:.0f} MB")
    assert BIG < grown["target", 1] < 1.2 * BIG
    assert BIG < grown["source", 1] < 1.2 * BIG
    assert report["bytes"]["worker"] < LITTLE * BIG
    watching = sum(count for (service, _), count in grown.items() if service in ("triggerer", "worker", "worker-large"))
    # These talk to the API server, the database and the broker as well, whatever is copied.
    assert watching < 5 * LITTLE * BIG
    assert airflow < 20 * LITTLE * BIG


def test_an_edited_variable_counts_at_the_next_run(stack: Stack) -> None:
    first = stack.begin("edited").good()
    assert stack.same("edited")
    route = {"name": "edited", "source": {"path": "~/cases/edited"}, "target": {"path": "~/copies/edited-elsewhere"}}
    stack.configure(RSYNC, route)
    second = stack.trigger(RSYNC, "edited").good()
    assert second.report()["counts"]["new"] == first.report()["counts"]["new"] == 4
    assert stack.checksums("target", "~/copies/edited-elsewhere") == stack.checksums("source", "~/cases/edited")


def test_an_edited_connection_counts_at_the_next_run(stack: Stack, edited: Callable[..., None]) -> None:
    """A login that the target refuses, a wrong port, and the target by another name of it; then as it was."""
    edited(TARGET, login="nobody")
    refused = stack.begin("connection", dag_id=RCLONE)
    assert refused.wait() == "failed"
    assert refused.state("plan") == "failed"
    assert "AuthenticationError" in refused.log("plan")
    assert TARGET in refused.log("plan")
    assert refused.tries("plan") == 1

    edited(TARGET, login="files", port=2223)
    unreachable = stack.trigger(RCLONE, "connection")
    unreachable.reach("plan", "up_for_retry")
    assert "ConnectionFailed" in unreachable.log("plan", 1)
    assert "2223" in unreachable.log("plan", 1)
    # Put right while it waits for its retry, and sent on at once by a clear, as in the UI.
    target = stack.containers("target")[0]["NetworkSettings"]["Networks"]
    (address,) = [joined["IPAddress"] for joined in target.values()]
    edited(TARGET, port=2222, host=address)
    stack.rest.clear(RCLONE, unreachable.id, [("route.plan", 0)])
    unreachable.good()
    assert stack.same("connection", RCLONE)
    assert address in unreachable.log("plan")

    edited(TARGET, host="target")
    assert stack.trigger(RCLONE, "connection").good().report()["state"] == "nothing to do"


def test_a_source_with_another_host_key_is_refused(stack: Stack, edited: Callable[..., None]) -> None:
    """The connection of the source pointed to the target's machine: its key is not the pinned one."""
    stack.configure(RSYNC, stack.route("host-key"))
    edited(SOURCE, host="target")
    run = stack.trigger(RSYNC, "host-key")
    assert run.wait() == "failed"
    assert "HostKeyError" in run.log("plan")
    edited(SOURCE, host="source")
    stack.trigger(RSYNC, "host-key").good()
    assert stack.same("host-key")


def test_a_dry_run_by_the_form_copies_nothing(stack: Stack) -> None:
    stack.configure(MINIO, stack.route("dry", dag_id=MINIO))
    run = stack.trigger(MINIO, "dry", dry_run=True).good()
    assert "dry run, would copy 4 files" in run.log("plan")
    assert stack.stored("copies/dry") == {}


@pytest.fixture
def edited(stack: Stack, request: pytest.FixtureRequest) -> Callable[..., None]:
    """Edit a connection by the API; it is as it was after the test."""

    def edit(conn_id: str, **fields: object) -> None:
        before = stack.rest.connection(conn_id)
        request.addfinalizer(lambda: stack.rest.edit_connection(conn_id, **{key: before[key] for key in fields}))
        stack.rest.edit_connection(conn_id, **fields)

    return edit


def counters(stack: Stack) -> dict[tuple[str, int], int]:
    """How many bytes each running container's interfaces sent and got so far, by service and number."""
    found = {}
    for container in stack.containers():
        if container["State"]["Running"]:
            service, _, number = container["Name"].removeprefix(f"/{stack.project}-").rpartition("-")
            script = "cat /sys/class/net/eth*/statistics/rx_bytes /sys/class/net/eth*/statistics/tx_bytes"
            found[service, int(number)] = sum(map(int, stack.exec(service, "sh", "-c", script, number=int(number)).split()))
    return found
