"""Whole runs through a real scheduler: the three DAGs, their configuration and form, and what they tell."""

from __future__ import annotations

import dataclasses
import re
import shutil
import time

import pytest

from lab import tree
from lab.place import SOURCE, TARGET, ssh_connection
from lab.processes import until
from lab.stage import DAGS, MINIO, RSYNC
from tests.e2e.conftest import DRY, FLAT, FORM, MEBI, TEN, TEXT, WORKER, Lab, Run
from tests.e2e.measure import fill, growth, relay

ONLY_TARGET = b"only on the target.txt"
BIG = 1024 * MEBI
BROKEN = {3: "no_such_connection", 7: "no-such-directory"}


@pytest.fixture(scope="module", autouse=True)
def early(lab: Lab) -> dict[str, Run]:
    """Runs that need nobody's help, all at once: each is mostly waiting."""
    place = lab.stage.place
    lab.configure(DRY, lab.route("dry"))
    lab.configure(FORM, lab.route("form"))
    lab.rest.set_variable(TEXT, "{'routes': [not JSON")
    tree.make_tree(lab.source("flat"), 3, awkward=False)
    flat = {"source_conn": SOURCE, "source_path": lab.source("flat"), "target_conn": TARGET, "target_path": lab.target("flat")}
    for key, value in flat.items():
        lab.rest.set_variable(f"fs_sync_{key}", str(value))
    ten = [lab.route(f"ten-{number}") for number in range(10)]
    ten[3]["target"]["conn"] = BROKEN[3]
    ten[7]["source"]["path"] = str(place.source.root / BROKEN[7])
    lab.configure(TEN, *ten)
    runs = {dag_id: lab.trigger(dag_id) for dag_id in (FLAT, TEXT, TEN)}
    runs[DRY] = lab.trigger(DRY, dry_run=True)
    runs[FORM] = Run(lab, FORM, lab.rest.trigger(FORM, {"source": {"conn": SOURCE, "path": "/"}, "target": "elsewhere"}))
    return runs


def test_each_dag_brings_what_was_created_and_changed_and_keeps_what_was_deleted(lab: Lab) -> None:
    """The three DAGs at once, twice, over one tree; the bytes of both ends are compared here, not by the DAGs."""
    source = lab.stage.source
    tree.make_tree(source, 40, awkward=False)
    for dag_id in DAGS:
        tree.write(lab.stage.target(dag_id) / ONLY_TARGET.decode(), b"mine\n")
    before = tree.listing(source)
    for run in [lab.trigger(dag_id) for dag_id in DAGS]:
        run.good()
        expected = {**tree.checksums(source), ONLY_TARGET: tree.checksums(lab.stage.target(run.dag_id), [ONLY_TARGET])[ONLY_TARGET]}
        assert tree.checksums(lab.stage.target(run.dag_id)) == expected
        assert run.report()["counts"]["new"] == run.report()["counts"]["moved"] == 40
    assert tree.listing(source) == before

    deleted, changed = b"file-0004.bin", b"file-0008.bin"
    kept = tree.checksums(source, [deleted])
    (source / deleted.decode()).unlink()
    tree.write(source / changed.decode(), b"changed\n", mtime_ns=None)
    tree.write(source / "new directory" / "new.txt", b"created\n", mtime_ns=None)
    for run in [lab.trigger(dag_id) for dag_id in DAGS]:
        run.good()
        target = lab.stage.target(run.dag_id)
        now = tree.checksums(source)
        assert tree.checksums(target, now) == now
        assert tree.checksums(target, [deleted]) == kept
        assert (target / ONLY_TARGET.decode()).read_bytes() == b"mine\n"
        report = run.report()
        assert (report["counts"]["new"], report["counts"]["changed"], report["counts"]["moved"]) == (1, 1, 2)
        assert report["digests"]["equal"] is True


