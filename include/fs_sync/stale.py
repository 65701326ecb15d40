"""The DAG that tells of routes without a green run for too long, whatever keeps them from it; it copies nothing."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Param, Variable, task

from fs_sync import alerting, alerts, configuration, form, route
from fs_sync.alerts import Alert

log = logging.getLogger(__name__)

STALE = "stale:{}"
MEND = (
    "look at the last runs of the DAGs that copy it: paused, skipped as busy, queued for ever or failed? docs/alerts.md goes through them"
)
DOC = """
Tells of routes that had no green run for their `stale_after`, though their DAG is paused, their lock is held or no run was made.
It is red as long as there is one, and sends an alert once. It copies nothing.

* **By hand**: *Trigger* offers a trial alert, by all channels.
"""


def watch(dag_id: str, *, schedule: Any = "*/15 * * * *", variables: Sequence[str] = ()) -> DAG:
    """
    Return the DAG that looks at the routes of all DAGs made by `replicate`.

    It finds their Variables by itself if these begin with fs_sync_, or if their DAG ran once; `variables` names others, such as
    those of a secrets backend, which can't be listed.
    """
    with DAG(
        dag_id,
        schedule=schedule,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        default_args={"retries": 2, "retry_delay": timedelta(seconds=30)},
        params={
            "trial": Param(False, type="boolean", title="Trial", description="Send a trial alert by all channels, and do nothing else")
        },
        is_paused_upon_creation=False,
        tags=["fs-sync"],
        doc_md=DOC,
    ) as dag:

        @task
        def look(**context: Any) -> dict[str, str]:
            """Return how each route with `stale_after` stands. Raise AirflowFailException, naming them, if some are stale."""
            return _trial(context) if context["params"]["trial"] else _look(context, variables)

        look()
    return dag


def _trial(context: Any) -> dict[str, str]:
    from airflow.sdk.exceptions import AirflowFailException

    ti = context["ti"]
    alert = Alert("failure", ti.dag_id, ti.run_id, "trial", "trial", text="a trial: nothing failed", mend="nothing to do", link=ti.log_url)
    if not alerting.send(alert, to_all=True):
        raise AirflowFailException(f"not every channel took the trial alert, or the Variable {form.ALERTS} names none; see above")
    return {"trial": "sent"}


def _look(context: Any, variables: Sequence[str]) -> dict[str, str]:
    from airflow.sdk.exceptions import AirflowFailException

    now = time.time()
    found: dict[str, str] = {}
    late = []
    for variable, name, limit, store in _limits(variables):
        key = STALE.format(name)
        mark = store.get(key) or {}
        state = alerts.staleness(limit, store.get(alerting.GREEN.format(name)), mark, now)
        said = alerts.stands(state, limit)
        found[f"{variable}: {name}"] = said
        log.info("%s: %s: %s", variable, name, said)
        told = state.tell and alerting.notify("stale", context, route=name, text=f"{variable}: {said}", mend=MEND)
        if told or not mark:
            store.set(key, {"seen": mark.get("seen", now), "told": now if told else 0})
        if state.late:
            late.append(f"{name} of {variable} ({said})")
    if late:
        raise AirflowFailException(f"{len(late)} of {len(found)} routes with `stale_after` are stale: {'; '.join(late)}")
    return found


def _limits(variables: Sequence[str]) -> Iterable[tuple[str, str, int, Any]]:
    """Each route that has `stale_after`: its Variable, name, limit in seconds, and the state store of the Variable's DAGs."""
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time.context import AssetStateStoreAccessor

    for variable in sorted({*configuration.keys(log, ""), *variables} - {*form.FLAT, *form.THRESHOLDS, form.ALERTS}):
        store = AssetStateStoreAccessor(name=f"fs-sync/{variable}")
        # Of a Variable with another name nothing is read unless a DAG of ours did so before: it may be anybody's.
        if not variable.startswith("fs_sync_") and variable not in variables and store.get(alerting.GREEN.format("")) is None:
            continue
        limits, wrong = route.stale_limits(Variable.get(variable, default=None) or "", f"Variable {variable}")
        for fault in wrong:
            log.warning("%s", fault)
        for name, limit in limits.items():
            try:
                store.set(STALE.format(""), time.time())
            except AirflowRuntimeError:
                log.warning("Variable %s says `stale_after`, but no DAG reads it; mend or delete it", variable)
                break
            yield variable, name, limit, store
