"""The DAG of a backend: the routes are read, each is planned, copied and proven on its own, and the outcome is judged."""

from __future__ import annotations

import logging
import os
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from airflow.sdk import DAG, Asset, AssetAlias, ExceptionRetryPolicy, Param, RetryAction, RetryRule, task, task_group

from fs_sync import alerting, errors, form, outcome
from fs_sync.approve import ApproveOperator
from fs_sync.job import TIERS
from fs_sync.operator import JobOperator
from fs_sync.route import Kind

log = logging.getLogger(__name__)

RETRIES = 3
SOON = timedelta(seconds=5)
# How often and when a full scan asks for a route that another run holds: for ten minutes, out of step with runs of every minute.
PATIENCE, AGAIN = 30, timedelta(seconds=20)
# The same for files that a person has approved: for five hours.
HOURS = 900
# A run that waits for a person is active, and each route may have one.
ACTIVE = 24
# Where the tasks of the tiers run; without them they run where all others do.
SMALL_QUEUE, SMALL_POOL = "FS_SYNC_SMALL_QUEUE", "FS_SYNC_SMALL_POOL"
LARGE_QUEUE, LARGE_POOL = "FS_SYNC_LARGE_QUEUE", "FS_SYNC_LARGE_POOL"

# Of all DAGs whose file gives none.
SCHEDULE = os.environ.get("FS_SYNC_SCHEDULE") or "@hourly"

# What a person must mend fails at once; what passes by itself is tried again, and at once where only the job was lost.
RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(exception=errors.Permanent, action=RetryAction.FAIL, reason="a retry can't help"),
        RetryRule(exception=errors.Busy, action=RetryAction.RETRY, retry_delay=AGAIN, reason="another run holds the route"),
        RetryRule(exception=errors.JobVanished, action=RetryAction.RETRY, retry_delay=SOON, reason="the job is gone; it is started again"),
        RetryRule(exception=errors.Transient, action=RetryAction.DEFAULT, reason="this may pass by itself"),
    ]
)

DOC = """
Replicates files one way: `{backend}` runs {runs} and writes to {where}.

* **Routes** come from the Variable `{variable}`; without it there is one route, `default`, from the flat `fs_sync_*` Variables.
* **By hand**: *Trigger* offers the routes to run, a dry run (it checks all and copies nothing), the verification, bandwidth and scan.
* **What happened** stands at the end of the log of each route's last task, as its XCom, and in the asset event.
"""
RUNS = {
    "source": "on the source, so that the bytes go from server to server",
    "target": "on the target, reads from a bucket, so that the bytes go from the store to the server,",
    "worker": "on the worker, **so that all bytes pass it**: for servers that can't see each other, or have no shell. It reads",
}
WHERE = {"ssh": "another server over SSH", "s3": "a bucket", "host": "its own files", "any": "a server or a bucket, as the Connections say"}