def test_an_up_to_date_route_is_one_job(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """Plan finds nothing to do, and the run goes straight on to its outcome."""
    began = time.monotonic()
    runs = [lab.trigger(dag_id) for dag_id in DAGS]
    for run in runs:
        run.good()
        assert [path.name.partition("-")[0] for path in run.jobs()] == ["plan"]
        assert (run.state("plan"), run.state("small"), run.state("finish")) == ("success", "skipped", "skipped")
        assert run.report()["state"] == "nothing to do"
        assert re.search(r"tree: nothing to do, \d+ files up to date", run.log_of("outcome"))
    one = time.monotonic()
    lab.trigger(RSYNC).good()
    with capsys.disabled():
        print(f"\nup to date: {time.monotonic() - one:.1f} s alone, {one - began:.1f} s for three at once")


def test_the_report_is_an_event_a_table_and_the_script_is_shown(lab: Lab) -> None:
    tree.write(lab.stage.source / "told.txt", b"told\n", mtime_ns=None)
    run = lab.trigger(MINIO).good()
    report = run.report()
    (event,) = lab.rest.asset_events(MINIO, run.id)
    assert event["uri"].rstrip("/") == f"fs-sync://{MINIO}"
    assert event["extra"] == report
    assert report["route"] == "tree"
    log = run.log("finish")
    table = log[log.rindex("route    tree") :]
    names = [line.split()[0] for line in table.splitlines() if line]
    assert names[:6] == ["route", "backend", "state", "files", "bytes", "time"]
    assert "1 new" in table
    assert "digests  equal" in table
    assert table.splitlines()[-1] in run.log_of("outcome")
    script = lab.rest.rendered(MINIO, run.id, "route.finish", 0)["command"]
    assert "tool_copy" in script
    assert str(lab.stage.source) in script
    store = lab.stage.place.s3
    assert store.secret_key not in script
    assert run.task("finish")["rendered_map_index"] == "tree"


def test_a_gigabyte_goes_past_the_worker(lab: Lab) -> None:
    """At most a hundredth of it on the control channel, by the report and by a count outside; the task keeps its size."""
    place = lab.stage.place
    route = lab.route("gigabyte")
    fill(lab.source("gigabyte") / "big.bin", BIG)
    with relay(place.source.port) as counted:
        by_relay = dataclasses.replace(place.source, port=counted.port)
        lab.rest.set_connection("source_by_relay", ssh_connection(by_relay))
        lab.configure(WORKER, {**route, "source": {**route["source"], "conn": "source_by_relay"}})
        run = lab.trigger(WORKER)
        run.reach("small", "running")
        grown = growth(until(lambda: run.task("small")["pid"], "the task's process"))
        run.good()
    assert lab.same("gigabyte")
    report = run.report()
    assert report["bytes"]["files"] >= BIG
    assert 0 < report["bytes"]["worker"] <= BIG // 100
    assert 0 < counted.bytes <= BIG // 100
    print(f"report {report['bytes']['worker']}, relay {counted.bytes}, task grew by {grown} KiB, {report['seconds']}")
    assert grown < 50 * 1024
    shutil.rmtree(lab.source("gigabyte"))
    shutil.rmtree(lab.target("gigabyte"))


def test_a_wrong_variable_fails_once_and_says_why(early: dict[str, Run]) -> None:
    run = early[TEXT]
    assert run.wait() == "failed"
    log = run.log_of("routes")
    assert f"Variable {TEXT}" in log
    assert "JSON" in log
    assert "ConfigError" in log
    assert run.lab.rest.task(TEXT, run.id, "routes")["try_number"] == 1
    assert not run.lab.target("text").exists()


def test_the_form_redirects_nothing(early: dict[str, Run]) -> None:
    run = early[FORM]
    assert run.wait() == "failed"
    log = run.log_of("routes")
    assert "The run's form" in log
    assert "source" in log
    assert "target" in log
    assert run.lab.rest.task(FORM, run.id, "routes")["try_number"] == 1
    assert not run.jobs()
    assert not run.lab.target("form").exists()


def test_flat_variables_are_a_route(early: dict[str, Run]) -> None:
    run = early[FLAT].good()
    assert run.lab.same("flat")
    assert run.report()["route"] == "default"


def test_a_dry_run_is_the_doctor(early: dict[str, Run]) -> None:
    run = early[DRY].good()
    log = run.log("plan")
    checks = [line for line in log.splitlines() if line.startswith("check ")]
    assert len(checks) > 3, log
    assert not [line for line in checks if "FAIL" in line]
    assert "dry run, would copy 3 files" in log
    assert not list(tree.files(run.lab.target("dry")))
    assert not run.lab.target("dry").exists()
    assert [path.name.partition("-")[0] for path in run.jobs()] == ["plan"]


def test_of_ten_routes_two_broken_ones_stop_no_other(early: dict[str, Run]) -> None:
    run, lab = early[TEN], early[TEN].lab
    assert run.wait() == "failed"
    for number in set(range(10)) - set(BROKEN):
        assert run.state("finish", number) == "success", run.told()
        assert lab.same(f"ten-{number}")
        assert run.report(number)["digests"]["equal"] is True
    for number, reason in BROKEN.items():
        assert run.state("plan", number) == "failed"
        assert reason in run.log("plan", number)
        assert run.lab.rest.task(TEN, run.id, "route.plan", number)["try_number"] == 1
        assert f"ten-{number} (in plan)" in run.log_of("outcome")
    assert "2 of 10 routes failed" in run.log_of("outcome")
