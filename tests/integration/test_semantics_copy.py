"""What a copy brings and what it leaves alone, on every backend with every kind of target."""

import os
import stat
from pathlib import Path

import pytest

from lab.place import read_only
from lab.tree import AWKWARD, EPOCH, checksums, listing, make_tree, write
from tests.integration.driver import BY_RSYNC, ENDS, End, needs_root, on, shown

SECOND = 1_000_000_000
# What looks like a name of ours, of rsync's or of rclone's, and is not.
LOOK_ALIKES = (b".fs-sync.txt", b"x.fs-sync", b"x.1a2b3c4d.fs-sync", b".~tmp~/x", b".fs-sync-probe", b"fs-sync/x")
CONTROL = {"newline", "tab", "return", "control"}


def expected_held(end: End) -> dict[bytes, str]:
    """What of the tree is held at an end, with the reason."""
    held = {b".fs-sync": "reserved-name", b"deep/.fs-sync": "reserved-name", b"one\x01two": "byte-001-in-name", b"pipe": "special-file"}
    if end.kind.backend == "rsync":
        return held
    held |= {b"link": "symlink", b"dangling": "symlink", b"link to a directory": "symlink"}
    awkward = {"quote of rclone": "U+201B-in-name"}
    if end.server is None:
        awkward |= dict.fromkeys(CONTROL, "control-character-in-name") | {"not utf-8": "not-UTF-8-in-name"}
    for key, reason in awkward.items():
        held[b"awkward/" + AWKWARD[key]] = reason
        held[b"awkward directories/" + AWKWARD[key]] = reason
    return held | {"a picture \u2409".encode(): "control-picture-in-name"}


def full_tree(root: Path) -> None:
    make_tree(root, files=40)
    base = os.fsencode(root)
    for name in (*LOOK_ALIKES, b".fs-sync/x", b"deep/.fs-sync", b"one\x01two", "a picture \u2409".encode()):
        write(os.path.join(base, name), name * 3)
    (root / "link").symlink_to("file-0000.bin")
    (root / "dangling").symlink_to("no where")
    (root / "link to a directory").symlink_to("dir-0")
    os.mkfifo(root / "pipe")
    (root / "empty").chmod(0o750)
    os.utime(root / "empty", ns=(EPOCH, EPOCH))


def wanted(end: End, root: Path) -> dict[bytes, str]:
    """The checksums of the files that the target must hold."""
    held = expected_held(end)
    return {name: value for name, value in checksums(root).items() if not any(name == one or name.startswith(one + b"/") for one in held)}


def same_metadata(end: End, source: Path, target: Path, extra: tuple[bytes, ...] = ()) -> None:
    """Check directories, modes, times and links at the target, as far as the end keeps them."""
    if end.server is None:
        return
    here, there = listing(source), listing(target)
    held = expected_held(end)
    assert there.keys() <= {*here, *extra}
    for name, entry in here.items():
        if any(name == one or name.startswith(one + b"/") for one in held):
            continue
        assert name in there, name
        assert there[name].kind == entry.kind, name
        if end.kind.backend == "rsync":
            # A link's own mode is always 777; all else is kept to the nanosecond.
            assert (there[name].mode, there[name].link) == (entry.mode, entry.link), name
            assert there[name].mtime_ns == entry.mtime_ns, name
        elif entry.kind == "file":
            assert there[name].mtime_ns // SECOND == entry.mtime_ns // SECOND, name


@on(*ENDS)
def test_a_tree_is_replicated_and_what_changes_follows(end: End, source: Path) -> None:
    full_tree(source)
    target, at = end.fresh()
    before = listing(source)
    first = end.copy(source, target, tiers=True).good()
    assert checksums(at) == wanted(end, source)
    same_metadata(end, source, at)
    held = {shown(name): reason for name, reason in expected_held(end).items()}
    assert first.counts["held"] == len(held)
    assert first.held.items() <= held.items()
    assert len(first.held) == min(len(held), 20)
    assert first.counts["new"] == first.counts["scanned"] == first.counts["moved"] == len(wanted(end, source))
    assert first.counts["failed"] == 0
    assert first.equal is (None if end.name == "rsync-only" else True)
    again = end.copy(source, target).good()
    assert again.records.nothing, again.log
    assert len(again.steps) == 1
    assert again.counts["unchanged"] == first.counts["new"]

    # The target has something of its own, and the source lives on.
    write(at / "only here", b"mine")
    if end.server is None:
        write(at / "dir-0" / "only here", b"mine")
    gone = "file-0004.bin"
    (source / gone).unlink()
    write(source / "file-0008.bin", b"changed", mtime_ns=EPOCH + 5 * SECOND)
    write(source / "file-0012.bin", b"older", mtime_ns=EPOCH - 5 * SECOND)
    write(source / "awkward" / "two words", b"changed too", mtime_ns=EPOCH + 5 * SECOND)
    write(source / "new" / "deep" / os.fsdecode(AWKWARD["glob"]), b"new")
    (source / "newly empty").mkdir()
    if end.kind.backend == "rsync":
        (source / "file-0016.bin").chmod(0o711)
        (source / "link").unlink()
        (source / "link").symlink_to("file-0008.bin")
    own = checksums(at, [b"only here", os.fsencode(gone), b"dir-0/only here"])
    changing = listing(source)
    second = end.copy(source, target, verify="all").good()
    assert checksums(at) == {**own, **wanted(end, source)}
    same_metadata(end, source, at, (b"only here", os.fsencode(gone)))
    assert (second.counts["new"], second.counts["changed"]) == (1, 3)
    assert (at / gone).exists()
    third = end.copy(source, target).good()
    assert third.records.nothing, third.log
    assert listing(source) == changing
    assert {name: entry for name, entry in before.items() if name in changing and changing[name] == entry}.keys() >= {
        b"link to a directory"
    }


