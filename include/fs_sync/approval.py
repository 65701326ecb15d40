"""The approval of files that a run left alone: what a person is asked, what an answer says, and which question still waits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fs_sync import values
from fs_sync.options import parse_bandwidth

TRANSFER, COMPRESSED, LEAVE_OUT = "Transfer", "Transfer compressed", "Leave out"
CHOICES = (TRANSFER, COMPRESSED, LEAVE_OUT)
# A task in one of these has nothing more to come.
FINAL = ("success", "failed", "skipped", "upstream_failed", "removed")


@dataclass(frozen=True)
class Answer:
    """What a person said: which choice, the most bytes a second (None: as the route says, 0: no limit), and who it was."""

    choice: str
    bandwidth: int | None
    by: str

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON, for XCom."""
        return asdict(self)

    @property
    def told(self) -> str:
        """The answer as a line of the report."""
        if self.choice == LEAVE_OUT:
            return f"files left out, as {self.by} said; they are not asked for again until they change"
        limit = "" if self.bandwidth is None else f", {values.size(self.bandwidth)}/s at most" if self.bandwidth else ", without a limit"
        return f"files transferred{' compressed' if self.choice == COMPRESSED else ''}{limit}, as {self.by} said"


def key(route_name: str) -> str:
    """Given a route's name, return the key under which the route's state store keeps the question that waits; no name has a colon."""
    return f"approval:{route_name}"


def question(dag_id: str, run_id: str, map_index: int) -> dict[str, Any]:
    """Return where a question is asked, as plain JSON for the state store."""
    return {"dag_id": dag_id, "run_id": run_id, "map_index": map_index}


def asked(state: object) -> tuple[str, str, int] | None:
    """Given what the store holds, return the DAG, run and map index of the question, or None: anybody can write there."""
    if not isinstance(state, Mapping):
        return None
    dag_id, run_id, map_index = (state.get(name) for name in ("dag_id", "run_id", "map_index"))
    if not isinstance(dag_id, str) or not isinstance(run_id, str) or not isinstance(map_index, int):
        return None
    return dag_id, run_id, map_index


def waits(approve: str | None, oversized: str | None) -> bool:
    """Given the states of the two tasks of a question ("" where there is no such task), return whether it is still to be seen through."""
    return approve not in ("", *FINAL) or (approve == "success" and oversized not in ("", *FINAL))


def subject(route: str, files: int, size: int) -> str:
    """The question in one line."""
    return f"{route}: transfer {_files(files)}, {values.size(size)}?"


def reasons(named: Sequence[tuple[str, str]], limit: int, anomalies: Iterable[str]) -> tuple[str, ...]:
    """Given the largest files (bytes, name), max_file (0: none) and the texts of the anomalies to ask about, return why it is asked."""
    large = limit and any(said.isascii() and said.isdigit() and int(said) > limit for said, _ in named)
    return (*((f"larger than `max_file` ({values.size(limit)})",) if large else ()), *anomalies)


def body(files: int, size: int, named: Sequence[tuple[str, str]], why: Iterable[str], rate: int) -> str:
    """
    Given how many files there are and their bytes, the largest of them (bytes, name), why it is asked, and a rate in bytes a second (0: not
    known), return the question's text in Markdown. Names are shown as code, so that none of them is taken for markup or a link.
    """
    rows = [(_size(said), name) for said, name in named]
    lines = ["The run left these files alone. Nothing else waits for them.", ""]
    lines += [f"* {reason if reason.startswith('larger than') else code(reason)}" for reason in why]
    lines += ["", "| size | name |", "| ---: | --- |"]
    lines += [f"| {text} | {code(name)} |" for text, name in rows]
    if files > len(rows):
        lines.append(f"| | … and {files - len(rows)} more |")
    took = f"about {values.duration(size / rate)} at {values.size(rate)}/s, as before" if rate else "no rate of this route is known yet"
    lines += ["", f"**{_files(files)}, {values.size(size)}: {took}.**", ""]
    lines += [f"*{TRANSFER}*: as the route is set. *{COMPRESSED}*: for a slow link. *{LEAVE_OUT}*: until a file changes.", ""]
    lines += ['`bandwidth` is the most bytes a second of this transfer, as "10M"; "0" lifts the limit; empty means as the route says.', ""]
    lines += ["A file that changes before it is transferred is left alone, and asked for again."]
    return "\n".join(lines)


def told(files: int, size: int, named: Sequence[tuple[str, str]], why: Iterable[str]) -> str:
    """Given the same, return the text of the alert: what waits and why, and its largest files."""
    begin = f"{_files(files)}, {values.size(size)} in all; nothing else waits for the answer"
    return "\n".join((begin, *why, *(f"{_size(said)}  {name}" for said, name in named)))


def _files(number: int) -> str:
    return f"{number} file" + ("" if number == 1 else "s")


def _size(said: str) -> str:
    return values.size(int(said)) if said.isascii() and said.isdigit() else said


def mend(within: int, defaults: Iterable[str] | None) -> str:
    """Given the seconds that the question waits (0: for ever) and the answer by default, return what to do."""
    words = f"answer under Required Actions, where the link leads: {', '.join(CHOICES[:-1])} or {CHOICES[-1]}"
    return words + (f"; without an answer within {values.duration(within)} it is {', '.join(defaults or ())}" if within else "")


def code(name: str) -> str:
    """A name as code in a cell of a Markdown table."""
    fence = "`" * (1 + max((len(run) for run in "".join(c if c == "`" else " " for c in name).split()), default=0))
    pad = " " if fence != "`" or name.startswith("`") or name.endswith("`") else ""
    return f"{fence}{pad}{name}{pad}{fence}".replace("|", "\\|")


def read(chosen: object, params: object, by: str) -> Answer:
    """Given what came back, return the Answer. Raise ValueError, with the rule, for what is none."""
    choices = chosen if isinstance(chosen, list | tuple) else [chosen]
    if len(choices) != 1 or choices[0] not in CHOICES:
        raise ValueError(f"the answer {str(choices)[:80]} is not one of {', '.join(CHOICES)}; it is asked again")
    given = params if isinstance(params, Mapping) else {}
    said = given.get("bandwidth")
    said = said.strip() if isinstance(said, str) else said
    try:
        bandwidth = None if said in (None, "") else parse_bandwidth(said) or 0
    except ValueError as error:
        raise ValueError(f"the answer's bandwidth {str(said)[:40]!r} {error}; it is asked again") from None
    return Answer(str(choices[0]), bandwidth, by)
