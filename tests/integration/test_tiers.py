"""The tiers: small and large files go ahead side by side, and whatever they do, finish is the truth."""

from __future__ import annotations

import os
import re
import shutil
import signal
import uuid
from pathlib import Path

from fs_sync import job
from lab.processes import until
from lab.tree import checksums, write, write_big
from tests.integration.driver import BY_RSYNC, ENDS, End, on, shown
from tests.integration.test_semantics_trouble import copying, kill

MEBI = 1024 * 1024
ODD = ('it\'s $(x) `y` & "z"', "a*b?[c]{d}", "-rf", "größe/写真", "line\nbreak", " #;hash", "tab\there", "dir/sub/-x")


def some(source: Path) -> None:
    for number in range(40):
        write(source / f"d{number % 7}" / f"file {number}", b"x" * number)
    for name in ODD:
        write(source / name, name.encode())
    (source / "big").mkdir()
    for number in range(3):
        write_big(source / "big" / f"{number}", 2 * MEBI, number)


@on(*ENDS)
def test_each_file_comes_by_its_tier(end: End, source: Path) -> None:
    some(source)
    target, at = end.fresh()
    done = end.copy(source, target, tiers=True, large_file="1M", verify="all").good()
    plan, small, large, finish = done.steps
    held = {shown(name) for name in checksums(source)} & set(done.held)
    expected = {name: value for name, value in checksums(source).items() if shown(name) not in held}
    assert checksums(at) == expected
    assert plan.records.tiers["large"] == (3, 6 * MEBI)
    assert plan.records.tiers["small"][0] == len(expected) - 3
    assert f"large: 3 files, {6 * MEBI} bytes" in large.log
    assert f"small: {len(expected) - 3} files" in small.log
    assert (small.exit, large.exit) == (0, 0), done.log
    # Nothing is left for finish but to prove it.
    assert (finish.records.counts["moved"], finish.records.bytes["files"], done.equal) == (
        len(expected),
        0,
        None if end.name == "rsync-only" else True,
    )
    assert end.copy(source, target).good().records.nothing


@on(*ENDS)
def test_both_work_at_once_and_within_the_bandwidth(end: End, source: Path) -> None:
    """The lock lets the tiers of one run in together, and no other run, and no other step."""
    for number in range(4):
        write_big(source / f"small {number}", 2 * MEBI, number)
        write_big(source / f"large {number}", 4 * MEBI, number)
    target, at = end.fresh()
    route = end.route(source, target, large_file="3M", bandwidth="1M")
    run = uuid.uuid4().hex
    assert end.step("plan", route, run).exit == 0
    tiers = [end.start(step, route, run) for step in ("small", "large")]
    for named in tiers:
        until(copying(end, named), f"{named.name} copies", timeout=60, every=0.02)
    assert not any((end.directory(named) / "exit").exists() for named in tiers)
    other = end.step("plan", route, uuid.uuid4().hex)
    assert (other.exit, "held by" in other.error) == (75, True), other.log
    for named in tiers:
        kill(end, named)
    done = end.step("finish", end.route(source, target, large_file="3M"), run)
    assert done.exit == 0, f"{done.error}\n{done.log}"
    assert checksums(at) == checksums(source)


@on("rsync")
def test_a_tier_that_is_told_to_stop_leaves_the_route_to_the_other(end: End, source: Path) -> None:
    """And the last one gives it back."""
    for number in range(2):
        write_big(source / f"small {number}", MEBI, number)
        write_big(source / f"large {number}", 4 * MEBI, number)
    target, _ = end.fresh()
    route, run = end.route(source, target, large_file="2M", bandwidth="256K"), uuid.uuid4().hex
    assert end.step("plan", route, run).exit == 0
    tiers = [end.start(step, route, run) for step in job.TIERS]
    for named, code in zip(tiers, (75, 0), strict=True):
        until(copying(end, named), f"{named.name} copies", timeout=60, every=0.02)
        os.killpg(int((end.directory(named) / "pgid").read_text().split()[0]), signal.SIGTERM)
        assert end.wait(named).exit == 143
        other = end.step("plan", route, uuid.uuid4().hex)
        assert other.exit == code, other.log


