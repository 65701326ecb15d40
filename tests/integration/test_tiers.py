"""The tiers: small and large files go ahead side by side, and whatever they do, finish is the truth."""

from __future__ import annotations

import os
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
