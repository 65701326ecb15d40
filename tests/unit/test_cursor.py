"""A cursor is handed to a quick scan only while the route is what it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fs_sync import cursor, form, records
from fs_sync.credentials import Target
from fs_sync.options import Route
from fs_sync.route import Kind

KIND = Kind("rsync", "ssh")
TARGET = Target("ssh", "target", "key", host="host.example", login="me", key="SECRET")
HOST = "files@source:22"


def route(**options: Any) -> Route:
    return Route.model_validate({"name": "r", "source": {"conn": "s", "path": "/a"}, "target": {"conn": "t", "path": "/b"}, **options})


def definition(**options: Any) -> str:
    return cursor.definition(route(**options), KIND, TARGET, None, HOST)


def test_what_was_kept_is_handed_over() -> None:
    kept = cursor.Cursor("run-1", 1_700_000_000, definition()).to_dict()
    assert cursor.read(kept, definition()) == {"FS_SYNC_CURSOR": "run-1 1700000000"}


@pytest.mark.parametrize("state", [None, "text", 7, [1]])
def test_without_a_cursor_it_is_said_why(state: object) -> None:
    assert list(cursor.read(state, definition())) == ["FS_SYNC_NO_CURSOR"]


@pytest.mark.parametrize(
    "options",
    [
        {"source": {"conn": "s", "path": "/other"}},
        {"source": {"conn": "other", "path": "/a"}},
        {"target": {"conn": "t", "path": "/other"}},
        {"exclude": ["*.tmp"]},
        {"include": ["*.jpg"]},
        {"preserve": ["times"]},
        {"min_age": "5m"},
        {"overwrite": "never"},
        {"job_dir": "/srv/jobs"},
    ],
)
def test_another_route_is_another_one(options: dict[str, Any]) -> None:
    kept = cursor.Cursor("run-1", 1, definition()).to_dict()
    said = cursor.read(kept, definition(**options))
    assert "was changed" in said["FS_SYNC_NO_CURSOR"]


def test_another_address_of_either_end_is_another_one() -> None:
    others = {
        cursor.definition(route(), KIND, replace(TARGET, host="other.example"), None, HOST),
        cursor.definition(route(), KIND, replace(TARGET, login="other"), None, HOST),
        cursor.definition(route(), KIND, TARGET, None, "files@other:22"),
        cursor.definition(route(), KIND, TARGET, TARGET, HOST),
        cursor.definition(route(), replace(KIND, backend="rclone"), TARGET, None, HOST),
        definition(),
    }
    assert len(others) == 6


def test_how_it_is_copied_is_no_other_route() -> None:
    run = form.Run(verify="all", bandwidth=10**6, scan="quick")
    assert cursor.definition(form.apply_run(route(), run), KIND, replace(TARGET, key="ANOTHER"), None, HOST) == definition()


def test_what_is_no_word_about_what_is_copied_is_no_other_route() -> None:
    assert definition(small_file="1M", large_file="2M") == definition()
    assert definition(max_file="20G") != definition()


def test_a_host_s_word_on_its_cursor_is_read() -> None:
    said = records.parse(b"scan quick\ncursor 1700000000 a-run_1.x\n")
    assert (said.scan, said.cursor) == ("quick", (1_700_000_000, "a-run_1.x"))
    assert records.from_dict(said.to_dict()) == said
    assert records.merge(said, records.Records()).scan == "quick"


@pytest.mark.parametrize("line", [b"cursor x a", b"cursor 1", b"cursor 1 a b", b"cursor 1 " + b"a" * 300, b"scan both", b"cursor -1 a"])
def test_what_is_none_is_passed_over(line: bytes) -> None:
    said = records.parse(line)
    assert (said.scan, said.cursor) == ("", None)
