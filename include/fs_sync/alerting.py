"""Tells people: alerts by Airflow's own notifiers, said once; what is told and when a route was green lies in the state store."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from airflow.sdk import Asset, BaseHook, Variable

from fs_sync import alerts
from fs_sync.alerts import Alert, Channel, Kind
from fs_sync.errors import Permanent
from fs_sync.form import ALERTS

log = logging.getLogger(__name__)

# Airflow kills a failed task's process that is not done after 20 seconds (`task_success_overtime`), and then tries the task again.
PATIENCE = 10.0
TIMEOUT = 8  # seconds, of one request
LONG = 16  # characters, from which on the path of a webhook's address may be as good as a password
# Keys of the asset's state store that no route's name can be.
TOLD, GREEN = "{}:{}", "green:{}"
# What a task that told of its failure leaves for `outcome`, and one that told of its question for its next tries.
SAID = "told"


def notify(
    kind: Kind, context: Any, *, route: str = "", phase: str = "", error: str = "", text: str = "", mend: str = "", link: str = ""
) -> bool:
    """
    Send an alert by all channels that want its kind; never raise. Return whether one of them took it.

    DAG, run and the link to the log are those of the task, unless another `link` is given.
    """
    try:
        ti = context["ti"]
        return send(Alert(kind, ti.dag_id, ti.run_id, route, phase, error, text, mend, link or ti.log_url))
    except Exception as failure:
        log.warning("An alert (%s of route %r) could not be made: %s", kind, route, type(failure).__name__)
        return False


def once(kind: Kind, context: Any, *, route: str, error: str, phase: str = "", text: str = "", mend: str = "", link: str = "") -> None:
    """
    The same, but only if the route's last alert of that kind was of another `error`, or is a day old; for what comes back with each run.

    The task must have the asset of its routes as an inlet.
    """
    # What is unusual is found by one step or another, each with names of its own.
    key, now = TOLD.format(f"anomaly of {phase}" if kind == "anomaly" else kind, route), time.time()
    mark = _read(context, key)
    told = False
    if alerts.due(mark, error, now):
        told = notify(kind, context, route=route, phase=phase, error=error, text=text, mend=mend, link=link)
    else:
        log.info("The alert is not sent again: it was told less than a day ago, and there was no other since")
    _write(context, key, alerts.marked(mark, error, context["ti"].run_id, now, told))


def send(alert: Alert, *, to_all: bool = False) -> bool:
    """Send an alert by all channels that want it (or to all), side by side; return whether one took it. One that fails is a warning."""
    from airflow.sdk.log import redact  # type: ignore[attr-defined]

    found, wrong = alerts.channels(Variable.get(ALERTS, default=None))
    for fault in wrong:
        log.warning("%s", fault)
    alert = Alert(**{name: str(redact(value)) for name, value in vars(alert).items()})  # type: ignore[arg-type]
    wanted = [channel for channel in found if to_all or channel.wants(alert.kind)]
    taken: list[bool] = []
    threads = [threading.Thread(target=_send, args=(channel, alert, taken), daemon=True) for channel in wanted]
    for thread in threads:
        thread.start()
    until = time.monotonic() + PATIENCE
    for thread, channel in zip(threads, wanted, strict=True):
        thread.join(max(0.0, until - time.monotonic()))
        if thread.is_alive():
            log.warning("Connection %s did not take the alert within %d seconds", channel.conn, PATIENCE)
    return len(taken) == len(wanted) > 0 if to_all else bool(taken)


def waits(context: Any, *, route: str, text: str, mend: str) -> None:
    """Tell that the task waits for a person's answer; once, though a later try asks again. Never raise."""
    ti = context["ti"]
    try:
        if context["task_state_store"].get(SAID):
            return
    except Exception as error:
        log.warning("Whether the question was told before can't be read, so it may be told twice: %s", type(error).__name__)
    link = f"{str(ti.log_url).partition('?')[0]}/required_actions"
    if notify("approval", context, route=route, phase=ti.task_id.rpartition(".")[2], text=text, mend=mend, link=link):
        try:
            context["task_state_store"].set(SAID, True)
        except Exception as error:
            log.warning("That the question was told could not be stored, so it may be told twice: %s", type(error).__name__)


def failed(context: Any) -> None:
    """
    Tell that a task failed for good: Airflow calls this in the task's own process, after the last try.

    Where that process is gone Airflow calls it elsewhere or not at all; then the run's `outcome` tells.
    """
    error = context.get("exception")
    # What fails because an earlier task of its route did has a word only for those who read its log.
    if error is not None and type(error) is not Permanent:
        route, phase = str(context.get("route_name") or ""), context["ti"].task_id.rpartition(".")[2]
        _tell_failure(context, route, phase, *alerts.of_error(error))
        try:
            context["ti"].xcom_push(key=SAID, value=True)
        except Exception as failure:
            log.warning("That the failure was told could not be noted, so it may be told twice: %s", type(failure).__name__)


