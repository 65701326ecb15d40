"""The report of a route's copy: made of its jobs' records, plain JSON for XCom and events, and a table for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fs_sync import values
from fs_sync.records import COUNTS, NAMES, Records, from_dict, merge, parse, printable

__all__ = ["Records", "Report", "from_dict", "merge", "parse", "report", "summary", "table"]

COPY = "copy"


@dataclass(frozen=True)
class Report:
    """What a copy did, or what a dry run found."""

    route: str
    dag_id: str
    backend: str
    source: str
    target: str
    state: str
    kind: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    held: tuple[tuple[str, str], ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    bytes: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    rate: int = 0
    digests: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    hosts: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[tuple[str, str, str], ...] = ()
    notes: tuple[str, ...] = ()
    scan: str = "full"
    anomalies: tuple[tuple[str, str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return {name: _lists(value) for name, value in asdict(self).items()}


def report(
    records: Records,
    *,
    route: str,
    backend: str,
    source: str,
    target: str,
    dag_id: str = "",
    worker_bytes: int = 0,
    total: float | None = None,
) -> Report:
    """
    Given the merged records of a route's jobs and where they ran, return the Report.

    `total` is the time from the first step's begin to the last one's end, where it is known; else the phases are added up.
    """
    phases = dict(records.phases)
    copying = sum(seconds for name, seconds in records.phases if name.startswith(COPY))
    took = round(sum(phases.values()) if total is None else total, 3)
    moved = records.bytes.get("files", 0)
    return Report(
        route=printable(route),
        dag_id=dag_id,
        backend=backend,
        source=printable(source),
        target=printable(target),
        state=_state(records),
        kind=records.kind,
        counts={**dict.fromkeys(COUNTS, 0), **records.counts},
        held=records.held[:NAMES],
        failed=records.failed[:NAMES],
        bytes={
            "files": moved,
            "wire": records.bytes.get("wire", 0),
            "todo": records.bytes.get("todo", 0),
            "largest": records.bytes.get("largest", 0),
            "worker": max(0, int(worker_bytes)),
        },
        seconds={**phases, "total": took},
        rate=round(moved / (copying or took)) if copying or took else 0,  # a host's phases are whole seconds, so often 0
        digests=_digests(records),
        versions={where: {tool: said for at, tool, said in records.versions if at == where} for where in _ends(records.versions)},
        hosts=dict(records.hosts),
        checks=records.checks,
        notes=records.notes,
        scan=records.scan or "full",
        anomalies=records.anomalies,
    )


def summary(done: Report) -> str:
    """One line of what happened."""
    counts = done.counts
    if done.state == "nothing to do":
        return f"{done.route}: nothing to do, {_files(counts['scanned'])} up to date{_held(counts)}"
    if done.state == "dry run":
        failed = sum(1 for check in done.checks if check[0] == "fail")
        would = f"would copy {_files(counts['new'] + counts['changed'])}, {values.size(done.bytes['todo'])}"
        return f"{done.route}: dry run, {would}" + (f"; {failed} checks failed" if failed else "; all checks passed")
    equal = {True: "both ends equal", False: "THE ENDS DIFFER", None: "not compared"}[done.digests.get("equal")]
    moved = f"{_files(counts['moved'])}, {values.size(done.bytes['files'])} in {values.duration(done.seconds['total'])}"
    return f"{done.route}: {done.state}, {moved}, {equal}{_held(counts)}"


def table(done: Report) -> str:
    """The report as a short aligned table."""
    rows: list[tuple[str, str]] = [
        ("route", f"{done.route}: {done.source} -> {done.target}"),
        ("backend", done.backend + (f", target kind {done.kind}" if done.kind else "")),
        ("state", done.state + (", by a quick scan" if done.scan == "quick" else "")),
        ("files", ", ".join(f"{number} {name}" for name, number in done.counts.items() if name in COUNTS)),
        ("bytes", _bytes(done)),
        ("time", _times(done)),
    ]
    if done.rate:
        rows.append(("rate", f"{values.size(done.rate)}/s"))
    if done.digests.get("method"):
        rows.append(("digests", _digest_text(done.digests)))
    rows += [("version", f"{where} {tool} {said}") for where, tools in done.versions.items() for tool, said in tools.items()]
    rows += [("host", f"{where} {name}") for where, name in done.hosts.items()]
    rows += [("held", f"{reason}: {name}") for reason, name in done.held] + _more("held", done.counts, done.held)
    rows += [("failed", f"{reason}: {name}") for reason, name in done.failed] + _more("failed", done.counts, done.failed)
    rows += [("anomaly", f"{name} ({policy}): {text}") for name, policy, text in done.anomalies]
    rows += [("note", note) for note in done.notes]
    return "\n".join([*_aligned(rows), *_checks(done.checks)])


def _checks(checks: Iterable[tuple[str, str, str]]) -> list[str]:
    """The doctor's lines, those that failed in capitals so that they are seen."""
    return [f"check    {'FAIL' if state == 'fail' else state:<4}  {name} {text}".rstrip() for state, name, text in checks]


def _aligned(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{name:<7}  {text}".rstrip() for name, text in rows]


def _state(records: Records) -> str:
    if records.dry:
        return "dry run"
    if records.error is not None:
        return "failed"
    return "nothing to do" if records.nothing else "ok"


def _digests(records: Records) -> dict[str, Any]:
    source, target = records.digests.get("source"), records.digests.get("target")
    equal = source == target if source and target else None
    return {"source": source, "target": target, "method": records.method, "equal": equal}


def _digest_text(digests: Mapping[str, Any]) -> str:
    source, target, method = digests["source"], digests["target"], digests["method"]
    if digests["equal"] is None:
        return f"not had ({method})"
    if digests["equal"]:
        return f"equal, {source[:16]}… ({method})"
    return f"DIFFERENT, source {source[:16]}…, target {target[:16]}… ({method})"


def _bytes(done: Report) -> str:
    sizes = done.bytes
    todo = f"{values.size(sizes['todo'])} to copy, " if done.state == "dry run" else ""
    copied = f"{values.size(sizes['files'])} of files, {values.size(sizes['wire'])} on the wire"
    return f"{todo}{copied}, {values.size(sizes['worker'])} over the worker"


def _times(done: Report) -> str:
    phases = ", ".join(f"{name} {values.duration(seconds)}" for name, seconds in done.seconds.items() if name != "total")
    total = f"{values.duration(done.seconds['total'])} in all"
    return f"{phases}; {total}" if phases else total


def _more(name: str, counts: Mapping[str, int], shown: tuple[Any, ...]) -> list[tuple[str, str]]:
    hidden = counts[name] - len(shown)
    return [(name, f"… and {hidden} more")] if shown and hidden > 0 else []


def _held(counts: Mapping[str, int]) -> str:
    return f", {counts['held']} held" if counts["held"] else ""


def _files(number: int) -> str:
    return f"{number} file" + ("" if number == 1 else "s")


def _ends(versions: Iterable[tuple[str, str, str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(where for where, _, _ in versions))


def _lists(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _lists(one) for name, one in value.items()}
    return [_lists(one) for one in value] if isinstance(value, tuple | list) else value
