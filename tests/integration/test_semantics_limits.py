"""What the README says of edges: names that look like others, doubts that last, times and links that SFTP can't say."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

from lab.tree import EPOCH, checksums, write
from tests.integration.driver import End, on

LOOK_ALIKE = "\uff0e\uff0e"
HOUR = 3600 * 10**9


@on("rsync", "rclone", "rclone-sftp", "minio")
def test_a_name_that_stands_for_two_dots_is_held_by_rclone(end: End, source: Path) -> None:
    write(source / LOOK_ALIKE, b"two dots")
    write(source / "plain", b"plain")
    target, at = end.fresh()
    done = end.copy(source, target).good()
    rsync = end.name == "rsync"
    assert done.held == ({} if rsync else {LOOK_ALIKE: "fullwidth-look-alike-name"})
    assert checksums(at).keys() == ({b"plain", LOOK_ALIKE.encode()} if rsync else {b"plain"})
    assert end.copy(source, target).good().records.nothing


@on("rsync", "rclone")
def test_a_doubtful_name_that_is_held_stays_in_doubt(end: End, source: Path) -> None:
    """What a dead run may have brought is verified by the first run that can, not by the first that comes."""
    write(source / "file", b"right")
    target, at = end.fresh()
    run = uuid.uuid4().hex
    route = end.route(source, target)
    assert end.step("plan", route, run).exit == 0
    assert end.step("small", route, run).exit == 0
    write(at / "file", b"wrong")
    os.utime(source / "file", ns=(time.time_ns(), time.time_ns()))
    assert end.copy(source, target, run=run, min_age="10m").good().held == {"file": "younger-than-min_age"}
    assert (at / "file").read_bytes() == b"wrong"
    os.utime(source / "file", ns=(EPOCH, EPOCH))
    end.copy(source, target, run=run).good()
    assert (at / "file").read_bytes() == b"right"


@on("rsync", "rclone")
def test_a_target_below_the_home_may_begin_with_a_dash(end: End, source: Path) -> None:
    assert end.server
    write(source / "file", b"file")
    name = f"-{uuid.uuid4().hex}"
    end.copy(source, f"~/{name}").good()
    assert checksums(end.server.home / name) == checksums(source)
    assert end.copy(source, f"~/{name}").good().records.nothing


@on("rsync")
def test_min_age_takes_the_future_for_young(end: End, source: Path) -> None:
    write(source / "tomorrow", b"tomorrow", mtime_ns=time.time_ns() + 24 * HOUR)
    target, _ = end.fresh()
    assert end.copy(source, target, min_age="1m").good().held == {"tomorrow": "younger-than-min_age"}


@on("rsync", "rclone")
def test_a_time_before_1970_is_kept_by_rsync_and_copied_anew_by_rclone(end: End, source: Path) -> None:
    write(source / "old", b"old", mtime_ns=-(10**9))
    target, at = end.fresh()
    end.copy(source, target).good()
    again = end.copy(source, target).good()
    assert (at / "old").read_bytes() == b"old"
    assert again.records.nothing == (end.name == "rsync")


@on("rclone-sftp")
def test_a_link_to_a_directory_is_followed_where_it_cannot_be_asked_for(end: End, source: Path, tmp_path: Path) -> None:
    write(source / "d" / "file", b"file")
    target, at = end.fresh()
    at.mkdir()
    (tmp_path / "outside").mkdir()
    (at / "d").symlink_to(tmp_path / "outside")
    end.copy(source, target).good()
    assert (tmp_path / "outside" / "file").read_bytes() == b"file"
