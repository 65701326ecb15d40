"""The records that a job writes, read into plain values; a hostile host can send anything, and nothing here ever raises."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

LIMIT = 256 * 1024
TAIL = 64 * 1024
NAMES = 20
LINES = 100
TEXT = 500
COUNTS = ("scanned", "new", "changed", "unchanged", "held", "failed", "moved")
FURTHER = ("source", "emptied")  # for the history: all files of the source, and those that changed and are empty now
BYTES = ("files", "wire", "todo", "largest")
KINDS = ("shell", "rsync", "sftp", "s3", "local")
ENDS = ("source", "target")
CHECKS = ("ok", "fail", "warn")
SCANS = ("full", "quick")
TIERS = ("small", "large", "oversized")
LARGEST = 2**63 - 1

POLICIES = ("warn", "hold", "approve", "fail")

Pairs = tuple[tuple[str, str], ...]
Triples = tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Records:
    """What one job said of itself."""

    checks: Triples = ()
    versions: Triples = ()
    kind: str = ""
    hosts: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    bytes: Mapping[str, int] = field(default_factory=dict)
    phases: tuple[tuple[str, float], ...] = ()
    held: Pairs = ()
    failed: Pairs = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    method: str = ""
    notes: tuple[str, ...] = ()
    error: tuple[int, str] | None = None
    dry: bool = False
    nothing: bool = False
    scan: str = ""
    cursor: tuple[int, str] | None = None
    oversized: Pairs = ()  # bytes and name of each, the largest first
    tiers: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # files and bytes of each
    anomalies: Triples = ()  # name, policy and text of each

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON, to go by XCom."""
        return {one.name: _plain(getattr(self, one.name)) for one in fields(self)}


def parse(raw: bytes) -> Records:
    """Given the bytes of a job's results, return what they say; lines that say nothing are passed over."""
    found: dict[str, Any] = {"counts": {}, "bytes": {}, "hosts": {}, "digests": {}, "tiers": {}}
    for line in _bounded(raw).split(b"\n"):
        word, _, rest = line.rstrip(b"\r").partition(b" ")
        reader = READERS.get(word)
        if reader:
            reader(found, rest)
    said: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    return Records(**said)


def from_dict(plain: object) -> Records:
    """Given what `to_dict` made, return the Records."""
    if not isinstance(plain, Mapping):
        return Records()
    known = {one.name for one in fields(Records)}
    return Records(**{str(name): _tuples(value) for name, value in plain.items() if name in known})


def merge(*given: Records | None) -> Records:
    """
    Given the records of a route's steps in their order, return them as one.

    What moved is added up, phases of one name are added up, notes and held names are united; of all else the latest word counts.
    """
    steps = [step for step in given if step is not None]
    if not steps:
        return Records()
    counts: dict[str, int] = {}
    sizes: dict[str, int] = {}
    phases: dict[str, float] = {}
    hosts: dict[str, str] = {}
    digests: dict[str, str] = {}
    for step in steps:
        counts.update({**step.counts, **_sum(counts, step.counts, ("moved",))})
        sizes.update({**step.bytes, **_sum(sizes, step.bytes, ("files", "wire"))})
        hosts.update(step.hosts)
        digests.update(step.digests)
        for name, seconds in step.phases:
            phases[name] = round(phases.get(name, 0.0) + seconds, 3)
    held = _first(pair for step in steps for pair in step.held)
    last = steps[-1]
    if held:
        counts["held"] = max(counts.get("held", 0), len(held))
    return Records(
        checks=tuple(dict.fromkeys(check for step in steps for check in step.checks))[:LINES],
        versions=tuple({(where, tool): (where, tool, version) for step in steps for where, tool, version in step.versions}.values()),
        kind=next((step.kind for step in reversed(steps) if step.kind), ""),
        hosts=hosts,
        counts=counts,
        bytes=sizes,
        phases=tuple(phases.items()),
        held=held,
        failed=last.failed,
        digests=digests,
        method=next((step.method for step in reversed(steps) if step.method), ""),
        notes=tuple(dict.fromkeys(note for step in steps for note in step.notes))[:LINES],
        error=last.error,
        dry=any(step.dry for step in steps),
        nothing=last.nothing,
        scan=next((step.scan for step in steps if step.scan), ""),
        cursor=last.cursor,
        oversized=steps[0].oversized,
        tiers=steps[0].tiers,
        anomalies=tuple(dict.fromkeys(one for step in steps for one in step.anomalies))[:LINES],
    )


def printable(raw: bytes | str) -> str:
    """Bytes of unknown origin as text of at most 500 characters that a log, a database and a terminal can hold."""
    text = raw[: 4 * TEXT].decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw[: 4 * TEXT]
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)
    return shown if len(shown) <= TEXT else shown[: TEXT - 1] + "…"


def _bounded(raw: bytes) -> bytes:
    """The results, or where they are too long their begin and their end, in whole lines."""
    if len(raw) <= LIMIT:
        return raw
    head, tail = raw[: LIMIT - TAIL], raw[-TAIL:]
    return (
        head[: head.rfind(b"\n") + 1]
        + b"note the results were longer than fs-sync reads; their middle is left out\n"
        + tail[tail.find(b"\n") + 1 :]
    )


