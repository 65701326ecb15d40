"""The history of a route: what became of its last runs, as Airflow keeps it, what is usual in it, and a table for people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from statistics import median
from typing import Any

from fs_sync import values
from fs_sync.records import LARGEST, printable
from fs_sync.report import Report

OK, NOTHING, FAILED = "ok", "nothing to do", "failed"
STATES = (OK, NOTHING, FAILED)
SCANS = ("full", "quick")
# How many entries a history has at most, and how much JSON: Airflow takes no more than 65535 bytes by REST.
KEPT = 60
LIMIT = 60_000
# Of the entries before these many newest ones, those that copied nothing make room first: a route of every minute that is idle, or
# fails for an hour, would else forget what its copies are like.
LATEST = 20
# And so many of whole sources stay, which say how many files there are.
WHOLE = 10
WORDS, WORD, ERROR, TEXT = 8, 40, 160, 250  # anomalies of an entry; characters of one, of an error, of an id
# What is usual: of how many runs at least, how far away is far, and what is too little to speak of (bytes, files).
FEWEST, FAR = 5, 10
LEAST = {"bytes": 10_000_000, "files": 50, "largest": 10_000_000, "changed": 20, "emptied": 10}
# What an answer's entry says of how much of each there may be.
OF_ANSWERS = {"changed": "files", "emptied": "files", "largest": "bytes"}
MANY = 20  # files
SLOW, GRACE = 3.0, 60.0  # seconds
LAST_SECOND = 253_402_300_799  # of the year 9999
LONGEST = 10.0**9  # seconds
ANSWERED = " oversized"
BAR = 8  # characters
HEAD = ("when (UTC)", "route", "state", "files", "size", "", "time", "rate", "anomalies, error")
RIGHT = (3, 4, 6, 7)  # the columns of figures


@dataclass(frozen=True)
class Entry:
    """
    What became of one run of a route.

    `at` is when its plan began (epoch seconds); `files` and `bytes` were moved in `seconds`, at `rate` (bytes a second of the copy).
    `scanned` is how many files the source had (0 is unknown, as after a quick scan), `largest` the bytes of the largest file that was to
    be copied, `changed` and `emptied` how many of them had changed, and were empty by then. `definition` is a digest of what the route
    was. `error` is the class of the error and the begin of its message.
    """

    at: int
    run: str
    dag: str
    state: str
    files: int = 0
    bytes: int = 0
    seconds: float = 0.0
    rate: int = 0
    scanned: int = 0
    scan: str = "full"
    largest: int = 0
    changed: int = 0
    emptied: int = 0
    definition: str = ""
    anomalies: tuple[str, ...] = ()
    error: str = ""


def key(route_name: str) -> str:
    """Given a route's name, return the key of its history; the bare name, which has no colon, is the key of its cursor."""
    return f"history:{route_name}"


def of_answer(run_id: str) -> str:
    """Given a run's id, return the one under which the history keeps what a person's answer in it led to."""
    return run_id + ANSWERED


def of_report(done: Report, at: float, run: str, said: Iterable[str] = (), error: str = "", definition: str = "") -> Entry:
    """Given a run's report, when its plan began (epoch seconds) and its id, return its entry; with an error it is a failed one."""
    return Entry(
        at=_within(at),
        run=_text(run, TEXT),
        dag=_text(done.dag_id, TEXT),
        state=FAILED if error else NOTHING if done.state == NOTHING else OK,
        files=done.counts.get("moved", 0),
        bytes=done.bytes.get("files", 0),
        seconds=done.seconds.get("total", 0.0),
        rate=done.rate,
        scanned=done.counts.get("source", 0),
        scan=done.scan,
        largest=done.bytes.get("largest", 0),
        changed=done.counts.get("changed", 0),
        emptied=done.counts.get("emptied", 0),
        definition=_text(definition, WORD),
        anomalies=_words([*said, *dict.fromkeys(name for name, _, _ in done.anomalies)]),
        error=_text(error, ERROR),
    )


def of_failure(at: float, run: str, dag: str, error: str) -> Entry:
    """Given when a run's plan began (epoch seconds), its id, its DAG's and its error in words, return its entry."""
    return Entry(_within(at), _text(run, TEXT), _text(dag, TEXT), FAILED, error=_text(error, ERROR))


def read(state: object) -> tuple[tuple[Entry, ...], str]:
    """
    Given what the store holds (None: nothing yet), return the entries, oldest first, and what is wrong with it, '' if nothing is.

    Anything can stand there, since people may edit it. What is no entry is left out. Never raises.
    """
    if state is None:
        return (), ""
    if not isinstance(state, list):
        return (), f"is {_kind(state)} and not a list of entries"
    found, wrong = [], []
    for place, given in enumerate(state):
        try:
            found.append(_entry(given))
        except ValueError as error:
            wrong.append(f"[{place}] {error}")
    fault = f"has {len(wrong)} of {len(state)} entries that can't be read; the first is {wrong[0]}" if wrong else ""
    return tuple(found[-KEPT:]), fault


