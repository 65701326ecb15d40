"""The history of a route through a real scheduler: what each run leaves, what garbage in the store does, and who shows it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fs_sync import cli, history
from lab import tree
from tests.e2e.conftest import DRY, MEBI, TEN, TRIGGERER, WORKER, Lab, frozen

COMMAND = Path(sys.executable).parent / "fs-sync-history"
HEAD = "when (UTC)"
STATES = "nothing to do", "failed", "ok"


def kept(lab: Lab, variable: str, route: str) -> tuple[history.Entry, ...]:
    """What the store holds for a route, all of which has to be right."""
    entries, fault = history.read(lab.rest.states_of_asset(f"fs-sync/{variable}").get(history.key(route)))
    assert fault == ""
    return entries


def shown(log: str, route: str) -> list[str]:
    """The states of a route in the table of a log, the newest first."""
    rows = [line for line in log[log.index(HEAD) :].splitlines() if f"  {route}  " in line]
    return [next(state for state in STATES if f"  {state}" in row) for row in rows]


def command(lab: Lab, *argv: str, **changed: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, the login in its environment."""
    login = {cli.ADDRESS: lab.stage.airflow.url, cli.PASSWORD: lab.stage.airflow.password}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FS_SYNC_")}
    environment = {name: value for name, value in {**inherited, **login, **changed}.items() if value}
    return subprocess.run(
        [str(COMMAND), *argv], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )


def printed(lab: Lab, *argv: str) -> Any:
    done = command(lab, "--json", *argv)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_each_run_leaves_its_entry_and_outcome_and_the_command_show_them(lab: Lab) -> None:
    route, other = lab.route("history", 3 * MEBI, files=4), lab.route("history-other", files=2)
    lab.configure(WORKER, route, other)
    first = lab.trigger(WORKER).good()
    tree.write(lab.source("history") / "new", b"new")
    second = lab.trigger(WORKER).good()
    assert shown(second.log_of("outcome"), "history") == ["ok", "ok"]
    assert shown(second.log_of("outcome"), "history-other") == ["nothing to do", "ok"]
    third = lab.trigger(WORKER).good()
    away = lab.source("history").with_name("history-away")
    lab.source("history").rename(away)
    bad = lab.trigger(WORKER)
    assert bad.wait() == "failed"
    away.rename(lab.source("history"))

    entries = kept(lab, WORKER, "history")
    assert [(one.run, one.dag, one.state) for one in entries] == [
        (first.id, WORKER, "ok"),
        (second.id, WORKER, "ok"),
        (third.id, WORKER, "nothing to do"),
        (bad.id, WORKER, "failed"),
    ]
    report = first.report()
    one = entries[0]
    assert (one.files, one.bytes, one.scanned, one.scan) == (
        report["counts"]["moved"],
        report["bytes"]["files"],
        report["counts"]["scanned"],
        "full",
    )
    assert one.bytes > 3 * MEBI
    assert (one.seconds, one.rate, one.error) == (report["seconds"]["total"], report["rate"], "")
    began = lab.rest.task(WORKER, first.id, "route.plan", 0)["start_date"]
    # The worker's own clock and the server's word of it lie on either side of a second now and then.
    assert abs(one.at - datetime.fromisoformat(began).timestamp()) <= 1
    assert history.table({"history": entries[:1]})[1].startswith(f"{datetime.fromtimestamp(one.at, UTC):%Y-%m-%d %H:%M:%S}")
    assert entries[1].files == 1
    assert entries[3].error.startswith("SourceError: ")
    assert str(lab.source("history")) in entries[3].error
    assert [one.state for one in kept(lab, WORKER, "history-other")] == ["ok"] + ["nothing to do"] * 3

    # finish, which failed since plan did, says nothing of its own.
    assert bad.state("finish") == "failed"
    log = bad.log_of("outcome")
    assert shown(log, "history") == ["failed", "nothing to do", "ok", "ok"]
    assert "SourceError: " in log[log.index(HEAD) :]

    done = command(lab, WORKER)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == WORKER
    assert shown(done.stdout, "history") == ["failed", "nothing to do", "ok", "ok"]
    assert shown(command(lab, WORKER, "--route", "history", "--last", "2").stdout, "history") == ["failed", "nothing to do"]
    assert printed(lab, WORKER, "--route", "history") == {WORKER: {"history": history.plain(entries)}}
    assert printed(lab, "--last", "1")[WORKER]["history"] == history.plain(entries[-1:])

    # Cleared, the run is not another one.
    bad.clear("plan")
    bad.good()
    assert [(one.run, one.state) for one in kept(lab, WORKER, "history")][2:] == [(third.id, "nothing to do"), (bad.id, "nothing to do")]


