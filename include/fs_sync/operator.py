"""JobOperator: one step of one route, run as a job on the source host, watched from here or from the triggerer."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.ssh.operators.ssh import SSHOperator
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, AirflowTaskTimeout, DownstreamTasksSkipped
from airflow.sdk.log import mask_secret, redact  # type: ignore[attr-defined]

from fs_sync import alerting
from fs_sync.errors import Busy, ConfigError, FsSyncError, Permanent, Stopped, Unusual
from fs_sync.job import TIERS
from fs_sync.lines import Lines
from fs_sync.outcome import HANDED, end_handed

if TYPE_CHECKING:
    from fs_sync.approval import Answer
    from fs_sync.credentials import PlainConnection
    from fs_sync.job import Answer as JobAnswer
    from fs_sync.records import Records
    from fs_sync.report import Report
    from fs_sync.route import Kind, Mapped
    from fs_sync.watching import Watcher

# A task in one of these states goes on, now or with its next try; any other one means that somebody ended or cleared it.
GOES_ON = ("running", "deferred", "scheduled", "queued", "up_for_retry")
# Where a job of the worker keeps its directory, for several workers on one machine a folder that they share.
WORKER_DIR = "FS_SYNC_WORKER_DIR"
ORPHANED = 30  # seconds
TRIES = 3
SECRET_EXTRAS = ("private_key", "private_key_passphrase", "passphrase", "aws_secret_access_key", "aws_session_token")
ANOMALY_MEND = "look at the source and at the run's report; docs/anomalies.md says what each is, and how a route says what to do about it"
LAUNCHED = {
    "started": "The job was started",
    "attached running": "Attached: the job runs already",
    "attached done": "Attached: the job ended well before, its result is taken",
}


class JobOperator(SSHOperator):
    """Runs `step` (plan, small, large, finish or oversized) of the mapped route."""

    # `mapped` is none of them: Airflow would render what a path holds, `{{` and all.
    template_fields: Sequence[str] = ("command",)
    template_ext: Sequence[str] = ()
    template_fields_renderers: ClassVar[dict[str, str]] = {"command": "bash"}

    def __init__(self, *, step: str, kind: Kind, mapped: Any, defer_after: float = 30.0, patient: bool = False, **kwargs: Any) -> None:
        kwargs.setdefault("map_index_template", "{{ route_name | default(ti.map_index) }}")
        super().__init__(command="", **kwargs)
        self.step = step
        self.kind = kind
        self.mapped = mapped
        self.defer_after = defer_after
        self.patient = patient
        self.fault: FsSyncError | None = None
        self.watcher: Watcher | None = None
        self.unwanted = False
        self.answer: Answer | None = None
        self.began: float | None = None
        self.report: Report | None = None
        self.late_at = 0.0  # epoch seconds from which on the job is slow; 0 is never
        self.slow = ""
        self.recorded = False

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """Resolve the route and set `command` to its script, so that "Rendered Template" shows what runs; it holds no secret."""
        from fs_sync.route import Mapped

        given = self.mapped.resolve(context) if hasattr(self.mapped, "resolve") else self.mapped
        self.mapped = Mapped.from_dict(given)
        context["route_name"] = self.mapped.name
        try:
            self._prepare(context["ti"], self.mapped)
        except FsSyncError as error:
            self.fault = error  # raised by execute, when the route's name is there to be shown

    def execute(self, context: Any = None) -> Any:
        """Start the step's job, or find the one that a former try started, and see it through."""
        with self._recorded(context):
            earlier = self._earlier(context["ti"])
        from fs_sync import credentials, watching

        with self._recorded(context), self._noted(context), watching.Watcher(self.host, self._say) as self.watcher:
            known = {**self._cursor(context), **self._asked(context), **self._usual(context)}
            handed = {**credentials.environment(self.target, self.source), **known}
            launched = self.watcher.launch(self.job, self.command or "", handed)
            self.log.info("%s: %s on %s", LAUNCHED[launched], self.job.path, self.host.host or "this worker")
            self.late_at = self._late_at(context, earlier)
            return self._follow(context, earlier, Lines(), 0)

    def resume(self, context: Any, event: Mapping[str, Any]) -> Any:
        """Go on where the triggerer left off: the job has ended, or can't be watched from there."""
        with self._recorded(context):
            earlier = self._earlier(context["ti"])
        from fs_sync import watching

        if event.get("error"):
            self.log.warning("The triggerer can't watch the job, so the worker does: %s", event["error"])
            self.defer_after = math.inf
        elif event["state"] == "running":  # it is late, no more
            self.defer_after = 0.0
        self.late_at, self.slow = float(event.get("late_at", 0.0)), str(event.get("slow", ""))
        with self._recorded(context), self._noted(context), watching.Watcher(self.host, self._say) as self.watcher:
            return self._follow(context, earlier, Lines(int(event["offset"])), int(event["bytes"]))

    def on_kill(self) -> None:
        """
        Give the job up, or end it: Airflow calls this alike when a worker is shut down and when somebody marks the task or clears it.

        In a thread, since what this interrupts may hold a lock that the question to the server needs, or a log line.
        """
        if self.watcher is not None:
            threading.Thread(target=self._stop, args=(self.watcher,), daemon=True).start()

    def _stop(self, watcher: Watcher) -> None:
        """Tell the watcher to stop, and end the job first if nobody wants it; Airflow kills the process five seconds after on_kill."""
        try:
            if not self._goes_on():
                self.unwanted = True
                self._end()
        finally:
            watcher.stopping.set()

    def _goes_on(self) -> bool:
        """Ask the server for this task's state. If it does not answer, nobody can have marked the task: the job outlives Airflow."""
        ti = self.ti
        try:
            found = ti.get_task_states(dag_id=ti.dag_id, map_index=ti.map_index, run_ids=[ti.run_id], task_ids=[self.task_id])
        except Exception as error:
            self.log.warning("The task was told to stop, and the server does not say why, so the job goes on: %s", error)
            return True
        state = found.get(ti.run_id, {}).get(f"{self.task_id}_{ti.map_index}")
        return str(getattr(state, "value", state)) in GOES_ON

    def _end(self) -> None:
        """End the job on the host, over a new connection: this may interrupt the one that watches at any point."""
        from fs_sync import watching

        try:
            self.log.info("%s", watching.kill(self.host, self.job))
        except FsSyncError as error:
            self.log.warning("The job could not be ended; it stops itself when nobody watches it any more: %s", error)

    def _prepare(self, ti: Any, mapped: Mapped) -> None:
        from fs_sync import approval, credentials, form, hooks, job, scripts

        if mapped.route is None or mapped.faults:
            raise ConfigError("\n".join((f"route {mapped.name!r} can't run:", *(f"  {fault}" for fault in mapped.faults))))
        route = form.apply_run(mapped.route, mapped.run)
        self.ti = ti
        self.answer = self._answer(ti) if self.step == "oversized" else None
        if self.answer:
            changes: dict[str, Any] = {"compress": True} if self.answer.choice == approval.COMPRESSED else {}
            if self.answer.bandwidth is not None:
                changes["bandwidth"] = self.answer.bandwidth or None
            route = route.model_copy(update=changes)
        self.route = route
        worker = self.kind.runner == "worker"
        ends = {word: hooks.connection(end.conn, worker=worker) for word, end in (("source", route.source), ("target", route.target))}
        ends["worker"] = hooks.HERE
        _mask(*(secret for conn in ends.values() for secret in _secrets_of(conn)))
        self.host = ends[self.kind.runner]
        self.target = credentials.from_connection(ends["target"], self.kind.target, route.target_auth)
        self.source = credentials.from_source(ends["source"], self.kind.source, route.target_auth)
        credentials.refuse_ends(route, self.source, self.target)
        _mask(*credentials.environment(self.target, self.source).values())  # a key in the form that the job gets
        limits = getattr(route, self.step) if self.step in TIERS else route
        self.job = job.name_job(
            ti.dag_id,
            ti.run_id,
            mapped.nonce,
            self.step,
            mapped.name,
            # A retry is the same job, a cleared task a new one: clearing raises max_tries.
            generation=max(0, ti.max_tries - (self.retries or 0)),
            target_identity=self._identity(),
            base=route.job_dir or (os.environ.get(WORKER_DIR, "") if worker else ""),
            timeout=limits.timeout,
            stall_after=limits.stall_after,
            # Nobody but this task can watch a job of the worker's, and the next try may be on another one.
            **({"orphan_after": ORPHANED} if worker else {}),
        )
        said = "leave out" if self.answer and self.answer.choice == approval.LEAVE_OUT else ""
        self.command = scripts.render(self.step, route, self.target, self.kind, self.source, dry_run=mapped.run.dry_run, answer=said)

    def _answer(self, ti: Any) -> Answer | None:
        """What a person answered in `approve`; without one there is nothing to run, and Airflow skips this task."""
        from fs_sync import approval

        found = ti.xcom_pull(task_ids=f"{self.task_id.rpartition('.')[0]}.approve", map_indexes=ti.map_index)
        if not isinstance(found, Mapping):
            raise ConfigError("`approve` of this route has no answer, so nothing oversized is copied; clear `approve` to be asked again")
        return approval.Answer(found["choice"], found["bandwidth"], found["by"])

    def _usual(self, context: Any) -> dict[str, str]:
        """What plan gets of the limits that the route's history gives."""
        from fs_sync import history, store

        if self.step != "plan":
            return {}
        found = history.usual(store.entries(context, self.mapped.name) or (), self._definition())
        return {"FS_SYNC_USUAL": " ".join(f"{name}={limit}" for name, limit in found.items())} if found else {}

    def _late_at(self, context: Any, earlier: tuple[Mapping[str, Any], ...]) -> float:
        """When this step begins to take far longer than the route's history lets expect, in epoch seconds; 0 where that is not known."""
        from fs_sync import history, records, store

        # What this run alone verifies otherwise takes its own time.
        if self.step not in (*TIERS, "finish") or self.route.anomalies.slow == "ignore" or self.mapped.run.verify is not None:
            return 0.0
        plan, known = records.from_dict(earlier[0]["records"]), store.entries(context, self.mapped.name) or ()
        files, size = plan.tiers.get(self.step, (int(earlier[0]["files"]), int(earlier[0]["bytes"])))
        patience = history.patience(known, self._definition(), plan.scan or "full", files, size, self.route.bandwidth)
        return 0.0 if patience is None else time.time() + patience

    def _tell_slow(self, context: Any) -> None:
        """Say that the copy takes too long, while it does. Raise Unusual, the job ended, where the policy is to fail."""
        self.late_at, policy = 0.0, self.route.anomalies.slow
        self.slow = f"`{self.step}` takes far longer than what the route's last runs let expect"
        self.log.warning("anomaly slow (%s): %s", policy, self.slow)
        if policy == "fail":
            self._end()
            raise Unusual(
                f"slow: {self.slow}, so it was ended: look at the link and at both hosts; if all is well, set anomalies.slow to warn"
            )
        self._tell_anomalies(context, [("slow", policy, self.slow)])

    def _tell_anomalies(self, context: Any, found: Iterable[tuple[str, str, str]]) -> None:
        """Alert, but for what fails: that has an alert of its own."""
        told = [one for one in found if one[1] != "fail"]
        if told and not self.mapped.run.dry_run:
            names, text = ", ".join(name for name, _, _ in told), "\n".join(f"{name} ({policy}): {text}" for name, policy, text in told)
            alerting.once("anomaly", context, route=self.mapped.name, phase=self.step, error=names, text=text, mend=ANOMALY_MEND)

    def _asked(self, context: Any) -> dict[str, str]:
        """What plan gets of a question that an earlier run asked and that still waits: it asks no other one."""
        from fs_sync import approval
        from fs_sync.job import plain_line

        if self.step != "plan":
            return {}
        store, ti = self._store(context), context["ti"]
        asked = approval.asked(store.get(approval.key(self.mapped.name)) if store else None)
        if asked is None or asked[:2] == (ti.dag_id, ti.run_id):
            return {}
        dag_id, run_id, index = asked
        tasks = [f"{self.task_id.rpartition('.')[0]}.{step}" for step in ("approve", "oversized")]
        found = ti.get_task_states(dag_id=dag_id, map_index=index, run_ids=[run_id], task_ids=tasks).get(run_id, {})
        approve, oversized = (str(getattr(state := found.get(f"{task}_{index}", ""), "value", state)) for task in tasks)
        return {"FS_SYNC_ASKED": plain_line(f"{dag_id} run {run_id}")} if approval.waits(approve, oversized) else {}

    def _keep_question(self, context: Any) -> None:
        """Remember that this run asks, so that no later one does until it is answered."""
        from airflow.sdk.exceptions import AirflowRuntimeError

        from fs_sync import approval

        store, ti = self._store(context), context["ti"]
        if store is None:
            return
        try:
            store.set(approval.key(self.mapped.name), approval.question(ti.dag_id, ti.run_id, ti.map_index))
        except AirflowRuntimeError as error:
            self.log.warning("That this run asks for approval could not be stored, so the next run may ask again: %s", error)

    def _definition(self) -> str:
        from fs_sync import cursor

        host = f"{self.host.login}@{self.host.host}:{self.host.port}"
        return cursor.definition(self.route, self.kind, self.target, self.source, host)

    def _cursor(self, context: Any) -> dict[str, str]:
        """What a quick plan gets of the last green run. By its environment: the script of a retry has to be the same."""
        from fs_sync import cursor

        if self.step != "plan" or self.route.scan != "quick":
            return {}
        store = self._store(context)
        return cursor.read(store.get(self.mapped.name) if store else None, self._definition())

    def _keep_cursor(self, context: Any, said: Records) -> None:
        """Keep where the next quick scan of this route begins, now that all before is at the target."""
        from airflow.sdk.exceptions import AirflowRuntimeError

        from fs_sync import cursor

        store = self._store(context)
        if store is None or said.cursor is None:
            return
        at, token = said.cursor
        try:
            store.set(self.mapped.name, cursor.Cursor(token, at, self._definition()).to_dict())
        except AirflowRuntimeError as error:
            # The host has the new cursor and Airflow the old one, so the next quick scan is a full one, and says so.
            self.log.warning("The cursor of this run could not be stored, so the next quick scan will be a full one: %s", error)

    def _store(self, context: Any) -> Any:
        """The state store of the asset that the DAGs of one Variable share, if this task has it."""
        assets = [inlet for inlet in self.inlets if isinstance(inlet, Asset)]
        return context["asset_state_store"][assets[0]] if assets else None

    def _identity(self) -> str:
        """The place that is written to, by which routes exclude each other: whoever logs in, unless it is below his home."""
        path, target = self.route.target.path, self.target
        login = target.login if path.startswith("~") else ""
        return "\n".join((target.endpoint or f"{login}@{target.host}:{target.port}", self.route.target.bucket, path))

    def _earlier(self, ti: Any) -> tuple[Mapping[str, Any], ...]:
        """What the steps before handed on. Raise what went wrong before, or AirflowSkipException where nothing is to be done."""
        group, index = self.task_id.rpartition(".")[0], ti.map_index
        if self.step in ("plan", "oversized"):
            self._refuse_faulty()
            return ()
        tasks = {step: f"{group}.{step}" for step in ("plan", *TIERS)}
        found = ti.get_task_states(dag_id=ti.dag_id, map_index=index, run_ids=[ti.run_id], task_ids=list(tasks.values()))
        said = {key: str(getattr(state, "value", state)) for key, state in found.get(ti.run_id, {}).items()}
        states = {step: said.get(f"{task}_{index}") for step, task in tasks.items()}
        # A step that did not succeed left nothing, and Airflow logs an error for each XCom that isn't there.
        plan, *tiers = (
            ti.xcom_pull(task_ids=task, map_indexes=index) if states[step] == "success" else None for step, task in tasks.items()
        )
        if states["plan"] == "skipped":
            raise AirflowSkipException("plan was skipped, so the route is")
        if not isinstance(plan, Mapping):
            self.recorded = True  # by plan, or, where somebody marked or killed that, by outcome
            raise Permanent(
                "`plan` of this route did not succeed, so nothing is copied; its log says why. Clear `plan` when that is mended"
            )
        self.began = float(plan["began"])
        if plan["over"] or (self.step in TIERS and self.step not in plan["tiers"]):
            raise AirflowSkipException("there is nothing to do" if plan["over"] else "there is little to do: finish does it alone")
        for tier in TIERS if self.step == "finish" else ():
            if states[tier] != "failed":
                continue
            said_error = ti.xcom_pull(task_ids=tasks[tier], map_indexes=index, key="error")
            if said_error == Unusual.__name__:
                raise Unusual(f"`{tier}` of this route was slow, so it was ended; its log says more")
            if said_error is None:
                # A tier that fails by itself says so; this one was marked failed, and whoever did that wants no other copy to begin.
                end_handed(ti, tasks[tier], index)
                raise Permanent(f"`{tier}` of this route was ended by hand, so nothing more is copied. Clear it to go on where it can")
        self._refuse_faulty()
        return tuple(step for step in (plan, *tiers) if isinstance(step, Mapping)) if self.step == "finish" else (plan,)

    @contextmanager
    def _noted(self, context: Any) -> Iterator[None]:
        """Leave a note where a tier fails by itself, so that finish can tell it from one that was ended by hand."""
        try:
            yield
        except FsSyncError as error:
            if self.step in TIERS and not self.unwanted:
                context["ti"].xcom_push(key="error", value=type(error).__name__)
            # Many tries are for a route that another run holds. What else passes by itself has passed by now, or a person should know.
            if self.patient and not isinstance(error, Busy | Stopped) and self._failures(context) > TRIES:
                raise AirflowFailException(f"{error}; tried {TRIES + 1} times") from error
            raise
        except AirflowTaskTimeout:  # an `execution_timeout` that the site sets, by a policy
            self._end()
            raise

    @contextmanager
    def _recorded(self, context: Any) -> Iterator[None]:
        """Put a failure that no try mends any more into the route's history; that of a step which only goes ahead harms nothing."""
        try:
            yield
        except (FsSyncError, AirflowFailException) as error:
            ti = context["ti"]
            final = isinstance(error, Permanent | AirflowFailException) or ti.try_number > ti.max_tries
            if final and self.step not in TIERS and not self.unwanted and not self.recorded:
                kind = type(error.__cause__ if isinstance(error, AirflowFailException) else error)
                self._record(context, f"{kind.__name__}: {redact(str(error))}")
            raise

    def _record(self, context: Any, error: str = "") -> None:
        """Put this run into the route's history, by its report where there is one; a dry run is none."""
        from fs_sync import history, store

        self.recorded = True
        if self.mapped.run.dry_run:
            return
        ti, at = context["ti"], self._began(context)
        # A person's answer is an entry of its own beside that of the run which asked.
        run = history.of_answer(ti.run_id) if self.step == "oversized" else ti.run_id
        if self.report is not None:
            said = () if self.answer is None else (f"{self.answer.choice} by {self.answer.by}",)
            entry = history.of_report(self.report, at, run, said, error, self._definition())
        else:
            entry = history.of_failure(at, run, ti.dag_id, error)
        store.keep(context, self.mapped.name, entry)

    def _began(self, context: Any) -> float:
        """When this route's plan began, in epoch seconds."""
        return float(context["ti"].start_date.timestamp()) if self.began is None else self.began

    def _failures(self, context: Any) -> int:
        """Count this failure with those of the tries before it, of which most may have found the route held by another run."""
        from airflow.sdk.exceptions import AirflowRuntimeError

        ti, store = context["ti"], context["task_state_store"]
        key = f"failures of {ti.max_tries}"  # raised when the task is cleared
        try:
            count = int(store.get(key) or 0) + 1
            store.set(key, count)
        except AirflowRuntimeError as error:
            self.log.warning("How often this task failed could not be stored, so each try counts: %s", error)
            return int(ti.try_number - (ti.max_tries - (self.retries or 0)))
        return count

    def _refuse_faulty(self) -> None:
        if self.fault is not None:
            raise self.fault

    def _follow(self, context: Any, earlier: tuple[Mapping[str, Any], ...], lines: Lines, worker_bytes: int) -> Any:
        """Watch the job, for `defer_after` seconds from here, or until told to stop, and then from the triggerer; take its result."""
        from fs_sync import hooks, records, steps
        from fs_sync.trigger import JobTrigger

        assert self.watcher is not None  # noqa: S101
        deferrable = hooks.deferrable(self.host)
        until = time.monotonic() + self.defer_after if deferrable else None
        answer = self._watch(lines, until)
        if answer is None and self._is_late():
            self._tell_slow(context)
            answer = self._watch(lines, until)
        worker_bytes += self.watcher.bytes
        if answer is None and self.unwanted:
            raise Stopped("the task was ended or cleared, and its job on the host with it")
        if answer is None:
            trigger = JobTrigger(
                conn_id=self.host.conn_id,
                job=self.job.to_dict(),
                offset=lines.offset,
                worker_bytes=worker_bytes,
                late_at=self.late_at,
                slow=self.slow,
            )
            if not deferrable:
                raise Stopped("the task was told to stop; its job on the host goes on, and the next try attaches to it")
            context["ti"].xcom_push(key=HANDED, value={"conn_id": self.host.conn_id, "job": self.job.to_dict()})
            self.defer(trigger=trigger, method_name="resume")
        said = records.parse(answer.results)
        error = steps.failure(answer, said)
        if error is None:
            return self._done(context, earlier, said, worker_bytes)
        if isinstance(error, Busy) and self.step == "plan":
            if self.patient and context["ti"].try_number <= context["ti"].max_tries:
                raise error
            raise AirflowSkipException(str(error))
        self.report = self._report(said, worker_bytes, earlier, context)
        self._log_table(self.report)
        raise error

    def _watch(self, lines: Lines, until: float | None) -> JobAnswer | None:
        """Watch until then, or until the job is late."""
        assert self.watcher is not None  # noqa: S101
        late = time.monotonic() + self.late_at - time.time() if self.late_at else math.inf
        until = min(late, math.inf if until is None else until)
        return self.watcher.watch(self.job, lines, None if until == math.inf else until)

    def _is_late(self) -> bool:
        assert self.watcher is not None  # noqa: S101
        return 0 < self.late_at <= time.time() and not self.unwanted and not self.watcher.stopping.is_set()

    def _done(self, context: Any, earlier: tuple[Mapping[str, Any], ...], said: Records, worker_bytes: int) -> Any:
        from fs_sync import history, steps, store

        if self.slow:
            said = replace(said, anomalies=(*said.anomalies, ("slow", self.route.anomalies.slow, self.slow)))
        # What a person is asked about by this run has an alert of its own.
        found = [one for one in said.anomalies if one[0] != "slow" and (one[1] != "approve" or "oversized" not in said.tiers)]
        self._tell_anomalies(context, found)
        if self.step in TIERS:
            return steps.transferred(said, worker_bytes)
        if self.step in ("finish", "oversized"):
            return self._publish(context, said, worker_bytes, earlier)
        ti = context["ti"]
        plan = steps.planned(said, worker_bytes, ti.start_date.timestamp(), ahead=self.kind.runner != "worker")
        if plan["over"]:
            plan["report"] = self._publish(context, said, worker_bytes, earlier)
        if plan["oversized"]:
            plan["oversized"]["rate"] = history.rate(store.entries(context, self.mapped.name) or ())
            self._keep_question(context)
        skipped = [*TIERS, "finish"] if plan["over"] else [tier for tier in TIERS if tier not in plan["tiers"]]
        skipped += [] if plan["oversized"] else ["approve", "oversized"]
        if not skipped:
            return plan
        ti.xcom_push(key="return_value", value=plan)  # what is returned beside this exception would be lost
        group = self.task_id.rpartition(".")[0]
        raise DownstreamTasksSkipped(tasks=[(f"{group}.{step}", ti.map_index) for step in skipped])  # type: ignore[no-untyped-call]

    def _publish(self, context: Any, said: Records, worker_bytes: int, earlier: tuple[Mapping[str, Any], ...]) -> dict[str, Any]:
        """Write the report into the log and the asset event, and return it for XCom."""
        if self.answer is not None:
            said = replace(said, notes=(self.answer.told, *said.notes))
        if not said.dry:
            self._keep_cursor(context, said)
            # Of a person's answer to an earlier run later ones may know better: only a run as a whole is green.
            if self.step != "oversized":
                alerting.green(context, self.mapped.name)
        done = self.report = self._report(said, worker_bytes, earlier, context)
        self._log_table(done)
        self._record(context)
        plain: dict[str, Any] = done.to_dict()
        asset = Asset(name=f"fs-sync/{self.dag_id}", uri=f"fs-sync://{self.dag_id}")
        for alias in self.outlets:
            if isinstance(alias, AssetAlias):
                context["outlet_events"][alias].add(asset, extra=plain)
        return plain

    def _report(self, said: Records, worker_bytes: int, earlier: tuple[Mapping[str, Any], ...], context: Any) -> Report:
        from fs_sync import steps

        return steps.route_report(self.dag_id, self.kind, self.route, said, worker_bytes, self._began(context), earlier)

    def _log_table(self, done: Report) -> None:
        from fs_sync.report import summary, table

        for line in (*table(done).splitlines(), summary(done)):
            self._say(line)

    def _say(self, line: str) -> None:
        self.log.info("%s", line)


def _mask(*secrets: str | None) -> None:
    """Have Airflow hide these in all that is logged or shown, in every form they may take."""
    from fs_sync.credentials import secret_forms

    mask_secret([form for secret in secrets if secret for form in secret_forms(secret)])


def _secrets_of(conn: PlainConnection) -> tuple[str | None, ...]:
    return (conn.password, *(str(conn.extra[name]) for name in SECRET_EXTRAS if conn.extra.get(name)))
