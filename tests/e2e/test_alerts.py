"""What goes wrong is told by mail, Slack's webhook and a plain one, once, and nothing that refuses an alert does harm."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from fs_sync import alerts, form
from fs_sync.errors import WORDS, ConfigError, SourceError
from lab import ears
from lab.processes import kill, until
from tests.e2e import test_approval as approval
from tests.e2e.conftest import MEBI, NIGHTLY, STALE, TOLD, Lab, Run, frozen
from tests.e2e.secrets_search import database, files, hits

MAIL, SLACK, HOOK, SILENT = "told_by_mail", "told_by_slack", "told_by_hook", "told_nobody"
TO = "ops@example.com"


@dataclass
class Ears:
    """The three servers, and the secrets of the connections to them."""

    mail: ears.Mail
    slack: ears.Hook
    hook: ears.Hook
    secrets: dict[str, str]

    def heard(self) -> tuple[int, int, int]:
        return len(self.mail.got), len(self.slack.got), len(self.hook.got)

    def last(self) -> dict[str, Any]:
        return dict(self.hook.got[-1][2])


@pytest.fixture
def told(lab: Lab) -> Iterator[Ears]:
    """All three channels, over connections with secrets."""
    words = {name: secrets.token_urlsafe(24) for name in ("mail password", "slack token", "hook password", "hook path")}
    with ears.mail("fs-sync", words["mail password"]) as mail, ears.hook() as slack, ears.hook() as hook:
        made: dict[str, dict[str, Any]] = {
            MAIL: {
                "conn_type": "smtp",
                "host": "127.0.0.1",
                "port": mail.port,
                "login": mail.login,
                "password": mail.password,
                "extra": {"from_email": "fs-sync@example.com", "disable_ssl": True, "disable_tls": True},
            },
            SLACK: {"conn_type": "slackwebhook", "password": f"http://127.0.0.1:{slack.port}/services/{words['slack token']}"},
            HOOK: {
                "conn_type": "http",
                "host": f"http://127.0.0.1:{hook.port}/{words['hook path']}",
                "login": "fs-sync",
                "password": words["hook password"],
            },
        }
        for conn_id, fields in made.items():
            lab.rest.set_connection(conn_id, fields)
        channels(lab, {"conn": MAIL, "to": [TO]}, {"conn": SLACK}, {"conn": HOOK, "endpoint": "in"})
        try:
            yield Ears(mail, slack, hook, words)
        finally:
            lab.rest.delete_variable(form.ALERTS)


def channels(lab: Lab, *said: dict[str, Any]) -> None:
    lab.rest.set_variable(form.ALERTS, json.dumps(said))


def ended(run: Run, state: str) -> Run:
    assert run.wait() == state, run.told()
    return run


def test_a_failure_is_told_once_by_all_channels_and_so_is_the_recovery(lab: Lab, told: Ears) -> None:
    broken = lab.route("told-broken", require=".mounted")
    lab.configure(TOLD, lab.route("told-well"), broken)
    run = ended(lab.trigger(TOLD), "failed")
    assert told.heard() == (1, 1, 1)
    path, authorization, said = told.hook.got[0]
    assert path == f"/{told.secrets['hook path']}/in"
    assert authorization.startswith("Basic ")
    assert {key: said[key] for key in ("kind", "dag_id", "run_id", "route", "phase", "error", "mend")} == {
        "kind": "failure",
        "dag_id": TOLD,
        "run_id": run.id,
        "route": "told-broken",
        "phase": "plan",
        "error": "SourceError",
        "mend": WORDS[SourceError][1],
    }
    assert ".mounted" in said["text"]
    assert said["text"] in lab_log(lab, said["link"])
    assert lab.rest.client.get(said["link"]).is_success
    (mail,) = told.mail.got
    assert (mail["To"], mail["From"]) == (TO, "fs-sync@example.com")
    assert mail["Subject"] == f"[fs-sync] {TOLD}: route told-broken failed in plan: SourceError"
    text = mail.get_body(("html",)).get_content()  # type: ignore[union-attr]
    for word in ("told-broken", "plan", "SourceError", ".mounted", said["mend"], said["link"]):
        assert word in text
        assert word in told.slack.got[0][2]["text"]

    # The same once more says nothing new.
    again = ended(lab.trigger(TOLD), "failed")
    assert told.heard() == (1, 1, 1)
    assert "The alert is not sent again" in again.log("plan", 1)

    (lab.source("told-broken") / ".mounted").touch()
    ended(lab.trigger(TOLD), "success")
    assert told.heard() == (2, 2, 2)
    assert (told.last()["kind"], told.last()["route"], told.last()["error"]) == ("recovery", "told-broken", "SourceError")
    kept = lab.rest.states_of_asset(f"fs-sync/{TOLD}")
    assert "failure:told-broken" not in kept
    assert {"green:told-broken", "green:told-well"} <= set(kept)
    ended(lab.trigger(TOLD), "success")
    assert told.heard() == (2, 2, 2)

    airflow = lab.stage.airflow
    logs = [*files(airflow.logs), *((str(path), path.read_bytes()) for path in airflow.directory.glob("*.log"))]
    assert any(b"went out by connection told_by_mail" in text for _, text in logs)
    assert hits(logs, told.secrets) == []
    # Airflow keeps a host as it is.
    del told.secrets["hook path"]
    assert hits(database(airflow.database), told.secrets) == []


def lab_log(lab: Lab, link: str) -> str:
    """The log to which an alert's link leads."""
    words = [unquote(word) for word in urlsplit(link).path.strip("/").split("/")]
    assert words[0::2][:4] == ["dags", "runs", "tasks", "mapped"]
    dag_id, run_id, task_id, index = words[1::2]
    return lab.rest.log(dag_id, run_id, task_id, int(index))


