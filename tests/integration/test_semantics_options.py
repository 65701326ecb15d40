"""What the options of a route do, on every backend that they apply to, and what is said where they don't."""

import os
import struct
import time
from pathlib import Path

from lab.tree import EPOCH, checksums, listing, write, write_big
from tests.integration.driver import BY_RSYNC, ENDS, End, needs_root, on

SECOND = 1_000_000_000
MEBI = 1024 * 1024


def acl(*entries: tuple[int, int, int]) -> bytes:
    """An access list as the kernel takes it: version 2, then tag, rights and id of each entry."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY = 0xFFFFFFFF
READ_FOR_4242 = acl((1, 6, NOBODY), (2, 4, 4242), (4, 4, NOBODY), (16, 4, NOBODY), (32, 4, NOBODY))


@needs_root
@on(*BY_RSYNC)
def test_what_else_is_kept_when_asked(end: End, source: Path) -> None:
    write(source / "a", b"a")
    write(source / "dir" / "b", b"b")
    os.link(source / "a", source / "dir" / "same as a")
    os.chown(source / "a", 4242, 4343)
    os.chown(source / "dir", 4242, 4343)
    os.setxattr(source / "dir" / "b", "user.note", b"one\ntwo")
    os.setxattr(source / "dir" / "b", "system.posix_acl_access", READ_FOR_4242)
    (source / "link").symlink_to("a")
    os.chown(source / "link", 4242, 4343, follow_symlinks=False)
    target, at = end.fresh()
    everything = ["times", "modes", "links", "owners", "hardlinks", "acls", "xattrs"]
    end.copy(source, target, preserve=everything, tiers=True).good()
    assert (at / "a").stat().st_ino == (at / "dir" / "same as a").stat().st_ino
    for name in ("a", "dir", "link"):
        assert ((at / name).lstat().st_uid, (at / name).lstat().st_gid) == (4242, 4343)
    assert os.getxattr(at / "dir" / "b", "user.note") == b"one\ntwo"
    assert os.getxattr(at / "dir" / "b", "system.posix_acl_access") == READ_FOR_4242
    assert end.copy(source, target, preserve=everything).good().records.nothing
    # A change of these alone is a change.
    os.setxattr(source / "dir" / "b", "user.note", b"three")
    os.chown(source / "dir", 1, 1)
    end.copy(source, target, preserve=everything).good()
    assert os.getxattr(at / "dir" / "b", "user.note") == b"three"
    assert (at / "dir").stat().st_uid == 1
    # Without being asked, the login's own.
    plain, other = end.fresh()
    end.copy(source, plain).good()
    assert (other / "a").stat().st_uid == os.geteuid()
    assert (other / "a").stat().st_ino != (other / "dir" / "same as a").stat().st_ino
    assert "user.note" not in os.listxattr(other / "dir" / "b")


@on("rclone", "minio")
def test_what_rclone_cannot_keep_is_said(end: End, source: Path) -> None:
    write(source / "a", b"a", mode=0o751)
    os.link(source / "a", source / "b")
    target, at = end.fresh()
    done = end.copy(source, target, preserve=["times", "modes", "links", "owners", "hardlinks", "acls", "xattrs"]).good()
    assert checksums(at).keys() == {b"a", b"b"}
    notes = " ".join(done.records.notes)
    for word in ("modes", "owners", "links"):
        assert word in notes, notes


@on(*BY_RSYNC)
def test_without_preserve_only_content_counts(end: End, source: Path) -> None:
    write(source / "a", b"a", mode=0o600)
    (source / "link").symlink_to("a")
    target, at = end.fresh()
    first = end.copy(source, target, preserve=[]).good()
    assert first.held == {"link": "symlink"}
    assert (at / "a").stat().st_mtime_ns > EPOCH
    assert end.copy(source, target, preserve=[]).good().records.nothing
    write(source / "a", b"b", mtime_ns=(at / "a").stat().st_mtime_ns)
    end.copy(source, target, preserve=[]).good()
    assert (at / "a").read_bytes() == b"b"


@on(*BY_RSYNC)
def test_a_sparse_file_stays_sparse(end: End, source: Path) -> None:
    with (source / "sparse").open("wb") as file:
        file.truncate(64 * MEBI)
        file.seek(32 * MEBI)
        file.write(b"in the middle")
    os.utime(source / "sparse", ns=(EPOCH, EPOCH))
    target, at = end.fresh()
    end.copy(source, target).good()
    there = (at / "sparse").stat()
    assert there.st_size == 64 * MEBI
    assert there.st_blocks * 512 < MEBI
    # And so it does where it is mended.
    with (at / "sparse").open("r+b") as file:
        file.seek(10 * MEBI)
        file.write(b"rot")
    os.utime(at / "sparse", ns=(EPOCH, EPOCH))
    end.copy(source, target, verify="all").good()
    assert checksums(at) == checksums(source)
    assert (at / "sparse").stat().st_blocks * 512 < MEBI


@on(*ENDS)
def test_other_content_under_the_same_size_and_time_is_found_and_mended(end: End, source: Path) -> None:
    names = ["a", "dir/it's", "dir/$(touch x)", "caf\u00e9", " b "] + (["new\nline", "\\#012", "tab\t", "cr\r"] if end.server else [])
    for name in names:
        write(source / name, b"right")
    target, at = end.fresh()
    end.copy(source, target).good()
    before = listing(source)
    for name in names:
        write(source / name, b"other", mtime_ns=EPOCH)
    # And one rotted at the target alone.
    write(source / "a", b"right", mtime_ns=EPOCH)
    write(at / "a", b"rotte", mtime_ns=EPOCH)
    assert end.copy(source, target).good().records.nothing
    mended = end.copy(source, target, verify="all").good()
    assert checksums(at) == checksums(source)
    assert [(name, policy) for name, policy, _ in mended.records.anomalies] == [("mismatch", "warn")]
    assert mended.counts["moved"] == len(names)
    assert listing(source) == before
    clean = end.copy(source, target, verify="all").good()
    assert clean.counts["moved"] == 0
    assert clean.equal is (None if end.name == "rsync-only" else True)


@on("rsync", "rclone", "minio")
def test_patterns_choose_what_is_copied(end: End, source: Path) -> None:
    for name in ("a.jpg", "b.txt", "keep/c.txt", "keep/d.tmp", "x/keep/e", "[x]/f*.jpg", "new line/z.jpg", "cache/g.jpg", "-n.jpg"):
        write(source / name, name.encode())
    (source / "keep" / "empty").mkdir()
    target, at = end.fresh()
    options = {"include": ["*.jpg", "/keep/"], "exclude": ["*.tmp", "cache/", "f\\*"]}
    done = end.copy(source, target, tiers=True, verify="all", **options).good()
    expected = {b"a.jpg", b"keep/c.txt", b"[x]/f*.jpg", b"new line/z.jpg", b"-n.jpg"}
    assert checksums(at).keys() == expected
    assert done.counts["scanned"] == len(expected)
    assert done.equal
    assert end.copy(source, target, **options).good().records.nothing


@on("rsync", "rclone", "minio")
def test_what_is_too_young_is_held(end: End, source: Path) -> None:
    write(source / "old", b"old")
    write(source / "dir" / "young [1]", b"young", mtime_ns=time.time_ns())
    write(source / "young", b"young", mtime_ns=time.time_ns() - 30 * SECOND)
    target, at = end.fresh()
    done = end.copy(source, target, min_age="10m", verify="all").good()
    assert checksums(at).keys() == {b"old"}
    assert done.held == {"dir/young [1]": "younger-than-min_age", "young": "younger-than-min_age"}
    assert end.copy(source, target, min_age="10m").good().counts["held"] == 2
    os.utime(source / "young", ns=(EPOCH, EPOCH))
    assert end.copy(source, target, min_age="10m").good().counts["moved"] == 1
    assert checksums(at).keys() == {b"old", b"young"}


@on("rsync", "rclone", "minio")
def test_overwrite_says_which_files_may_be_replaced(end: End, source: Path) -> None:
    target, at = end.fresh()
    for name in ("newer here", "older here", "rotten"):
        write(source / name, b"first", mtime_ns=EPOCH)
    end.copy(source, target).good()
    write(source / "newer here", b"second", mtime_ns=EPOCH + 9 * SECOND)
    write(source / "older here", b"second", mtime_ns=EPOCH - 9 * SECOND)
    write(source / "rotten", b"secon", mtime_ns=EPOCH)
    write(source / "new", b"new")
    old = checksums(at)
    end.copy(source, target, overwrite="never", verify="all").good()
    assert checksums(at, old) == old
    assert (at / "new").read_bytes() == b"new"
    end.copy(source, target, overwrite="newer").good()
    assert (at / "newer here").read_bytes() == b"second"
    assert (at / "older here").read_bytes() == b"first"
    end.copy(source, target).good()
    assert (at / "older here").read_bytes() == b"second"
    assert (at / "rotten").read_bytes() == b"first"


@on("rsync", "rclone", "minio")
def test_bandwidth_is_a_limit(end: End, source: Path) -> None:
    write_big(source / "big", 4 * MEBI)
    target, at = end.fresh()
    done = end.copy(source, target, bandwidth="1M").good()
    assert checksums(at) == checksums(source)
    assert dict(done.records.phases)["copy"] >= 2
    if end.kind.backend == "rsync":
        assert [line for line in done.log.splitlines() if line.startswith("progress ") and "left" in line], done.log
    assert "\r" not in done.log


@on("rsync", "rclone")
def test_compression_saves_bytes(end: End, source: Path) -> None:
    write(source / "a", b"again and again " * 60_000)
    target, at = end.fresh()
    done = end.copy(source, target, compress=True).good()
    assert checksums(at) == checksums(source)
    if end.kind.backend == "rsync":
        assert done.records.bytes["wire"] < done.records.bytes["files"] / 10