@pytest.mark.parametrize(
    ("value", "said"), [("garbage", "is a text and not a list"), ([{"at": "noon"}, 7], "has 2 of 2 entries that can't be read")]
)
def test_garbage_in_the_store_is_said_and_harms_no_run(lab: Lab, value: Any, said: str) -> None:
    name = f"history-garbage-{len(value)}"
    lab.configure(WORKER, lab.route(name))
    lab.trigger(WORKER).good()
    lab.rest.set_state_of_asset(f"fs-sync/{WORKER}", history.key(name), value)
    told = command(lab, WORKER, "--route", name)
    assert told.returncode == 0
    assert said in told.stderr
    tree.write(lab.source(name) / "new", b"new")
    run = lab.trigger(WORKER).good()
    log = run.log("finish")
    assert said in log
    assert history.key(name) in log
    assert [(one.run, one.state) for one in kept(lab, WORKER, name)] == [(run.id, "ok")]
    assert shown(run.log_of("outcome"), name) == ["ok"]
    assert lab.same(name)


def test_what_was_ended_by_hand_is_entered_by_outcome_and_a_dry_run_never(lab: Lab) -> None:
    lab.configure(TRIGGERER, lab.route("history-hand", 12 * MEBI, bandwidth="2M"))
    run = lab.trigger(TRIGGERER)
    with frozen(run):
        run.mark_failed("finish")
        assert run.wait() == "failed"
    (entry,) = kept(lab, TRIGGERER, "history-hand")
    assert (entry.run, entry.state) == (run.id, "failed")
    assert shown(run.log_of("outcome"), "history-hand") == ["failed"]

    lab.configure(DRY, lab.route("history-dry"))
    lab.trigger(DRY, dry_run=True).good()
    assert kept(lab, DRY, "history-dry") == ()
    shutil.rmtree(lab.source("history-dry"))
    assert lab.trigger(DRY, dry_run=True).wait() == "failed"
    assert kept(lab, DRY, "history-dry") == ()


def test_a_route_that_can_not_be_has_its_failure_in_the_history(lab: Lab) -> None:
    lab.configure(TEN, {**lab.route("history-wrong"), "min_age": "soon"})
    assert lab.trigger(TEN).wait() == "failed"
    (entry,) = kept(lab, TEN, "history-wrong")
    assert entry.error.startswith("ConfigError: route 'history-wrong' can't run: ")


def test_the_command_says_what_is_to_be_mended(lab: Lab) -> None:
    def refused(*argv: str, **changed: str) -> str:
        done = command(lab, *argv, **changed)
        assert (done.returncode, done.stdout) == (1, "")
        assert "Traceback" not in done.stderr
        assert lab.stage.airflow.password not in done.stderr
        return done.stderr

    assert "refused the login of the user 'admin'" in refused(**{cli.PASSWORD: "wrong"})
    assert "the token is not valid" in refused(**{cli.TOKEN: "not-a-token"})
    assert f"set {cli.PASSWORD} or {cli.TOKEN}" in refused(**{cli.PASSWORD: ""})
    assert "no asset 'fs-sync/nowhere'" in refused("nowhere")
    assert "known are" in refused("nowhere")
    assert "no history of route 'never'" in refused(WORKER, "--route", "never")
    token = lab.rest.client.headers["Authorization"].removeprefix("Bearer ")
    assert command(lab, **{cli.TOKEN: token, cli.PASSWORD: ""}).returncode == 0