def test_a_configuration_that_cannot_be_read_is_told(lab: Lab, told: Ears) -> None:
    lab.rest.set_variable(TOLD, "{")
    ended(lab.trigger(TOLD), "failed")
    assert told.heard() == (1, 1, 1)
    said = told.last()
    assert (said["route"], said["phase"], said["error"], said["mend"]) == ("", "routes", "ConfigError", WORDS[ConfigError][1])
    assert "is not JSON" in said["text"]
    lab.configure(TOLD, lab.route("told-text"))
    ended(lab.trigger(TOLD), "success")
    assert [said[2]["kind"] for said in told.hook.got] == ["failure", "recovery"]


def test_a_channel_that_refuses_or_hangs_harms_neither_the_others_nor_the_task(lab: Lab, told: Ears) -> None:
    lab.rest.edit_connection(MAIL, password="another-password-than-the-server's")
    told.hook.answer = 500
    with ears.silent() as port:
        lab.rest.set_connection(SILENT, {"conn_type": "http", "host": f"http://127.0.0.1:{port}"})
        channels(
            lab, {"conn": SILENT}, {"conn": MAIL, "to": [TO]}, {"conn": HOOK}, {"conn": "no_such_one"}, {"conn": SLACK, "to": [TO]},
            {"conn": SLACK}, {"conn": SLACK, "tto": 1},
        )  # fmt: skip
        lab.configure(TOLD, lab.route("told-refused", require=".mounted"))
        run = ended(lab.trigger(TOLD), "failed")
    assert told.heard() == (0, 1, 1)
    assert (run.state("plan"), run.tries("plan"), run.state("finish")) == ("failed", 1, "failed")
    log = run.log("plan")
    for conn_id in (SILENT, MAIL, HOOK, "no_such_one"):
        assert f"Connection {conn_id} did not take the alert" in log
    assert f"the channel of connection '{SLACK}': `to` is for mail alone" in log
    assert f"Variable {form.ALERTS}: [6].tto: is not an option; did you mean to?" in run.log_of("routes")
    assert hits([("log", log.encode())], {**told.secrets, "wrong password": "another-password-than-the-server's"}) == []


