"""What an alert says, whom it goes to, and when it is said again; plain values, nothing is sent from here."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fs_sync import faults
from fs_sync.errors import WORDS, ConfigError, FsSyncError
from fs_sync.form import ALERTS
from fs_sync.options import CONNECTION
from fs_sync.records import printable
from fs_sync.route import read_json
from fs_sync.values import duration

Kind = Literal["failure", "approval", "anomaly", "recovery", "stale"]
KINDS: tuple[str, ...] = get_args(Kind)
# The type of a channel's Connection, and the package of the provider that sends by it.
PROVIDERS = {
    "smtp": "apache-airflow-providers-smtp",
    "slackwebhook": "apache-airflow-providers-slack",
    "http": "apache-airflow-providers-http",
}
SHAPE = '[{"conn": "smtp_default", "to": ["ops@example.com"]}, {"conn": "slack_ops", "on": ["failure"]}]'
ADDRESS = re.compile(r"[^\s@,;<>\"]{1,64}@[^\s@,;<>\"]{1,250}")
ENDPOINT = re.compile(r"[!-~]{1,250}")
# What goes on failing with the same error is told again after this time.
AGAIN = 86400
LINES = 20
LINK = 2000
UNKNOWN = "look at the log, and under its first error in docs/runbook.md"
NO_WORD = "the task ended without an error of its own: its process was killed, its worker went away, or somebody marked it failed"


@dataclass(frozen=True)
class Alert:
    """One thing to tell: of which route in which run, in which phase, the error's class and text, its mend, and the log's address."""

    kind: Kind
    dag_id: str
    run_id: str
    route: str = ""
    phase: str = ""
    error: str = ""
    text: str = ""
    mend: str = ""
    link: str = ""

    def to_dict(self) -> dict[str, str]:
        """The alert as plain JSON, each value printable and bounded; of a webhook's body this is all."""
        link = self.link if self.link.isprintable() and len(self.link) <= LINK else ""
        return {**{name: printable(value) for name, value in asdict(self).items()}, "text": _lines(self.text), "link": link}


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"is not {what}")
        return value

    return AfterValidator(check)


class Channel(BaseModel):
    """One way to tell: by a Connection, to addresses (mail) or an endpoint (webhook), what kinds of alerts (none named is all)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    conn: Annotated[str, _matching(CONNECTION, "a connection id; write the id of an Airflow Connection")] = Field(examples=["smtp_default"])
    to: Annotated[
        tuple[Annotated[str, _matching(ADDRESS, 'a mail address; write it, as "ops@example.com"')], ...], Field(strict=False)
    ] = ()
    endpoint: Annotated[str, _matching(ENDPOINT, 'a path; write what follows the connection\'s address, as "alerts/in"')] = ""
    on: Annotated[tuple[Kind, ...], Field(strict=False)] = ()

    def wants(self, kind: str) -> bool:
        """Whether alerts of a kind go by this channel."""
        return kind in (self.on or KINDS)


@dataclass(frozen=True)
class Staleness:
    """How long a route had no green run: seconds since the last one, or (not `ever`) since it was first looked at; and what follows."""

    age: float
    ever: bool
    late: bool
    tell: bool


def channels(raw: str | None) -> tuple[tuple[Channel, ...], tuple[str, ...]]:
    """Given the text of the Variable (None: there is none), return its right channels, and a line for each fault of the others."""
    where = f"Variable {ALERTS}"
    if raw is None:
        return (), ()
    if not raw.strip():
        return (), (f"{where} is empty; write {SHAPE}, or delete it to send nothing",)
    try:
        given = read_json(raw, where)
    except ConfigError as error:
        return (), (str(error),)
    if not isinstance(given, list):
        return (), (f"{where} is {faults.shown(given)}, not a list; write {SHAPE}",)
    right, wrong = [], []
    for place, one in enumerate(given):
        try:
            right.append(Channel.model_validate(one))
        except ValidationError as error:
            wrong += [f"{where}: {faults.place((place, *fault.at))}: {fault.text}" for fault in faults.of(error, Channel)]
    return tuple(right), tuple(wrong)


def unfit(channel: Channel, conn_type: str) -> str | None:
    """Given a channel and the type of its Connection, return why it can't be used, or None."""
    named = f"Variable {ALERTS}: the channel of connection {channel.conn!r}"
    if conn_type not in PROVIDERS:
        return f"{named}: its type is {faults.shown(conn_type)}; alerts go by connections of type {', '.join(PROVIDERS)}"
    if conn_type == "smtp" and not channel.to:
        return f'{named}: `to` is missing; write the addresses, as "to": ["ops@example.com"]'
    if conn_type != "smtp" and channel.to:
        return f"{named}: `to` is for mail alone; take it out, the connection says where it goes"
    if conn_type != "http" and channel.endpoint:
        return f"{named}: `endpoint` is for a webhook alone; take it out"
    return None


