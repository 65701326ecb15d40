"""Room first: what can't fit at the target is refused with figures before anything moves, and nothing else is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.place import small_disk
from lab.tree import checksums, write, write_big
from tests.integration.driver import Copy, End, needs_root, on

pytestmark = needs_root
MEBI = 1024 * 1024
# rsync's forced command and a store can't be asked; what fills up under the copy is test_semantics_places.py's.
ASKED = ("rsync", "rclone", "rclone-sftp")


@pytest.fixture
def disk(end: End) -> Iterator[tuple[str, Path]]:
    """A target on a file system of 4 MiB, and where it is on this machine."""
    target, at = end.fresh()
    with small_disk(at):
        yield target, at


def refused(done: Copy, *words: str) -> None:
    assert [step.step for step in done.steps] == ["plan"]
    assert done.exit == 107, f"{done.exit} {done.error}\n{done.log}"
    for word in ("has no room", "Nothing was copied", *words):
        assert word in done.error, done.error


@on(*ASKED)
def test_what_does_not_fit_is_refused_before_anything_moves(end: End, source: Path, disk: tuple[str, Path]) -> None:
    target, at = disk
    write_big(source / "one", 3 * MEBI)
    write_big(source / "two", 3 * MEBI)
    refused(end.copy(source, target), "2 new files of 6.3 MB", "4.2 MB are free")
    assert list(at.iterdir()) == []
    # A dry run says what would be copied, and that it can't be.
    dry = end.copy(source, target, dry_run=True)
    refused(dry, "6.3 MB")
    assert "would copy (new)  one" in dry.log
    # Nothing is kept from the next run.
    done = end.copy(source, target, exclude=["two"]).good()
    assert "has room: 1 new files of 3.1 MB to come" in done.log
    assert checksums(at).keys() == {b"one"}


@on(*ASKED)
def test_changed_files_need_room_one_after_another(end: End, source: Path, disk: tuple[str, Path]) -> None:
    target, at = disk
    for name in "abc":
        write_big(source / name, MEBI, seed=1)
    end.copy(source, target).good()
    for name in "abc":
        write_big(source / name, MEBI, seed=2)
        os.utime(source / name)
    if end.name == "rsync":  # rclone copies several at a time
        end.copy(source, target).good()
        assert checksums(at) == checksums(source)
    # The old content stays until the new one is whole.
    write_big(source / "a", 2 * MEBI, seed=3)
    os.utime(source / "a")
    before = checksums(at)
    refused(end.copy(source, target), "2.1 MB for the largest of ")
    assert checksums(at) == before


@on("rsync", "rclone")
def test_inodes_are_room_too(end: End, source: Path, disk: tuple[str, Path]) -> None:
    target, at = disk
    subprocess.run(["mount", "-o", "remount,nr_inodes=20", at], check=True)
    for number in range(30):
        write(source / str(number), b"x")
    refused(end.copy(source, target), "30 new files need as many inodes and 19 are free")
    assert list(at.iterdir()) == []


@on("rsync")
def test_holes_need_no_room(end: End, source: Path, disk: tuple[str, Path]) -> None:
    target, at = disk
    with (source / "sparse").open("wb") as file:
        file.truncate(100 * MEBI)
        file.write(b"begin")
    end.copy(source, target, verify="size").good()
    assert (at / "sparse").stat().st_size == 100 * MEBI


@on("rsync")
def test_what_was_interrupted_is_not_counted_twice(end: End, source: Path, disk: tuple[str, Path]) -> None:
    target, at = disk
    write_big(source / "big", 3 * MEBI)
    begun = at / ".fs-sync" / "big"
    begun.parent.mkdir()
    begun.write_bytes((source / "big").read_bytes()[: 2 * MEBI])
    end.copy(source, target).good()
    assert checksums(at).keys() == {b"big"}
