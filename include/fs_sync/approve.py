"""ApproveOperator: asks a person about files, and waits without a worker, a triggerer or the route's lock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param
from airflow.sdk.exceptions import AirflowSkipException

from fs_sync import alerting, approval


class ApproveOperator(HITLOperator):
    """Asks about what the mapped route's plan found to be oversized or unusual; skipped where it found nothing, or the route failed."""

    # What is asked is made when the task runs: Airflow would render what a file's name holds, `{{` and all.
    template_fields = ()

    def __init__(self, *, mapped: Any, **kwargs: Any) -> None:
        kwargs.setdefault("map_index_template", "{{ route_name | default(ti.map_index) }}")
        # Of the run's form, which Airflow hands to every task, nothing is asked here; this is the question's own.
        text = 'Most bytes a second, as "10M"; empty means as the route says'
        bandwidth = Param(None, type=["null", "string"], title="Bandwidth", description=text, source="task")
        kwargs["params"] = {"bandwidth": bandwidth}
        super().__init__(subject="files that wait for approval", options=list(approval.CHOICES), **kwargs)
        self.mapped = mapped

    def render_template_fields(self, context: Any, jinja_env: Any = None) -> None:
        """Resolve the route."""
        from fs_sync.route import Mapped

        given = self.mapped.resolve(context) if hasattr(self.mapped, "resolve") else self.mapped
        self.mapped = Mapped.from_dict(given)
        context["route_name"] = self.mapped.name

    def execute(self, context: Any) -> Any:
        """Ask. What the answer is about stays on the host; here are the names of the largest."""
        ti = context["ti"]
        group, index = self.task_id.rpartition(".")[0], ti.map_index
        found = ti.get_task_states(dag_id=ti.dag_id, map_index=index, run_ids=[ti.run_id], task_ids=[f"{group}.plan", f"{group}.finish"])
        states = {name: str(getattr(state, "value", state)) for name, state in found.get(ti.run_id, {}).items()}
        plan = ti.xcom_pull(task_ids=f"{group}.plan", map_indexes=index) if states.get(f"{group}.plan_{index}") == "success" else None
        if states.get(f"{group}.finish_{index}") not in ("success", "skipped") or not isinstance(plan, Mapping) or not plan["oversized"]:
            raise AirflowSkipException("nothing waits for approval, or the route failed before: then it is asked when it is mended")
        route, waiting = self.mapped.route, plan["oversized"]
        files, size, named = int(waiting["files"]), int(waiting["bytes"]), [(one[0], one[1]) for one in waiting["named"]]
        why = approval.reasons(named, route.max_file or 0, waiting.get("why", ()))
        self.subject = approval.subject(self.mapped.name, files, size)
        self.body = approval.body(files, size, named, why, int(waiting["rate"]))
        self.assigned_users = [{"id": user, "name": user} for user in route.approve.users]
        if route.approve.within:
            self.response_timeout = timedelta(seconds=route.approve.within)
            self.defaults = [approval.TRANSFER if route.approve.default == "transfer" else approval.LEAVE_OUT]
        self.log.info("%s", self.subject)
        for reason in why:
            self.log.info("%s", reason)
        for one in named:
            self.log.info("  %s  %s", *one)
        text = approval.told(files, size, named, why)
        alerting.waits(context, route=self.mapped.name, text=text, mend=approval.mend(route.approve.within or 0, self.defaults))
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Take the answer. Raise ValueError for one that is none: the retry asks again."""
        if "error" in event:
            self.process_trigger_event_error(event)
        user = event.get("responded_by_user") or {}
        name = user.get("name") or user.get("id") if isinstance(user, Mapping) else getattr(user, "name", None)
        answer = approval.read(event.get("chosen_options"), event.get("params_input"), str(name or "nobody, by default"))
        self.log.info("%s", answer.told)
        return answer.to_dict()