def of_error(error: BaseException | None) -> tuple[str, str, str]:
    """Given what a task failed with, return the name of its class, its text and its mend."""
    if error is None:
        return "", NO_WORD, UNKNOWN
    # What was tried often enough fails by Airflow's own class, and its cause is ours.
    ours = [kind for kind in (type(error), type(error.__cause__)) if issubclass(kind, FsSyncError) and kind in WORDS]
    name = (ours[0] if ours else type(error)).__name__
    return name, str(error) or name, WORDS[ours[0]][1] if ours else UNKNOWN


def subject(alert: Alert) -> str:
    """One line that says it all."""
    said = alert.to_dict()
    route = f"route {said['route']}" if said["route"] else "the routes"
    phase = f" in {said['phase']}" if said["phase"] else ""
    what = {
        "failure": f"failed{phase}" + (f": {said['error']}" if said["error"] else ""),
        "approval": "waits for an approval",
        "anomaly": "has an anomaly" + (f": {said['error']}" if said["error"] else ""),
        "recovery": "recovered",
        "stale": "had no green run for too long",
    }[alert.kind]
    return printable(f"[fs-sync] {said['dag_id']}: {route} {what}")


def body(alert: Alert) -> str:
    """The whole alert as plain text, a line for each thing; a text of several lines is set in under its first."""
    said = alert.to_dict()
    rows = [
        ("kind", said["kind"]),
        ("route", said["route"]),
        ("DAG", said["dag_id"]),
        ("run", said["run_id"]),
        ("phase", said["phase"]),
        ("error", said["error"]),
        ("says", said["text"].replace("\n", "\n" + " " * 7)),
        ("mend", said["mend"]),
        ("log", said["link"]),
    ]
    return "\n".join(f"{name:<5}  {text}" for name, text in rows if text)


def mail(alert: Alert) -> str:
    """The alert as the HTML of a mail: the plain text, of which nothing is taken for markup."""
    return f"<pre>{html.escape(body(alert))}</pre>"


def slack(alert: Alert) -> str:
    """The alert as a message for Slack, in which no name can call people together (`<!channel>`)."""
    text = f"{subject(alert)}\n{body(alert)}"
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def due(mark: object, error: str, now: float) -> bool:
    """Given the mark of a route that fails (None: it was well), whether to tell: a first time, another error, or a day has passed."""
    if not isinstance(mark, Mapping) or mark.get("error") != error:
        return True
    return now - _seconds(mark.get("told")) >= AGAIN


def marked(mark: object, error: str, run_id: str, now: float, told: bool) -> dict[str, Any]:
    """Given a failing route's mark, return its next: since when it fails, with what, when that was told, and in which run it was seen."""
    before = mark if isinstance(mark, Mapping) else {}
    return {
        "since": _seconds(before.get("since")) or now,
        "error": error,
        "told": now if told else _seconds(before.get("told")) if before.get("error") == error else 0,
        "run": run_id,
    }


def recovered(mark: Mapping[str, Any], now: float) -> str:
    """Given the mark of a route that is green again, return in words what is over."""
    error = mark.get("error")
    return f"green again; it failed{f' with {error}' if error else ''} for {duration(max(0.0, now - _seconds(mark.get('since'))))}"


def staleness(limit: int, green: object, mark: object, now: float) -> Staleness:
    """
    Given how long a route may be without a green run, its last one (None: never), and its mark, return how it stands.

    The mark says when the route was first looked at, from which one that was never green counts, and when it was last told of.
    """
    before = mark if isinstance(mark, Mapping) else {}
    last = _seconds(green)
    since = last or _seconds(before.get("seen")) or now
    late = now - since > limit
    return Staleness(max(0.0, now - since), last > 0, late, late and _seconds(before.get("told")) <= since)


def stands(state: Staleness, limit: int) -> str:
    """How a route with `stale_after` stands, in words."""
    ago = duration(state.age)
    return (f"green {ago} ago" if state.ever else f"never green, looked at for {ago}") + f"; the limit is {duration(limit)}"


def _seconds(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _lines(text: str) -> str:
    """Text of any lines as at most 20 printable ones."""
    lines = [printable(line) for line in text.splitlines() if line.strip()]
    return "\n".join(lines[:LINES] + ([f"… and {len(lines) - LINES} more lines"] if len(lines) > LINES else []))
