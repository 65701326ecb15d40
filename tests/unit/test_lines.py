"""A log in pieces of any size comes out as the same lines, none twice."""

from __future__ import annotations

import pytest

from fs_sync.lines import LONGEST, Lines, shown

LOG = b"first\n\ntwo words\r\n\xff\xfe bad\n\x1b[31mred\n" + b"x" * (2 * LONGEST + 5) + b"\nlast"
LINES = ["first", "", "two words", "\\xff\\xfe bad", "\\x1b[31mred", "x" * LONGEST, "x" * LONGEST, "xxxxx", "last"]


@pytest.mark.parametrize("size", [LONGEST + 1, 50_000, 10**6])
def test_pieces(size: int) -> None:
    lines, seen = Lines(), []
    while lines.offset < len(LOG):
        at = lines.offset
        piece = LOG[at : at + size]
        seen += lines.feed(at, piece, last=at + len(piece) == len(LOG))
    assert seen == LINES


def test_what_is_left_of_a_line_is_asked_for_again() -> None:
    lines = Lines()
    assert lines.feed(0, b"one\ntw") == ["one"]
    assert lines.offset == 4
    assert lines.feed(4, b"two\n") == ["two"]
    assert lines.offset == 8


def test_the_last_line_needs_no_end() -> None:
    lines = Lines()
    assert lines.feed(0, b"one\ntw", last=True) == ["one", "tw"]
    assert lines.offset == 6


def test_it_follows_where_the_host_says_the_piece_begins() -> None:
    lines = Lines(4)
    assert lines.feed(20, b"far\n") == ["far"]
    assert lines.offset == 24
    assert lines.feed(0, b"anew\n") == ["anew"]
    assert lines.offset == 5


def test_a_tab_stays_and_what_steers_a_terminal_does_not() -> None:
    assert shown(b"a\tb\x07\xc2\x9b") == "a\tb\\x07\\x9b"