def medium(source: Path, content: bytes | None) -> int:
    """Files of three sizes, the medium ones with this content over and over, or random; return how many bytes the medium ones have."""
    some(source)
    for number, name in enumerate((b"one", b"two words/it's", b"line\nbreak in the middle", b"-rf *", b"three", b"four")):
        if content is None:
            write_big(os.path.join(os.fsencode(source), os.path.basename(name)), MEBI, number + 7)
        else:
            write(os.path.join(os.fsencode(source), name), content * (MEBI // len(content)))
    return 6 * MEBI


@on(*BY_RSYNC)
def test_medium_files_that_shrink_go_compressed(end: End, source: Path) -> None:
    size = medium(source, b"2026-01-01 00:00:00 INFO one line of a log like all the others\n")
    target, at = end.fresh()
    done = end.copy(source, target, tiers=True, small_file="1000", large_file="1500K").good()
    small, large = done.steps[1:3]
    assert (small.exit, small.error) == (0, ""), small.log
    assert re.search(r"^medium: 6 files shrink to [0-9] % in a sample, so they go compressed$", small.log, re.MULTILINE), small.log
    assert (small.exit, small.records.bytes["files"] > size * 0.99, small.records.bytes["wire"] < size / 4) == (0, True, True)
    assert (large.exit, large.records.bytes["wire"] > 6 * MEBI, "medium:" in large.log) == (0, True, False)
    assert checksums(at) == checksums(source)
    assert (done.records.counts["moved"], done.steps[-1].records.bytes["files"]) == (len(checksums(source)), 0)


@on(*BY_RSYNC)
def test_medium_files_that_do_not_shrink_go_as_they_are(end: End, source: Path) -> None:
    size = medium(source, None)
    target, at = end.fresh()
    done = end.copy(source, target, tiers=True, small_file="1000", large_file="1500K").good()
    small = done.steps[1]
    assert re.search(r"^medium: 6 files shrink to 100 % in a sample, so they go as they are$", small.log, re.MULTILINE), small.log
    assert (small.exit, small.records.bytes["wire"] > size) == (0, True)
    assert checksums(at) == checksums(source)


@on("rsync")
def test_a_target_whose_rsync_has_no_zstd_gets_medium_files_as_they_are(end: End, source: Path) -> None:
    size = medium(source, b"a line\n")
    assert end.server
    path, real = end.server.bin / "rsync", shutil.which("rsync")
    assert not path.exists()
    path.write_text(f'#!/bin/sh\nRSYNC_COMPRESS_LIST=zlib exec {real} "$@"\n')
    path.chmod(0o755)
    try:
        target, at = end.fresh()
        done = end.copy(source, target, tiers=True, small_file="1000", large_file="1500K").good()
    finally:
        path.unlink()
    small = done.steps[1]
    assert re.search(r"^medium: 6 files shrink to [0-9] % in a sample, but one of the rsyncs has no zstd, so they", small.log, re.MULTILINE)
    assert (small.exit, small.records.bytes["wire"] > size) == (0, True)
    assert checksums(at) == checksums(source)


@on("rsync")
def test_streams_that_make_the_root_at_the_same_time_all_copy(end: End, source: Path) -> None:
    """Each looks whether the target's root is there, and is held up before it makes it."""
    some(source)
    assert end.server
    path, real = end.server.bin / "rsync", shutil.which("rsync")
    assert not path.exists()
    path.write_text(
        f'#!/bin/sh\nexec strace -f -qq -o /dev/null -e trace=mkdir,mkdirat -e inject=mkdir,mkdirat:delay_enter=300000 {real} "$@"\n'
    )
    path.chmod(0o755)
    try:
        target, at = end.fresh()
        done = end.copy(source, target, tiers=True, large_file="1M").good()
    finally:
        path.unlink()
    assert [step.exit for step in done.steps] == [0, 0, 0, 0], done.log
    assert done.steps[-1].records.bytes["files"] == 0
    assert checksums(at) == checksums(source)


@on("rsync", "rclone")
def test_nothing_is_medium_where_all_is_compressed_or_small_or_rclone_copies(end: End, source: Path) -> None:
    size = medium(source, b"a line\n")
    for options in (
        {"compress": True, "small_file": "1000"},
        {"small_file": "1500K"},
        *([{"small_file": "1000"}] * (end.name == "rclone")),
    ):
        target, at = end.fresh()
        done = end.copy(source, target, tiers=True, large_file="1500K", **options).good()
        small = done.steps[1]
        assert (small.exit, "medium:" in small.log, small.records.bytes["files"] > size * 0.99) == (0, False, True)
        assert end.name == "rclone" or (small.records.bytes["wire"] < size / 4) == ("compress" in options)
        assert checksums(at) == checksums(source)


@on(*BY_RSYNC)
def test_a_link_that_took_a_directory_s_place_leads_no_tier_astray(end: End, source: Path, tmp_path: Path) -> None:
    write(source / "dir" / "file", b"the route's")
    write(source / "plain", b"plain")
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere / "file", b"not the route's")
    target, at = end.fresh()
    route, run = end.route(source, target), uuid.uuid4().hex
    assert end.step("plan", route, run).exit == 0
    (source / "dir" / "file").unlink()
    (source / "dir").rmdir()
    (source / "dir").symlink_to(elsewhere)
    assert end.step("small", route, run).exit == 0
    assert not (at / "dir").is_dir() or not (at / "dir" / "file").exists()
    assert end.step("finish", route, run).exit == 0
    assert (at / "dir").is_symlink()
    assert (at / "plain").read_bytes() == b"plain"
