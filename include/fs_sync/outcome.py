"""The last word on a run: red if any route failed, naming each of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from fs_sync import alerting
from fs_sync.job import TIERS

GROUP = "route"
STEPS = ("plan", *TIERS, "finish", "approve", "oversized")
# The XCom of a task that gave its job to the triggerer.
HANDED = "handed"
BAD = ("failed", "upstream_failed")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    """What became of one route."""

    name: str
    state: str
    task: str = ""


def verdicts(states: Mapping[str, str | None], names: Sequence[str]) -> tuple[Verdict, ...]:
    """
    Given the states of a run's tasks ("route.plan_0": "success") and the routes' names, return what became of each route.

    A failed tier alone makes no route fail: it only goes ahead of `finish`, which is the truth.
    """
    return tuple(_verdict(states, index, name) for index, name in enumerate(names))


def judge(**context: Any) -> dict[str, str]:
    """Return each route's end. Raise AirflowFailException, naming those that failed, if there are any."""
    from airflow.sdk.exceptions import AirflowFailException

    ti = context["ti"]
    states = {key: str(getattr(state, "value", state)) for key, state in _states(ti).items()}
    if states.get("routes") != "success":
        alerting.untold(context, "", "routes", None, _link(ti, "routes"))
        raise AirflowFailException("the routes could not be read, so nothing was copied; the log of task `routes` says why")
    mapped = ti.xcom_pull(task_ids="routes") or []
    names = [one["name"] for one in mapped]
    for index, step in product(range(len(names)), STEPS):
        if states.get(f"{GROUP}.{step}_{index}") == "failed":
            end_handed(ti, f"{GROUP}.{step}", index)
    found = verdicts(states, names)
    for index, one in enumerate(found):
        said = _told(ti, states, index)
        if one.state == "ok" and said:
            log.info("%s", said)
        else:
            log.info("%s: %s", one.name, one.state + (f" in {one.task}" if one.task else "") + (f"; {said}" if said else ""))
        if one.state == "failed":
            task_id = f"{GROUP}.{one.task}"
            alerting.untold(context, one.name, task_id, index, _link(ti, task_id, index))
    _tell_histories(context, [bool(one["run"]["dry_run"]) for one in mapped], found)
    failed = [one for one in found if one.state == "failed"]
    if failed:
        which = ", ".join(f"{one.name} (in {one.task})" for one in failed)
        raise AirflowFailException(f"{len(failed)} of {len(found)} routes failed: {which}; the log of each one's task says why")
    return {one.name: one.state for one in found}


def _tell_histories(context: Any, dry: Sequence[bool], found: Sequence[Verdict]) -> None:
    """Log the last runs of this run's routes. A route that failed without a word, since a step was marked or killed, gets it here."""
    from fs_sync import history, store

    ti, known = context["ti"], {}
    for one, without in zip(found, dry, strict=True):
        entries = store.entries(context, one.name)
        run = history.of_answer(ti.run_id) if one.task in ("approve", "oversized") else ti.run_id
        if entries is not None and one.state == "failed" and not without and not history.has_failed(entries, ti.dag_id, run):
            error = f"{one.task} was ended by hand or killed; its log says more"
            entry = history.of_failure(context["dag_run"].start_date.timestamp(), run, ti.dag_id, error)
            entries = store.keep(context, one.name, entry)
        if entries:
            known[one.name] = entries
    for line in ("The last runs:", *history.table(known)) if known else ():
        log.info("%s", line)


def end_handed(ti: Any, task_id: str, map_index: int) -> None:
    """
    End the job of a failed task that was on its way to the triggerer.

    Marked failed in the second before the triggerer has it, a task is no one's: neither worker nor triggerer would end its job.
    """
    handed = ti.xcom_pull(task_ids=task_id, map_indexes=map_index, key=HANDED)
    if not isinstance(handed, Mapping):
        return
    from fs_sync import hooks, watching
    from fs_sync.errors import FsSyncError
    from fs_sync.job import Job

    try:
        said = watching.kill(hooks.connection(handed["conn_id"]), Job.from_dict(handed["job"]))
        log.info("%s of route %s: %s", task_id, map_index, said)
    except FsSyncError as error:
        log.warning("The job of %s could not be ended; it stops itself when nobody watches it any more: %s", task_id, error)


def _link(ti: Any, task_id: str, index: int = -1) -> str:
    """The address of another task's log, made from that of this one's."""
    begin, _, _ = str(ti.log_url).rpartition("/tasks/")
    return f"{begin}/tasks/{task_id}" + (f"/mapped/{index}" if index >= 0 else "")


def _told(ti: Any, states: Mapping[str, str | None], index: int) -> str:
    """The line that the last step of a route ended with, from its report; nothing if it left none."""
    from fs_sync.report import Report, summary

    found = None
    if states.get(f"{GROUP}.oversized_{index}") == "success":
        found = ti.xcom_pull(task_ids=f"{GROUP}.oversized", map_indexes=index)
    elif states.get(f"{GROUP}.finish_{index}") == "success":
        found = ti.xcom_pull(task_ids=f"{GROUP}.finish", map_indexes=index)
    elif states.get(f"{GROUP}.plan_{index}") == "success":
        found = (ti.xcom_pull(task_ids=f"{GROUP}.plan", map_indexes=index) or {}).get("report")
    return summary(Report(**found)) if isinstance(found, Mapping) else ""


def _states(ti: Any) -> Mapping[str, Any]:
    found: Mapping[str, Mapping[str, Any]] = ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id])
    return found.get(ti.run_id, {})


def _verdict(states: Mapping[str, str | None], index: int, name: str) -> Verdict:
    of = {step: states.get(f"{GROUP}.{step}_{index}", states.get(f"{GROUP}.{step}")) for step in STEPS}
    for step in ("plan", "finish", "approve", "oversized"):
        if of[step] in BAD:
            return Verdict(name, "failed", step)
    if of["plan"] == "skipped":
        return Verdict(name, "skipped")
    if of["plan"] != "success" or of["finish"] not in ("success", "skipped"):
        return Verdict(name, "failed", "plan" if of["plan"] != "success" else "finish")  # never ran, or was removed
    bad = [tier for tier in TIERS if of[tier] in BAD]
    return Verdict(name, f"ok, though {' and '.join(bad)} failed" if bad else "ok")