def _check(found: dict[str, Any], rest: bytes) -> None:
    words = rest.split(b" ", 2)
    state = printable(words[0])
    if state in CHECKS and len(words) > 1:
        _append(found, "checks", (state, printable(words[1]), printable(words[2] if len(words) > 2 else b"")))


def _version(found: dict[str, Any], rest: bytes) -> None:
    words = rest.split(b" ", 2)
    if len(words) == 3 and printable(words[0]) in ENDS:
        _append(found, "versions", (printable(words[0]), printable(words[1]), printable(words[2])))


def _kind(found: dict[str, Any], rest: bytes) -> None:
    if printable(rest) in KINDS:
        found["kind"] = printable(rest)


def _keyed(name: str, allowed: tuple[str, ...], read: Callable[[bytes], Any]) -> Callable[[dict[str, Any], bytes], None]:
    def reader(found: dict[str, Any], rest: bytes) -> None:
        word, _, value = rest.partition(b" ")
        key, said = printable(word), read(value)
        if key in allowed and said is not None:
            found[name][key] = said

    return reader


def _phase(found: dict[str, Any], rest: bytes) -> None:
    word, _, value = rest.partition(b" ")
    if re.fullmatch(rb"[0-9]{1,9}(\.[0-9]{1,9})?", value.strip()):
        _append(found, "phases", (printable(word), float(value)))


def _pair(name: str) -> Callable[[dict[str, Any], bytes], None]:
    def reader(found: dict[str, Any], rest: bytes) -> None:
        reason, _, path = rest.partition(b" ")
        _append(found, name, (printable(reason), printable(path)), NAMES)

    return reader


def _note(found: dict[str, Any], rest: bytes) -> None:
    if rest and printable(rest) not in found.get("notes", []):
        _append(found, "notes", printable(rest))


def _method(found: dict[str, Any], rest: bytes) -> None:
    found["method"] = printable(rest)


def _error(found: dict[str, Any], rest: bytes) -> None:
    word, _, text = rest.partition(b" ")
    code = _whole(word)
    if code is not None and code < 256:
        found["error"] = (code, printable(text))


def _cursor(found: dict[str, Any], rest: bytes) -> None:
    at, _, token = rest.partition(b" ")
    seconds = _whole(at)
    if seconds is not None and re.fullmatch(rb"[A-Za-z0-9._-]{1,200}", token):
        found["cursor"] = (seconds, token.decode("ascii"))


def _tier(found: dict[str, Any], rest: bytes) -> None:
    words = rest.split(b" ")
    if len(words) == 3 and printable(words[0]) in TIERS:
        files, size = _whole(words[1]), _whole(words[2])
        if files is not None and size is not None:
            found["tiers"][printable(words[0])] = (files, size)


def _anomaly(found: dict[str, Any], rest: bytes) -> None:
    words = rest.split(b" ", 2)
    if len(words) == 3 and re.fullmatch(rb"[a-z_]{1,40}", words[0]) and printable(words[1]) in POLICIES:
        _append(found, "anomalies", (printable(words[0]), printable(words[1]), printable(words[2])))


def _scan(found: dict[str, Any], rest: bytes) -> None:
    if printable(rest) in SCANS:
        found["scan"] = printable(rest)


def _flag(name: str) -> Callable[[dict[str, Any], bytes], None]:
    def reader(found: dict[str, Any], rest: bytes) -> None:
        found[name] = rest.strip() == b"1"

    return reader


def _whole(text: bytes) -> int | None:
    return min(int(text), LARGEST) if re.fullmatch(rb"[0-9]{1,30}", text.strip()) else None


def _hex(text: bytes) -> str | None:
    return text.decode("ascii").lower() if re.fullmatch(rb"[0-9a-fA-F]{64}", text) else None


def _append(found: dict[str, Any], name: str, value: object, limit: int = LINES) -> None:
    kept = found.setdefault(name, [])
    if len(kept) < limit:
        kept.append(value)


def _first(pairs: Iterable[tuple[str, str]]) -> Pairs:
    return tuple(dict.fromkeys(pairs))[:NAMES]


def _sum(before: Mapping[str, int], now: Mapping[str, int], names: tuple[str, ...]) -> dict[str, int]:
    return {name: min(before.get(name, 0) + now[name], LARGEST) for name in names if name in now}


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def _tuples(value: object) -> Any:
    if isinstance(value, Mapping):
        return {name: _tuples(one) for name, one in value.items()}
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


READERS: dict[bytes, Callable[[dict[str, Any], bytes], None]] = {
    b"check": _check,
    b"version": _version,
    b"kind": _kind,
    b"host": _keyed("hosts", ENDS, printable),
    b"count": _keyed("counts", (*COUNTS, *FURTHER), _whole),
    b"bytes": _keyed("bytes", BYTES, _whole),
    b"phase": _phase,
    b"held": _pair("held"),
    b"failed": _pair("failed"),
    b"digest": _keyed("digests", ENDS, _hex),
    b"method": _method,
    b"note": _note,
    b"error": _error,
    b"dry": _flag("dry"),
    b"nothing": _flag("nothing"),
    b"scan": _scan,
    b"cursor": _cursor,
    b"tier": _tier,
    b"oversized": _pair("oversized"),
    b"anomaly": _anomaly,
}