def added(entries: Sequence[Entry], entry: Entry) -> tuple[Entry, ...]:
    """
    Given a history and a run's entry, return the history with it, at most KEPT entries and LIMIT bytes of JSON.

    A run stands there once, with what it ended with last: a task that was cleared runs again.
    """
    kept = [*(one for one in entries if (one.dag, one.run) != (entry.dag, entry.run)), entry]
    while len(kept) > 1 and (len(kept) > KEPT or len(json.dumps(plain(kept))) > LIMIT):
        # Of a pair the full runs, which alone know the source, are few among the quick ones.
        whole = [one for one in kept if one.scan == "full" and one.state != FAILED][-WHOLE:]
        spare = [one for one in kept[:-LATEST] if one not in whole]
        kept.remove(next((one for one in spare if one.state != OK), (spare or kept)[0]))
    return tuple(kept)


def has_failed(entries: Iterable[Entry], dag: str, run: str) -> bool:
    """Given a history, a DAG's id and a run's, return whether it says that the run failed."""
    return any((one.dag, one.run, one.state) == (_text(dag, TEXT), _text(run, TEXT), FAILED) for one in entries)


def plain(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """The history as plain JSON, for the asset state store."""
    return [{**asdict(entry), "anomalies": list(entry.anomalies)} for entry in entries]


def typical(given: Iterable[float]) -> tuple[float, float]:
    """
    Given numbers, return their median and their spread, both 0 if there are none.

    The spread is the median of their distances from the median (the median absolute deviation). Half of the numbers are at most so
    far away, and a few wild ones move neither.
    """
    numbers = list(given)
    if not numbers:
        return 0.0, 0.0
    middle = median(numbers)
    return float(middle), float(median(abs(number - middle) for number in numbers))


def usual(entries: Iterable[Entry], definition: str) -> dict[str, int]:
    """
    Given a route's history and its definition now, return what the limits of the usual are; one that isn't known is left out.

    More than `bytes` or `files` to copy, more that are `changed` or `emptied` (each of them of files), or a file of more bytes than
    `largest`, is far outside: ten times the median of the green runs, ten times their spread away from it, and twice what came twice,
    as each night's or what a person has let through. `source` is how many files there usually are, `last` how many there were in the last
    run that knew it, and fewer than `fewest` are too few.
    Runs of what the route was before it was changed say nothing, and neither do fewer than FEWEST.
    """
    known = [one for one in entries if one.state != FAILED and one.definition == definition]
    green, answered = _green(known, definition), [one for one in known if one.run.endswith(ANSWERED)]
    copied = [one for one in green if one.files]
    found = {}
    for name, least in LEAST.items():
        # A source that rests has no runs that copied, and it is all the more of a surprise if it changes all at once.
        numbers = [getattr(one, name) for one in (green if len(copied) < FEWEST and name in ("changed", "emptied") else copied)]
        if len(numbers) >= FEWEST:
            middle, spread = typical(numbers)
            twice = sorted([*numbers, *(getattr(one, OF_ANSWERS.get(name, name)) for one in answered)])[-2]
            found[name] = min(round(max(least, FAR * middle, middle + FAR * spread, 2 * twice)), LARGEST)
    # What was long ago is no measure of what a source holds.
    seen = [one.scanned for one in green if one.scan == "full" or one.scanned][-WHOLE:]
    if len(seen) >= FEWEST:
        middle, spread = typical(seen)
        found["source"], found["last"] = min(round(middle), LARGEST), seen[-1]
        # Where there always were many, none at all is too few, however much their number changes.
        lowest, second = sorted(seen)[:2]
        found["fewest"] = max(int(lowest >= MANY), math.ceil(min(middle / 2, middle - FAR * spread, second / 2)))
    return found


def rate(entries: Iterable[Entry]) -> int:
    """Given a route's history, return the usual rate of its runs that copied something, in bytes a second; 0 where none is known."""
    return min(round(typical(one.rate for one in entries if one.state == OK and one.rate and one.bytes)[0]), LARGEST)


def patience(entries: Iterable[Entry], definition: str, scan: str, files: int, size: int, bandwidth: int | None) -> float | None:
    """
    Given a route's history, its definition, the scan, the files and bytes to copy and the limit on its bandwidth, return how many seconds a
    step may take before it counts as slow: SLOW times what the last green runs of that scan lead to expect, and a grace. None where too
    few are known.
    """
    copied = [one for one in _green(entries, definition) if one.scan == scan and one.rate and one.bytes and one.seconds]
    if len(copied) < FEWEST:
        return None
    speed = min(typical(one.rate for one in copied)[0], bandwidth or LARGEST)
    pace = typical(one.files / one.seconds for one in copied)[0]
    expected = typical(one.seconds for one in copied)[0] + size / max(1.0, speed) + files / max(0.001, pace)
    return GRACE + SLOW * expected


def table(entries_by_route: Mapping[str, Sequence[Entry]], last: int = 10) -> list[str]:
    """Given the histories of routes, return an aligned table: of each route the last runs, the newest first."""
    rows = [row for route, entries in entries_by_route.items() for row in _rows(route, entries[-last:] if last > 0 else ())]
    widths = [max(len(row[place]) for row in (HEAD, *rows)) for place in range(len(HEAD))]
    return [_line(row, widths) for row in (HEAD, *rows)]


def _green(entries: Iterable[Entry], definition: str) -> list[Entry]:
    """The green runs of what the route is now; what a person's answer led to is no run."""
    return [one for one in entries if one.state != FAILED and one.definition == definition and not one.run.endswith(ANSWERED)]


def _rows(route: str, entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    most = max((entry.bytes for entry in entries), default=0)
    return [
        (
            datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%d %H:%M:%S"),
            route,
            entry.state + (", quick" if entry.scan == "quick" else ""),
            str(entry.files),
            values.size(entry.bytes),
            "#" * math.ceil(BAR * entry.bytes / most) if most else "",
            values.duration(entry.seconds),
            f"{values.size(entry.rate)}/s" if entry.rate else "-",
            "; ".join(part for part in (", ".join(entry.anomalies), entry.error) if part),
        )
        for entry in reversed(entries)
    ]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = zip(row, widths, strict=True)
    return "  ".join(cell.rjust(width) if place in RIGHT else cell.ljust(width) for place, (cell, width) in enumerate(cells)).rstrip()


def _entry(given: object) -> Entry:
    """Given what should be an entry's JSON, return it; what it has beyond that is passed over. Raise ValueError that says what it is."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{_kind(given)} and not an entry")
    read: dict[str, Any] = {}
    for one in fields(Entry):
        if one.name in given:
            read[one.name] = READERS[one.name](one.name, given[one.name])
        elif one.name in ("at", "run", "dag", "state"):
            raise ValueError(f"an entry without {one.name!r}")
    return Entry(**read)


def _whole(largest: int) -> Any:
    def reader(name: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= largest:
            raise ValueError(f"an entry with {name!r} {_shown(value)}, which is no whole number from 0 to {largest}")
        return value

    return reader


def _seconds(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST:
        raise ValueError(f"an entry with {name!r} {_shown(value)}, which is no number of seconds")
    return float(value)


def _string(limit: int) -> Any:
    def reader(name: str, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError(f"an entry with {name!r} {_shown(value)}, which is no text")
        return _text(value, limit)

    return reader


def _one_of(allowed: tuple[str, ...]) -> Any:
    def reader(name: str, value: object) -> str:
        if value not in allowed:
            raise ValueError(f"an entry with {name!r} {_shown(value)}, which is none of {', '.join(allowed)}")
        return str(value)

    return reader


def _list(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise ValueError(f"an entry with {name!r} {_shown(value)}, which is no list of words")
    return _words(value)


READERS: dict[str, Any] = {
    "at": _whole(LAST_SECOND),
    "run": _string(TEXT),
    "dag": _string(TEXT),
    "state": _one_of(STATES),
    **dict.fromkeys(("files", "bytes", "rate", "scanned", "largest", "changed", "emptied"), _whole(LARGEST)),
    "definition": _string(WORD),
    "seconds": _seconds,
    "scan": _one_of(SCANS),
    "anomalies": _list,
    "error": _string(ERROR),
}


def _words(given: Iterable[str]) -> tuple[str, ...]:
    return tuple(_text(word, WORD) for word in given)[:WORDS]


def _text(given: str, limit: int) -> str:
    """The text as one printable line of at most so many characters."""
    shown = printable(" ".join(given[: 4 * limit].split()))
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _within(at: float) -> int:
    return min(max(int(at), 0), LAST_SECOND)


def _kind(value: object) -> str:
    kinds = {dict: "an object", str: "a text", bool: "a truth value", int: "a number", float: "a number", list: "a list"}
    return next((words for kind, words in kinds.items() if isinstance(value, kind)), "nothing" if value is None else "something else")


def _shown(value: object) -> str:
    """A value as it may be quoted in a message: short, and printable."""
    return _text(repr(value), WORD) if isinstance(value, str | int | float) or value is None else _kind(value)