@on(*ENDS)
def test_one_file_is_a_source(end: End, source: Path) -> None:
    name = "it's [one] caf\u00e9*\\.bin"
    write(source / "beside", b"not this")
    (source / "below").mkdir()
    target, at = end.fresh()
    write(source / name, b"one", mode=0o640)
    assert end.copy(source / name, target).good().counts["moved"] == 1
    assert checksums(at).keys() == {os.fsencode(name)}
    assert os.listdir(at) == [name]
    if end.kind.backend == "rsync":
        assert stat.S_IMODE((at / name).stat().st_mode) == 0o640
    assert end.copy(source / name, target).good().records.nothing
    write(source / name, b"two", mtime_ns=EPOCH + SECOND)
    changed = end.copy(source / name, target, verify="all").good()
    assert (at / name).read_bytes() == b"two", changed.log


@on("rsync", "rclone", "minio")
def test_a_trailing_slash_means_nothing(end: End, source: Path) -> None:
    write(source / "a" / "b", b"b")
    target, at = end.fresh()
    end.copy(f"{source}/", target).good()
    assert checksums(at).keys() == {b"a/b"}
    assert end.copy(source, f"{target}/").good().records.nothing
    assert end.copy(f"{source}//./", target).good().records.nothing


@on("rsync", "rclone", "minio")
def test_the_home_of_the_login_is_a_source(end: End) -> None:
    home = end.place.source.home
    write(home / "in home" / "a", b"a")
    jobs = "~/in home/the [jobs]"
    end.copy("~/in home", end.fresh()[0], job_dir=jobs).good()
    before = {name: entry for name, entry in listing(home).items() if not name.startswith((b".fs-sync", b"in home/the [jobs]"))}
    target, at = end.fresh()
    done = end.copy("~", target, job_dir=jobs).good()
    # Also a second job directory of ours, that of other routes, is no part of it.
    assert {name for name in checksums(at) if b"fs-sync" in name or b"jobs" in name} == set()
    assert checksums(at).keys() >= {b"in home/a", b".bashrc"}
    assert not (at / ".fs-sync").exists()
    assert not (at / "in home" / "the [jobs]").exists()
    assert done.counts["failed"] == 0
    assert end.copy(str(home), target, job_dir=jobs).good().records.nothing
    after = {name: entry for name, entry in listing(home).items() if not name.startswith((b".fs-sync", b"in home/the [jobs]"))}
    assert after == before


@on(*ENDS)
def test_an_empty_source_changes_nothing(end: End, source: Path) -> None:
    target, at = end.fresh()
    assert end.copy(source, target).good().counts["scanned"] == 0
    write(at / "only here", b"mine")
    done = end.copy(source, target, verify="all").good()
    assert done.counts["scanned"] == 0
    assert checksums(at).keys() == {b"only here"}


@on(*ENDS)
def test_a_dry_run_changes_nothing(end: End, source: Path) -> None:
    target, at = end.fresh()
    write(source / "same", b"same")
    end.copy(source, target).good()
    write(source / "new\nname" if end.server else source / "new name", b"new")
    write(source / "same", b"other", mtime_ns=EPOCH + SECOND)
    before, there = listing(source), listing(at)
    done = end.copy(source, target, dry_run=True).good()
    assert done.records.dry
    assert (done.counts["new"], done.counts["changed"], done.records.bytes["todo"]) == (1, 1, 8)
    assert "would copy (new)  new" in done.log
    assert "would copy (changed)  same" in done.log
    assert (listing(source), listing(at)) == (before, there)
    fresh, missing = end.fresh()
    assert end.copy(source, fresh, dry_run=True).good().counts["new"] == 2
    assert not missing.exists()


@needs_root
@on("rsync", "rclone", "minio")
def test_a_read_only_source_is_copied(end: End, tmp_path: Path, source: Path) -> None:
    """A source on a disk that nobody can write to, whatever their rights."""
    write(source / "a" / "b", b"b")
    (source / "empty").mkdir()
    with read_only(source, tmp_path / "closed") as closed:
        target, at = end.fresh()
        end.copy(closed, target, tiers=True, verify="all").good()
        assert checksums(at).keys() == {b"a/b"}


@on(*BY_RSYNC)
def test_leftovers_of_ours_are_no_part_of_anything(end: End, source: Path) -> None:
    target, at = end.fresh()
    write(source / "dir" / "a", b"a" * 5000)
    write(at / "dir" / ".fs-sync" / "a", b"junk of an earlier try")
    write(at / ".fs-sync" / "b", b"junk")
    done = end.copy(source, target, verify="all").good()
    assert (at / "dir" / "a").read_bytes() == b"a" * 5000
    assert done.counts["moved"] == 1
    assert end.copy(source, target).good().records.nothing


@on(*BY_RSYNC)
@pytest.mark.parametrize("name", ["#comment", ";comment", "-dash", " "])
def test_a_name_that_looks_like_a_comment_is_copied_and_verified(end: End, source: Path, name: str) -> None:
    """rsync takes a name that begins with # or ; for a comment in the lists that it is given."""
    write(source / name, b"one", mtime_ns=EPOCH)
    target, at = end.fresh()
    end.copy(source / name, target).good()
    assert (at / name).read_bytes() == b"one"
    write(at / name, b"two", mtime_ns=EPOCH)
    end.copy(source, target, verify="all").good()
    assert (at / name).read_bytes() == b"one"
