"""Anomalies on the real scheduler: who is told, who is asked, and a slow copy that is told while it runs."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

from fs_sync import history
from fs_sync.errors import WORDS, Unusual
from lab.processes import until
from lab.tree import MEBI, write, write_big
from tests.e2e import test_approval as approval
from tests.e2e.conftest import TOLD, TRIGGERER, WORKER, Lab, Run, frozen
from tests.e2e.test_alerts import Ears, told  # noqa: F401 (a fixture)
from tests.e2e.test_history import kept

TOMORROW = 86400 * 2


def ended(run: Run, state: str) -> Run:
    assert run.wait() == state, run.told()
    return run


def kinds(told: Ears) -> list[str]:  # noqa: F811
    return [said["kind"] for _, _, said in told.hook.got]


def repeated(lab: Lab, dag_id: str, route: str, **changes: Any) -> None:
    """Let a route's only run have been one of six of its kind."""
    (one,) = kept(lab, dag_id, route)
    before = [replace(one, run=f"before {number}", **changes) for number in range(5)]
    lab.rest.set_state_of_asset(f"fs-sync/{dag_id}", history.key(route), history.plain([*before, one]))


def test_what_is_held_is_told_once_and_stands_in_report_and_history(lab: Lab, told: Ears) -> None:  # noqa: F811
    lab.configure(TOLD, lab.route("odd", anomalies={"future_mtime": "hold"}))
    write(lab.source("odd") / "tomorrow's", b"content")
    os.utime(lab.source("odd") / "tomorrow's", (time.time() + TOMORROW,) * 2)
    first = ended(lab.trigger(TOLD), "success")
    assert kinds(told) == ["anomaly"]
    said = told.last()
    assert (said["route"], said["phase"], said["error"]) == ("odd", "plan", "future_mtime")
    assert said["text"].startswith("future_mtime (hold): 1 files were last changed in the future")
    assert "docs/anomalies.md" in said["mend"]
    report = first.report()
    assert [one[:2] for one in report["anomalies"]] == [["future_mtime", "hold"]]
    assert report["held"] == [["anomaly:future_mtime", "tomorrow's"]]
    assert not (lab.target("odd") / "tomorrow's").exists()
    ended(lab.trigger(TOLD), "success")
    assert kinds(told) == ["anomaly"], "the same is not told twice a day"
    assert [entry.anomalies for entry in kept(lab, TOLD, "odd")] == [("future_mtime",)] * 2
    # By policy it fails: that has an alert of its own, and nothing is copied.
    lab.configure(TOLD, lab.route("odd", anomalies={"future_mtime": "fail"}))
    write(lab.source("odd") / "other", b"other")
    failed = ended(lab.trigger(TOLD), "failed")
    assert kinds(told) == ["anomaly", "failure"]
    assert (told.last()["error"], told.last()["mend"]) == ("Unusual", WORDS[Unusual][1])
    assert failed.tries("plan") == 1, "no retry helps"
    assert not (lab.target("odd") / "other").exists()


def test_a_person_is_asked_before_empty_files_take_the_place_of_full_ones(lab: Lab, told: Ears) -> None:  # noqa: F811
    route = lab.route("emptied")
    names = [f"full {number}" for number in range(15)]
    for name in names:
        write(lab.source("emptied") / name, b"full")
    lab.configure(TOLD, route)
    ended(lab.trigger(TOLD), "success")
    for name in names:
        (lab.source("emptied") / name).write_bytes(b"")
    (lab.source("emptied") / "new").write_bytes(b"new")
    run = lab.trigger(TOLD)
    approval.waits(run)
    asked = approval.question(run)
    assert asked["subject"] == "emptied: transfer 15 files, 0 B?"
    assert "15 of 15 changed files are empty by now" in asked["body"]
    assert (lab.target("emptied") / "new").exists(), "nothing else waits"
    assert (lab.target("emptied") / "full 0").read_bytes() == b"full"
    assert kinds(told) == ["approval"]
    approval.decide(run, "Transfer")
    ended(run, "success")
    assert lab.same("emptied")


def test_a_slow_copy_is_told_while_it_runs(lab: Lab, told: Ears) -> None:  # noqa: F811
    """Watched by the worker, and by the triggerer."""
    dags = (WORKER, TRIGGERER)
    for dag_id in dags:
        name = f"slow-{dag_id}"
        lab.configure(dag_id, lab.route(name, bandwidth="1M"))
        lab.trigger(dag_id).good()
        repeated(lab, dag_id, name, seconds=0.1, rate=1_000_000_000, files=1000, bytes=1_000_000)
        write_big(lab.source(name) / "more", 8 * MEBI)
    runs = [lab.trigger(dag_id) for dag_id in dags]
    with frozen(*runs):
        for run in runs:
            until(lambda run=run: "anomaly slow (warn): " in run.log("finish"), "the word that it is slow", timeout=180)  # type: ignore[misc]
            assert run.state("finish") in ("running", "deferred")
        until(lambda: kinds(told).count("anomaly") == 2, "both alerts", timeout=30)
    for dag_id, run in zip(dags, runs, strict=True):
        run.good()
        assert run.log("finish").count("anomaly slow (warn): ") == 1
        assert [one[:2] for one in run.report()["anomalies"]] == [["slow", "warn"]]
        assert kept(lab, dag_id, f"slow-{dag_id}")[-1].anomalies == ("slow",)
        assert lab.same(f"slow-{dag_id}")
