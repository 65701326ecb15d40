"""A person is asked about oversized files on the real scheduler: nothing else waits, and the answer is what happens."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from lab.processes import until
from lab.tree import write_big
from tests.e2e.conftest import WORKER, Lab, Run

MEBI = 1024 * 1024
LIMITS: dict[str, Any] = {"large_file": "512K", "max_file": "1M"}


def route(lab: Lab, name: str, big: int = 1, **options: Any) -> dict[str, Any]:
    made: dict[str, Any] = lab.route(name, **{**LIMITS, **options})
    for number in range(big):
        write_big(lab.source(name) / f"big {number}", MEBI + 1, number)
    return made


def question(run: Run, index: int = 0) -> dict[str, Any]:
    """What Airflow shows to the person who is asked."""
    path = f"/api/v2/dags/{run.dag_id}/dagRuns/{run.id}/taskInstances/route.approve/{index}/hitlDetails"
    return dict(run.lab.rest._call("GET", path))


def answer(run: Run, chosen: list[str], index: int = 0, **params: Any) -> httpx.Response:
    path = f"/api/v2/dags/{run.dag_id}/dagRuns/{run.id}/taskInstances/route.approve/{index}/hitlDetails"
    return run.lab.rest.client.patch(path, json={"chosen_options": chosen, "params_input": params})


def waits(run: Run, index: int = 0) -> None:
    run.lab.rest.reach(run.dag_id, run.id, "route.approve", ["awaiting_input"], index)


def decide(run: Run, choice: str, **params: Any) -> None:
    """
    Answer until the answer is taken.

    One that comes in the second in which the task begins to wait is lost: Airflow 3.3 takes the task for one that was ended from outside, and
    the retry asks again. A person is not as fast.
    """

    def taken() -> bool:
        if run.state("approve") == "awaiting_input":
            assert answer(run, [choice], **params).status_code in (200, 409)
        return run.state("approve") == "success"

    until(taken, f"{choice} is taken", timeout=120, every=1)


def test_one_route_waits_and_nine_go_on(lab: Lab) -> None:
    names = [f"nine-{number}" for number in range(9)]
    lab.configure(WORKER, route(lab, "waits"), *(lab.route(name) for name in names))
    first = lab.trigger(WORKER)
    waits(first)
    until(lambda: all(lab.same(name) for name in names), "nine copies", timeout=120)
    asked = question(first)
    assert asked["subject"] == "waits: transfer 1 file, 1 MB?"
    assert "`big 0`" in asked["body"]
    assert asked["options"] == ["Transfer", "Transfer compressed", "Leave out"]
    # Hours later: all go on, that route too, and nobody is asked again.
    for name in (*names, "waits"):
        (lab.source(name) / "later").write_text("later")
    second = lab.trigger(WORKER).good()
    assert all(lab.same(name) for name in names)
    assert (lab.target("waits") / "later").exists()
    assert not (lab.target("waits") / "big 0").exists()
    assert {second.state("approve", index) for index in range(10)} == {"skipped"}
    assert first.id in second.log("plan")
    assert second.report()["held"] == [["waits-for-approval", "big 0"]]
    assert first.state("approve") == "awaiting_input"
    # Nonsense is no answer.
    assert answer(first, ["Rather not"]).status_code == 400
    assert answer(first, []).status_code == 422
    assert answer(first, ["Transfer", "Leave out"]).status_code == 400
    assert first.state("approve") == "awaiting_input"
    decide(first, "Transfer", bandwidth="50M")
    first.good()
    assert lab.same("waits")
    report = lab.rest.xcom(first.dag_id, first.id, "route.oversized", 0)
    assert report["notes"][0] == "files transferred, 52.4 MB/s at most, as admin said"
    assert report["digests"]["equal"] is True
    assert report["counts"]["moved"] == 1
    third = lab.trigger(WORKER).good()
    assert third.state("approve") == "skipped"
    assert third.report()["state"] == "nothing to do"
    assert "Transfer by admin" in third.log_of("outcome")


def test_left_out_and_nonsense_for_a_bandwidth(lab: Lab) -> None:
    lab.configure(WORKER, route(lab, "left-out"))
    run = lab.trigger(WORKER)
    waits(run)
    assert answer(run, ["Transfer"], bandwidth="10X").status_code == 200
    until(lambda: run.tries("approve") > 1, "the retry asks again", timeout=60)
    waits(run)
    decide(run, "Leave out")
    run.good()
    assert not (lab.target("left-out") / "big 0").exists()
    assert "left out, as admin said" in json.dumps(lab.rest.xcom(run.dag_id, run.id, "route.oversized", 0))
    later = lab.trigger(WORKER).good()
    assert later.state("approve") == "skipped"
    assert later.report()["held"] == [["left-out-by-approval", "big 0"]]


def test_nobody_answers_and_the_default_counts(lab: Lab) -> None:
    """Airflow's scheduler looks for those whose time is over about once a minute."""
    approve = {"within": "2s", "default": "transfer"}
    lab.configure(WORKER, route(lab, "default", approve=approve))
    run = lab.trigger(WORKER).good()
    assert lab.same("default")
    assert "as nobody, by default said" in json.dumps(lab.rest.xcom(run.dag_id, run.id, "route.oversized", 0))


def test_only_the_users_of_the_route_may_answer(lab: Lab) -> None:
    lab.configure(WORKER, route(lab, "assigned", approve={"users": ["alice"]}))
    run = lab.trigger(WORKER)
    waits(run)
    assert [user["id"] for user in question(run)["assigned_users"]] == ["alice"]
    refused = answer(run, ["Transfer"])
    assert (refused.status_code, "not a respondent" in refused.text) == (403, True)
    # Ended by hand, the question is asked anew by the next run.
    run.mark_failed("approve")
    assert run.wait() == "failed"
    assert "assigned (in approve)" in run.log_of("outcome")
    lab.configure(WORKER, route(lab, "assigned", approve={"users": ["admin"]}))
    again = lab.trigger(WORKER)
    waits(again)
    decide(again, "Transfer compressed")
    again.good()
    assert lab.same("assigned")


@pytest.mark.parametrize("chosen", ["Transfer", "Leave out"])
def test_what_changed_before_the_answer_is_asked_anew(lab: Lab, chosen: str) -> None:
    name = f"changed-{chosen.split()[0].lower()}"
    lab.configure(WORKER, route(lab, name))
    run = lab.trigger(WORKER)
    waits(run)
    write_big(lab.source(name) / "big 0", MEBI + 2, 9)
    decide(run, chosen)
    run.good()
    assert not (lab.target(name) / "big 0").exists()
    again = lab.trigger(WORKER)
    waits(again)
    decide(again, "Transfer")
    again.good()
    assert lab.same(name)