def test_what_is_ended_without_a_word_is_told_by_outcome(lab: Lab, told: Ears) -> None:
    lab.configure(TOLD, lab.route("told-marked", 8 * MEBI, bandwidth="1M"))
    run = lab.trigger(TOLD)
    with frozen(run):
        run.mark_failed("finish")
    ended(run, "failed")
    assert told.heard() == (1, 1, 1)
    said = told.last()
    assert (said["kind"], said["route"], said["phase"], said["text"]) == ("failure", "told-marked", "finish", alerts.NO_WORD)
    assert lab_log(lab, said["link"]) == run.log("finish")


def test_a_task_that_is_killed_at_each_try_is_told_by_outcome(lab: Lab, told: Ears) -> None:
    """Nothing is left then that could call the task's own callback."""
    lab.configure(TOLD, lab.route("told-killed", 8 * MEBI, bandwidth="1M"))
    run = lab.trigger(TOLD)
    killed: set[int] = set()

    def kill_the_next() -> bool:
        task = run.task("finish")
        if task["state"] == "running" and task["pid"] and task["pid"] not in killed:
            killed.add(task["pid"])
            kill(task["pid"])
        return task["state"] == "failed"

    with frozen(run):
        until(kill_the_next, "the end of all tries", timeout=120)
        ended(run, "failed")
    assert len(killed) == run.tries("finish") == 4
    assert told.heard() == (1, 1, 1)
    said = told.last()
    assert (said["route"], said["phase"], said["error"], said["text"]) == ("told-killed", "finish", "", alerts.NO_WORD)


def test_a_question_is_told_once_and_a_run_that_waits_tells_nothing_late(lab: Lab, told: Ears) -> None:
    lab.configure(TOLD, approval.route(lab, "told-waits"), lab.route("told-meanwhile", require=".mounted"))
    run = lab.trigger(TOLD)
    approval.waits(run)
    until(lambda: told.heard() == (2, 2, 2), "the failure and the question", timeout=60)
    (said,) = (said for _, _, said in told.hook.got if said["kind"] == "approval")
    assert (said["route"], said["phase"], said["run_id"]) == ("told-waits", "approve", run.id)
    assert said["text"].splitlines() == [
        "1 file, 1 MB in all; nothing else waits for the answer",
        "larger than `max_file` (1 MB)",
        "1 MB  big 0",
    ]
    assert "under Required Actions" in said["mend"]
    assert said["link"].endswith("/tasks/route.approve/mapped/0/required_actions")
    assert lab.rest.client.get(said["link"]).is_success
    # A later run does not ask, and mends the other route.
    (lab.source("told-meanwhile") / ".mounted").touch()
    ended(lab.trigger(TOLD), "success")
    assert [said[2]["kind"] for said in told.hook.got[2:]] == ["recovery"]
    # The retry asks again and does not tell; the first run's outcome knows that its failure was told.
    assert approval.answer(run, ["Transfer"], bandwidth="10X").status_code == 200
    until(lambda: run.tries("approve") == 2, "the retry", timeout=60)

    def answered() -> bool:
        # An answer in the very moment in which a task parks can cross with its end, and Airflow then tries the task again.
        if run.state("approve") == "awaiting_input":
            approval.answer(run, ["Transfer"])
        return run.state("approve") == "success"

    until(answered, "the answer", timeout=60, every=1)
    ended(run, "failed")
    assert lab.same("told-waits")
    assert told.heard() == (3, 3, 3)
    assert "failure:told-meanwhile" not in lab.rest.states_of_asset(f"fs-sync/{TOLD}")


