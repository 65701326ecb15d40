"""A job's log, from bytes as they come to lines that a log can hold, knowing how far whole lines go."""

from __future__ import annotations

# Longer than any line of ours; what comes without an end of line is cut here.
LONGEST = 16 * 1024


class Lines:
    """
    Takes pieces of a log and gives their lines; `offset` is where the next line begins, and where the next piece has to begin.

    What is left of a line is asked for again, so that every request (which the host remembers) is at the begin of a line.
    """

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset

    def feed(self, at: int, piece: bytes, *, last: bool = False) -> list[str]:
        """Given bytes of the log that begin at `at`, return the lines that are whole; with `last`, the rest as well."""
        self.offset = at  # further on where another one read before us, or back where the log was begun anew
        *whole, rest = piece.split(b"\n")
        self.offset += len(piece) - len(rest)
        parts = [part for line in whole for part in _cut(line)]
        cut = _cut(rest) if rest else []
        if cut and not last and len(cut[-1]) < LONGEST:
            cut.pop()
        self.offset += sum(len(part) for part in cut)
        return [shown(part) for part in (*parts, *cut)]


def shown(line: bytes) -> str:
    """Given a line of unknown bytes, return it as text without anything that could steer a terminal."""
    text = line.removesuffix(b"\r").decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\t" else one.encode("unicode_escape").decode("ascii") for one in text)


def _cut(line: bytes) -> list[bytes]:
    return [line[at : at + LONGEST] for at in range(0, len(line), LONGEST)] or [line]