def untold(context: Any, route: str, task_id: str, index: int | None, link: str) -> None:
    """Tell of a failed route, unless its task did so itself in this run; the context is that of `outcome`."""
    # By a note of its own: while a route of this run waits for a person, later runs put their mark on the others.
    if context["ti"].xcom_pull(task_ids=task_id, map_indexes=index, key=SAID):
        return
    phase = task_id.rpartition(".")[2]
    mark = _read(context, TOLD.format("failure", route))
    if not isinstance(mark, Mapping) or mark.get("run") != context["ti"].run_id:
        _tell_failure(context, route, phase, *alerts.of_error(None), link=link)


def green(context: Any, route: str = "") -> None:
    """Keep when a route was last green (without a name: when the routes could be read), and tell if it had failed before."""
    key, now = TOLD.format("failure", route), time.time()
    mark = _read(context, key)
    _write(context, GREEN.format(route), now)
    if isinstance(mark, Mapping):
        _write(context, key, None)
        error = str(mark.get("error") or "")
        notify("recovery", context, route=route, error=error, text=alerts.recovered(mark, now))


def _tell_failure(context: Any, route: str, phase: str, error: str, text: str, mend: str, link: str = "") -> None:
    if context["params"].get("dry_run") is not True:  # else whoever asked for it looks at it
        once("failure", context, route=route, phase=phase, error=error, text=text, mend=mend, link=link)


def _send(channel: Channel, alert: Alert, taken: list[bool]) -> None:
    conn_type = ""
    try:
        conn = BaseHook.get_connection(channel.conn)
        conn_type = conn.conn_type or ""
        _mask(conn)
        unfit = alerts.unfit(channel, conn_type)
        if unfit:
            log.warning("%s", unfit)
            return
        _notifier(channel, alert, conn_type).notify({})
        taken.append(True)
        log.info("The alert (%s) went out by connection %s", alert.kind, channel.conn)
    except ImportError as error:
        package = alerts.PROVIDERS.get(conn_type, "what it names")
        log.warning("Connection %s can't send an alert: %s; install %s wherever tasks run", channel.conn, error, package)
    except Exception as error:  # whatever it is, neither the task nor the other channels may suffer
        log.warning("Connection %s did not take the alert: %s: %s", channel.conn, type(error).__name__, error)


def _notifier(channel: Channel, alert: Alert, conn_type: str) -> Any:
    """The notifier; `notify` is called on it and not itself, since that would render `{{` in what a path or a server says."""
    if conn_type == "smtp":
        from airflow.providers.smtp.notifications.smtp import SmtpNotifier

        return SmtpNotifier(smtp_conn_id=channel.conn, to=list(channel.to), subject=alerts.subject(alert), html_content=alerts.mail(alert))
    if conn_type == "slackwebhook":
        from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier

        return SlackWebhookNotifier(
            slack_webhook_conn_id=channel.conn, text=alerts.slack(alert), timeout=TIMEOUT, unfurl_links=False, unfurl_media=False
        )
    from airflow.providers.http.notifications.http import HttpNotifier

    return HttpNotifier(http_conn_id=channel.conn, endpoint=channel.endpoint, json=alert.to_dict(), extra_options={"timeout": TIMEOUT})


def _mask(conn: Any) -> None:
    """Have Airflow hide the password, and the path of a webhook's address."""
    from airflow.sdk.log import mask_secret

    from fs_sync.credentials import secret_forms

    address = conn.host or ""
    path = urlsplit(address if "://" in address else f"//{address}").path.strip("/")
    secrets = [conn.password, path if len(path) >= LONG else ""]
    mask_secret([form for secret in secrets if secret for form in secret_forms(secret)])


def _store(context: Any) -> Any:
    """The state store of the asset that the DAGs of one Variable share."""
    return context["asset_state_store"][next(inlet for inlet in context["inlets"] if isinstance(inlet, Asset))]


def _read(context: Any, key: str) -> Any:
    try:
        return _store(context).get(key)
    except Exception as error:
        log.warning("What was told before can't be read, so it may be told twice: %s", type(error).__name__)
        return None


def _write(context: Any, key: str, value: Any) -> None:
    """Keep a value, or with None delete it."""
    try:
        if value is None:
            _store(context).delete(key)
        else:
            _store(context).set(key, value)
    except Exception as error:
        log.warning("%s could not be stored, so an alert may be told twice or late: %s", key, type(error).__name__)