def test_an_oversized_transfer_that_fails_is_told(lab: Lab, told: Ears) -> None:
    lab.configure(TOLD, approval.route(lab, "told-oversized"))
    run = lab.trigger(TOLD)
    approval.waits(run)
    shutil.rmtree(lab.source("told-oversized"))
    assert approval.answer(run, ["Transfer"]).status_code == 200
    ended(run, "failed")
    assert [said[2]["kind"] for said in told.hook.got] == ["approval", "failure"]
    assert (told.last()["route"], told.last()["phase"], told.last()["error"]) == ("told-oversized", "oversized", "SourceError")


def test_a_dry_run_tells_nothing(lab: Lab, told: Ears) -> None:
    lab.configure(TOLD, lab.route("told-dry", require=".mounted"))
    ended(lab.trigger(TOLD, dry_run=True), "failed")
    assert told.heard() == (0, 0, 0)


def test_a_route_without_a_green_run_is_told_though_its_dag_is_paused(lab: Lab, told: Ears) -> None:
    lab.rest.pause(TOLD)
    with restored(lab):
        lab.configure(TOLD, lab.route("told-stale", stale_after="1s"), lab.route("told-never"))
        # It counts from this look, the first one; the next ones begin more than a second later.
        ended(lab.trigger(STALE), "success")
        assert told.heard() == (0, 0, 0)
        until(lambda: lab.trigger(STALE).wait() == "failed", "a stale route", timeout=60)
        assert told.heard() == (1, 1, 1)
        said = told.last()
        assert (said["kind"], said["route"], said["dag_id"]) == ("stale", "told-stale", STALE)
        assert TOLD in said["text"]
        run = ended(lab.trigger(STALE), "failed")
        assert f"1 of 1 routes with `stale_after` are stale: told-stale of {TOLD} (never green" in run.log_of("look")
        assert told.heard() == (1, 1, 1)
        lab.rest.pause(TOLD, paused=False)
        ended(lab.trigger(TOLD), "success")
        lab.configure(TOLD, lab.route("told-stale", stale_after="1h"))
        assert "told-stale: green " in ended(lab.trigger(STALE), "success").log_of("look")
        assert told.heard() == (1, 1, 1)


def test_dags_of_any_name_are_looked_at_once_they_ran_and_other_variables_are_left_alone(lab: Lab, told: Ears) -> None:
    lab.rest.set_variable("anybodys", '{"routes": [{"name": "x", "stale_after": "1s"}]}')
    lab.rest.set_variable("fs_sync_rsync_gone", '{"routes": [{"name": "x", "stale_after": "1s"}]}')
    with restored(lab, NIGHTLY, "anybodys", "fs_sync_rsync_gone"):
        lab.configure(NIGHTLY, lab.route("told-nightly", stale_after="1h"))
        lab.trigger(NIGHTLY).good()
        log = ended(lab.trigger(STALE), "success").log_of("look")
        assert f"{NIGHTLY}: told-nightly: green " in log
        assert "anybodys" not in log
        assert "Variable fs_sync_rsync_gone says `stale_after`, but no DAG reads it" in log


def test_a_trial_goes_by_all_channels_and_is_red_if_one_does_not_take_it(lab: Lab, told: Ears) -> None:
    channels(lab, {"conn": MAIL, "to": [TO], "on": ["stale"]}, {"conn": SLACK, "on": ["recovery"]}, {"conn": HOOK})
    ended(lab.trigger(STALE, trial=True), "success")
    assert told.heard() == (1, 1, 1)
    told.hook.answer = 404
    run = ended(lab.trigger(STALE, trial=True), "failed")
    assert f"Connection {HOOK} did not take the alert" in run.log_of("look")
    assert told.heard() == (2, 2, 2)


@contextlib.contextmanager
def restored(lab: Lab, *variables: str) -> Iterator[None]:
    """Leave nothing stale behind, and no Variable."""
    try:
        yield
    finally:
        lab.rest.pause(TOLD, paused=False)
        for variable in (TOLD, *variables):
            lab.rest.delete_variable(variable)