def replicate(
    dag_id: str,
    *,
    backend: Literal["rsync", "rclone"],
    target: Literal["ssh", "s3", "host", "any"],
    source: Literal["host", "s3", "any"] = "host",
    runner: Literal["source", "target", "worker"] = "source",
    schedule: Any = SCHEDULE,
    doc: str | None = None,
    retry_delay: timedelta | None = None,
    defer_after: float = 30.0,
    small_queue: str | None = None,
    small_pool: str | None = None,
    large_queue: str | None = None,
    large_pool: str | None = None,
    variable: str | None = None,
    scan: Literal["full", "quick"] | None = None,
    paused: bool | None = None,
) -> DAG:
    """
    Given the backend, what its ends are and where it runs (see route.Kind), return the DAG that copies the routes of a Variable.

    Its key is the `dag_id` unless another DAG's `variable` is named: two DAGs of one Variable copy the same routes, each in its rhythm.
    `scan` is that of all routes, unless a run's form says otherwise; without it each route's own. `paused` is how a new DAG begins.
    With `scan="full"` a route that another run holds is asked for again, for ten minutes; any other DAG skips it at once.
    `schedule` is hourly, or what the environment's FS_SYNC_SCHEDULE says, unless given, and `retry_delay` Airflow's own default.
    A job that runs longer than `defer_after` seconds gives its worker slot back.
    `small_queue`, `small_pool`, `large_queue` and `large_pool` are those of the tiers, from the environment unless given; empty is
    Airflow's own default.
    """
    kind = Kind(backend=backend, target=target, source=source, runner=runner)
    variable = variable or dag_id
    defaults: dict[str, Any] = {"retries": RETRIES, "retry_policy": RETRY_POLICY}
    if retry_delay is not None:
        defaults["retry_delay"] = retry_delay
    with DAG(
        dag_id,
        schedule=schedule,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        # Jobs of several workers do not see each other's locks.
        max_active_runs=1 if runner == "worker" else ACTIVE,
        default_args=defaults,
        params={name: _param(**spec) for name, spec in form.run_params(scan).items()},
        is_paused_upon_creation=paused,
        tags=["fs-sync", backend, *(end for end in (source, target) if end in ("ssh", "s3")), *(["worker"] if runner == "worker" else [])],
        doc_md=doc or DOC.format(backend=backend, runs=RUNS[runner], where=WHERE[target], variable=variable),
    ) as dag:
        report = AssetAlias(f"fs-sync:{dag_id}")
        # Its state store holds the cursors and the histories of the Variable's routes, and what was told of them.
        cursors = Asset(name=f"fs-sync/{variable}", uri=f"fs-sync://{variable}")
        # One of a pair: each two hours it begins in the same second as the quick one, which must not keep it from the route for good.
        patience = {"patient": True, "retries": PATIENCE} if scan == "full" else {}
        places = {
            "small": _place(queue=_either(small_queue, SMALL_QUEUE), pool=_either(small_pool, SMALL_POOL)),
            "large": _place(queue=_either(large_queue, LARGE_QUEUE), pool=_either(large_pool, LARGE_POOL)),
        }

        told: dict[str, Any] = {"inlets": [cursors], "on_failure_callback": alerting.failed}
        ends: dict[str, Any] = {**told, "outlets": [report]}

        def step(name: str, mapped: Any, **more: Any) -> JobOperator:
            return JobOperator(task_id=name, step=name, kind=kind, mapped=mapped, defer_after=defer_after, **more)

        @task_group(group_id=outcome.GROUP)
        def route(mapped: Any) -> None:
            # A tier goes ahead only, and what it fails at is told by nobody: `finish` brings it, or says why it can't.
            plan = step("plan", mapped, **ends, **patience)
            tiers = [step(tier, mapped, **places[tier]) for tier in TIERS]
            # Not `none_failed`: in a mapped group one route's failure would then reach all of them.
            finish = step("finish", mapped, trigger_rule="all_done", **ends)
            # After all else, so that a person's absence delays nothing; it waits for a person without a worker or the route's lock.
            approve = ApproveOperator(task_id="approve", mapped=mapped, trigger_rule="all_done", **told)
            oversized = step("oversized", mapped, **ends, **places["large"], patient=True, retries=HOURS)
            plan >> tiers >> finish >> approve >> oversized
            plan >> finish

        @task(inlets=[cursors], on_failure_callback=alerting.failed)
        def routes(**context: Any) -> list[dict[str, Any]]:
            """Read at run time: nothing is read when this file is parsed."""
            from fs_sync import configuration

            said = {**(context["dag_run"].conf or {}), **context["params"]}
            found = configuration.load(variable, kind, said, log)
            alerting.green(context)
            return [mapped.to_dict() for mapped in found]

        read = routes()
        judged = task(task_id="outcome", trigger_rule="all_done", retries=0, inlets=[cursors])(outcome.judge)()
        group = route.expand(mapped=read)
        # `finish` too: where nothing is oversized, plan skips what comes after it while it has not even begun.
        [read, group, dag.get_task(f"{outcome.GROUP}.finish")] >> judged
    return dag


def _either(given: str | None, name: str) -> str:
    """What was given, else the environment's value of that name."""
    return os.environ.get(name, "") if given is None else given


def _place(**place: str) -> dict[str, str]:
    return {name: value for name, value in place.items() if value}


def _param(default: object, **schema: Any) -> Param:
    return Param(default, **schema)
