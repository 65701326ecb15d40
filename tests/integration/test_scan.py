"""Quick scans: what changed since the last green run is found by its ctime, nothing is missed, and what can't be trusted is a full scan."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from fs_sync import job, scripts
from lab import tree
from lab.accounts import account
from lab.processes import until
from lab.servers import sshd
from tests.integration.driver import ENDS, Copy, End, cursor_of, needs_root, on

OLD = 1_000_000_000_000_000_000  # 2001, in nanoseconds


@pytest.fixture(autouse=True)
def short_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a test has to wait a moment only until a change is older than what a quick scan looks at in any case."""
    monkeypatch.setattr(scripts, "OVERLAP", 1)


def age(source: Path) -> None:
    """Wait until all that stands in a tree changed before what a quick scan looks at anew."""
    newest = max(path.lstat().st_ctime for path in [source, *source.rglob("*")])
    until(lambda: time.time() > newest + 2.2, "the tree's changes to be old", every=0.05)


def told(copy: Copy) -> str:
    return " ".join(copy.records.notes)


@on(*ENDS)
def test_what_changed_is_all_that_is_looked_at(end: End, source: Path, tmp_path: Path) -> None:
    target, there = end.fresh()
    for number in range(20):
        tree.write(source / f"dir-{number % 4}" / f"file-{number}", b"x" * number, mtime_ns=OLD)
    tree.write(source / "gone", b"gone", mtime_ns=OLD)
    tree.write(tmp_path / "moved in", b"moved in, with an old time", mtime_ns=OLD)
    tree.write(tmp_path / "whole" / "deep" / "below", b"moved in with its directory", mtime_ns=OLD)
    age(tmp_path)
    first = end.copy(source, target, scan="quick").good()
    assert first.records.scan == "full"
    assert "no cursor" in told(first)
    second = end.copy(source, target, scan="quick", after=first).good()
    assert (second.records.scan, second.records.nothing, second.counts["scanned"]) == ("quick", True, 0), second.log

    tree.write(source / "dir-1" / "new one", b"new")
    tree.write(source / "dir-2" / "file-2", b"changed", mtime_ns=OLD)
    (tmp_path / "moved in").rename(source / "dir-3" / "moved in")
    (tmp_path / "whole").rename(source / "dir-3" / "whole")
    (source / "dir-0" / "file-4").rename(source / "dir-0" / "another name")
    (source / "gone").unlink()
    age(source)
    third = end.copy(source, target, scan="quick", after=second, tiers=True).good()
    assert third.records.scan == "quick"
    assert third.counts["new"] + third.counts["changed"] == 5, third.log
    assert third.counts["scanned"] == 5
    assert third.equal in (True, None)
    wanted = tree.checksums(source)
    assert {name: digest for name, digest in tree.checksums(there).items() if name in wanted} == wanted
    assert (there / "gone").exists()
    assert (there / "dir-0" / "file-4").exists()
    fourth = end.copy(source, target, scan="quick", after=third).good()
    assert (fourth.records.scan, fourth.records.nothing) == ("quick", True), fourth.log
    # A full scan finds nothing that the quick ones left.
    last = end.copy(source, target, after=fourth).good()
    assert last.counts["new"] + last.counts["changed"] == 0, last.log


@on("rsync", "rclone", "minio")
def test_what_only_a_full_scan_can_see(end: End, source: Path, tmp_path: Path) -> None:
    """A directory that was moved here, and then got another name in it: its own times are those of the last change again."""
    target, there = end.fresh()
    tree.write(source / "file", b"file", mtime_ns=OLD)
    tree.write(tmp_path / "whole" / "below", b"below", mtime_ns=OLD)
    age(tmp_path)
    first = end.copy(source, target, scan="quick").good()
    (tmp_path / "whole").rename(source / "whole")
    tree.write(source / "whole" / "another", b"another")
    quick = end.copy(source, target, scan="quick", after=first).good()
    assert quick.records.scan == "quick", quick.log
    assert (there / "whole" / "another").read_bytes() == b"another"
    assert not (there / "whole" / "below").exists()
    full = end.copy(source, target, after=quick).good()
    assert full.records.scan in ("", "full")
    assert (there / "whole" / "below").read_bytes() == b"below"


@on("rsync", "rclone", "minio", "rclone-sftp")
def test_every_name_is_found(end: End, source: Path) -> None:
    """Awkward names go by lists here, where a full scan leaves them to the tool."""
    target, there = end.fresh()
    first = end.copy(source, target, scan="quick").good()
    age(source)
    for key, name in tree.AWKWARD.items():
        tree.write(source / Path(os.fsdecode(name)), key.encode())
    quick = end.copy(source, target, scan="quick", after=first).good()
    assert quick.records.scan == "quick", quick.log
    full = end.copy(source, target).good()
    assert full.counts["new"] + full.counts["changed"] == 0, (quick.log, full.log)
    assert quick.counts["held"] == full.counts["held"]
    wanted, found = tree.checksums(source), tree.checksums(there)
    assert {name: wanted[name] for name in wanted if name in found} == found
    assert len(wanted) - len(found) == quick.counts["held"]


@on("rsync", "rclone")
def test_patterns_and_reserved_names_hold_in_a_quick_scan(end: End, source: Path) -> None:
    target, there = end.fresh()
    options = {"include": ["*.txt", "/keep/"], "exclude": ["*.tmp.txt", "/out/"]}
    first = end.copy(source, target, scan="quick", **options).good()
    age(source)
    yes = ("a.txt", "deep/er/b.txt", "keep/any", "keep/deep/any")
    no = ("a.bin", "a.tmp.txt", "out/c.txt", "deep/.fs-sync/x.txt", ".fs-sync/y.txt")
    for name in (*yes, *no):
        tree.write(source / name, name.encode())
    quick = end.copy(source, target, scan="quick", after=first, **options).good()
    assert (quick.records.scan, quick.counts["moved"]) == ("quick", len(yes)), quick.log
    assert sorted(tree.files(there)) == sorted(name.encode() for name in yes)


def cursor_file(end: End, route_target: str) -> Path:
    """The cursor of the only route to a target, on the source host."""
    identity = f"{end.route('/x', route_target).target.path}"
    (found,) = [
        path / "cursor"
        for path in (end.place.source.home / ".fs-sync" / "routes").iterdir()
        if (path / "cursor").exists() and path.name == job.digest(f"{_address(end)}|{_bucket(end)}|{identity}")[: len(path.name)]
    ]
    return found


def _address(end: End) -> str:
    from fs_sync import credentials

    return credentials.from_connection(end.connection, end.kind.target, "connection").address


def _bucket(end: End) -> str:
    return end.route("/x", "x").target.bucket


@on("rsync")
@pytest.mark.parametrize("lost", ["by Airflow", "by the host", "another run", "clock set back", "clock before", "reboot"])
def test_a_cursor_that_can_not_be_trusted_is_a_full_scan(end: End, source: Path, lost: str) -> None:
    """A file that no quick scan would see is there: it arrives all the same, and the log and the report say why."""
    target, there = end.fresh()
    tree.write(source / "file", b"file", mtime_ns=OLD)
    age(source)
    first = end.copy(source, target, scan="quick").good()
    cursor = cursor_file(end, target)
    # As if it had come while the clock was an hour ahead, or behind, and no scan could see it by its time.
    (there / "file").unlink()
    token, at, clock, boot, root = cursor.read_text().split()
    after: Copy | None = first
    why = "clock of"
    if lost == "by Airflow":
        after, why = None, "Airflow has no cursor"
    elif lost == "by the host":
        cursor.unlink()
        why = "has no cursor of an earlier green run"
    elif lost == "another run":
        cursor.write_text(f"{token}x {at} {clock} {boot} {root}\n")
        why = "is not the last one of"
    elif lost == "clock set back":
        cursor.write_text(f"{token} {at} {int(clock) + 3600} {boot} {root}\n")
    elif lost == "clock before":
        later = int(at) + 3600
        cursor.write_text(f"{token} {later} {clock} {boot} {root}\n")
        assert first.records.cursor is not None
        object.__setattr__(first.steps[-1].records, "cursor", (later, first.records.cursor[1]))
    else:
        cursor.write_text(f"{token} {at} {clock} another {root}\n")
        why = "was started anew"
    again = end.copy(source, target, scan="quick", after=after).good()
    assert again.records.scan == "full"
    assert why in told(again)
    assert (there / "file").read_bytes() == b"file"
    assert end.copy(source, target, scan="quick", after=again).good().records.scan == "quick"


@on(*ENDS)
def test_what_was_held_is_looked_at_again_though_it_did_not_change(end: End, source: Path) -> None:
    target, there = end.fresh()
    tree.write(source / "file", b"file", mtime_ns=OLD)
    tree.write(source / "dir" / "young", b"young", mtime_ns=time.time_ns() + 10**15)
    age(source)
    first = end.copy(source, target, scan="quick", min_age="1s").good()
    assert first.held == {"dir/young": "younger-than-min_age"}
    second = end.copy(source, target, scan="quick", min_age="1s", after=first).good()
    assert second.records.scan == "quick"
    assert second.held == {"dir/young": "younger-than-min_age"}, second.log
    assert second.counts["scanned"] == 0
    # The reason is gone, and the file is as it was.
    third = end.copy(source, target, scan="quick", after=second).good()
    assert third.records.scan == "quick"
    assert (there / "dir" / "young").read_bytes() == b"young"


@on("rsync", "rclone", "minio")
def test_what_is_in_doubt_is_verified_by_a_quick_scan_too(end: End, source: Path) -> None:
    """As a run leaves it that died between the copy and its verification."""
    target, there = end.fresh()
    tree.write(source / "file", b"right", mtime_ns=OLD)
    tree.write(source / "other", b"other", mtime_ns=OLD)
    age(source)
    first = end.copy(source, target, scan="quick").good()
    stat = (there / "file").stat()
    (there / "file").write_bytes(b"wrong")
    os.utime(there / "file", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    (cursor_file(end, target).parent / "doubt").write_text("file\n")
    quick = end.copy(source, target, scan="quick", after=first).good()
    assert quick.records.scan == "quick", quick.log
    assert (there / "file").read_bytes() == b"right", quick.log


@on("rsync")
def test_a_red_run_moves_no_cursor(end: End, source: Path) -> None:
    """What it could not bring is in the window of the next one, and comes with it."""
    target, there = end.fresh()
    tree.write(source / "file", b"file", mtime_ns=OLD)
    first = end.copy(source, target, scan="quick").good()
    age(source)
    tree.write(source / "way", b"a file here", mtime_ns=OLD)
    tree.write(there / "way" / "in the way", b"a directory there", mtime_ns=OLD)
    red = end.copy(source, target, scan="quick", after=first)
    assert red.exit != 0
    assert red.records.cursor is None
    age(source)
    (there / "way" / "in the way").unlink()
    (there / "way").rmdir()
    end.abandon()
    green = end.copy(source, target, scan="quick", after=first).good()
    assert green.records.scan == "quick"
    assert (there / "way").read_bytes() == b"a file here"


@on("rsync", "rclone")
def test_a_single_file_needs_no_cursor(end: End, source: Path) -> None:
    target, there = end.fresh()
    tree.write(source / "one", b"one", mtime_ns=OLD)
    first = end.copy(source / "one", target, scan="quick").good()
    age(source)
    assert end.copy(source / "one", target, scan="quick", after=first).good().records.nothing
    tree.write(source / "one", b"one more", mtime_ns=OLD)
    end.copy(source / "one", target, scan="quick", after=first).good()
    assert (there / "one").read_bytes() == b"one more"


@on("rsync", "rclone", "minio")
def test_another_directory_at_the_source_path_is_a_full_scan(end: End, source: Path, tmp_path: Path) -> None:
    """What was moved here with all its content, or is where a link leads to now, has no new stamp of its own below."""
    target, there = end.fresh()
    path = tmp_path / "current"
    path.symlink_to(source)
    tree.write(source / "file", b"file", mtime_ns=OLD)
    tree.write(tmp_path / "second" / "deep" / "below", b"second", mtime_ns=OLD)
    tree.write(tmp_path / "third" / "deep" / "other", b"third", mtime_ns=OLD)
    age(tmp_path)
    last = end.copy(path, target, scan="quick").good()
    path.unlink()
    path.symlink_to(tmp_path / "second")
    last = end.copy(path, target, scan="quick", after=last).good()
    assert last.records.scan == "full"
    assert "leads to another directory" in told(last)
    assert (there / "deep" / "below").read_bytes() == b"second"
    path.unlink()
    (tmp_path / "third").rename(path)
    last = end.copy(path, target, scan="quick", after=last).good()
    assert last.records.scan == "full"
    assert (there / "deep" / "other").read_bytes() == b"third"
    assert end.copy(path, target, scan="quick", after=last).good().records.scan == "quick"


@on("rsync", "rclone")
def test_two_routes_of_a_run_to_one_place_keep_their_names_apart(end: End, tmp_path: Path) -> None:
    """Their connections may have other names, so that nothing refuses them."""
    target, there = end.fresh()
    sources = {name: tmp_path / name for name in ("a", "b")}
    last: dict[str, Copy] = {}
    for turn in range(3):
        made = {}
        run = uuid.uuid4().hex
        for name, path in sources.items():
            tree.write(path / f"{name}-{turn}", name.encode())
            age(path)
            made[name] = Copy(end.route(path, target, scan="quick").model_copy(update={"name": name}))
            made[name].steps.append(end.step("plan", made[name].route, run, more=cursor_of(last.get(name))))
        for name, copy in made.items():
            copy.steps.append(end.step("finish", copy.route, run))
            assert (there / f"{name}-{turn}").exists(), copy.log
            copy.good()
        last = made


@on("rsync", "rclone")
def test_the_job_directory_is_no_part_of_a_directory_that_was_moved(end: End, source: Path) -> None:
    target, there = end.fresh()
    jobs = source / "state" / "jobs"
    jobs.mkdir(parents=True)
    last: Copy | None = None
    for turn in range(2):
        tree.write(source / "state" / f"file-{turn}", b"file")
        (source / "state").chmod(0o700 + turn)
        made = Copy(end.route(source, target, scan="quick", job_dir=str(jobs)))
        run = uuid.uuid4().hex
        for step in ("plan", "finish"):
            made.steps.append(end.step(step, made.route, run, more=cursor_of(last)))
            made.good()
        assert sorted(path.name for path in there.rglob("*")) == sorted(["state", *(f"file-{number}" for number in range(turn + 1))])
        age(source / "state")
        last = made
    assert last is not None
    assert last.records.scan == "quick"


@on("rsync", "rclone", "minio")
def test_a_name_that_can_not_be_looked_at_is_no_green_quick_scan(end: End, source: Path) -> None:
    """A path that is too long for the system is found by way of its directories, and by nothing else."""
    target, _ = end.fresh()
    first = end.copy(source, target, scan="quick").good()
    at = os.open(source, os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=at)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("deep", os.O_CREAT, dir_fd=at))
    os.close(at)
    quick = end.copy(source, target, scan="quick", after=first)
    assert quick.records.scan == "full"
    assert quick.exit != 0
    subprocess.run(["rm", "-rf", source], check=True)


@on("rsync", "rclone")
def test_a_list_that_was_cut_short_is_no_green_quick_scan(end: End, source: Path) -> None:
    target, _ = end.fresh()
    tree.write(source / "dir" / "file", b"file")
    first = end.copy(source, target, scan="quick").good()
    # More than sort holds without a temporary file.
    for number in range(60):
        directory = source / ("x" * 200 + str(number)) / ("y" * 200) / ("z" * 200)
        directory.mkdir(parents=True)
        for other in range(300):
            (directory / ("f" * 200 + str(other))).touch()
    made = end.route(source, target, scan="quick")
    plan = end.step("plan", made, uuid.uuid4().hex, more={**cursor_of(first), "TMPDIR": "/nonexistent"})
    assert plan.exit == 0, plan.log
    assert plan.records.counts["new"] == 60 * 300


@on("rsync")
def test_the_root_is_no_name_that_stands_for_all_in_it(end: End, source: Path) -> None:
    target, there = end.fresh()
    tree.write(source / ".fs-sync", b"reserved", mtime_ns=OLD)
    tree.write(source / "old", b"old", mtime_ns=OLD)
    age(source)
    first = end.copy(source, target, scan="quick").good()
    assert first.held == {".fs-sync": "reserved-name"}
    (there / "old").unlink()
    tree.write(source / "new", b"new")
    os.utime(source, ns=(OLD, OLD))
    end.copy(source, target, scan="quick", after=first).good()
    assert sorted(path.name for path in there.iterdir()) == ["new"]
    assert there.stat().st_mtime_ns == OLD


@on("rsync")
def test_what_is_behind_a_link_is_not_of_the_source(end: End, source: Path, tmp_path: Path) -> None:
    """A directory with a name that waits was moved away, and a link took its place."""
    target, there = end.fresh()
    tree.write(source / "d" / "young", b"young", mtime_ns=time.time_ns() + 10**15)
    age(source)
    first = end.copy(source, target, scan="quick", min_age="1s", exclude=["none"]).good()
    assert first.held == {"d/young": "younger-than-min_age"}
    (there / "d").rmdir()
    (source / "d").rename(tmp_path / "elsewhere")
    (source / "d").symlink_to(tmp_path / "elsewhere")
    os.utime(tmp_path / "elsewhere" / "young", ns=(OLD, OLD))
    quick = end.copy(source, target, scan="quick", min_age="1s", exclude=["none"], after=first).good()
    assert quick.records.scan == "quick"
    assert (there / "d").is_symlink(), quick.log


@on("rclone")
@pytest.mark.parametrize("scan", ["full", "quick"])
@pytest.mark.parametrize("include", [["*.txt"], ["/d/sub/"]])
def test_a_link_at_the_target_is_not_followed_whatever_the_patterns(
    end: End, source: Path, tmp_path: Path, include: list[str], scan: str
) -> None:
    target, there = end.fresh()
    tree.write(source / "e.txt", b"e")
    first = end.copy(source, target, scan="quick", include=include).good()
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    there.mkdir(exist_ok=True)
    (there / "d").symlink_to(outside)
    tree.write(source / "d" / "sub" / "new.txt", b"new")
    copy = end.copy(source, target, scan=scan, include=include, after=first).good()
    assert copy.held == {"d": "link-to-a-directory-at-the-target"}
    assert list((outside / "sub").iterdir()) == []


@needs_root
@on("rsync")
def test_what_is_mounted_below_the_source_is_a_full_scan(end: End, source: Path) -> None:
    """Its files have stamps of their own, from before it came here."""
    target, there = end.fresh()
    disk = source / "the disk"
    tree.write(source / "file", b"file", mtime_ns=OLD)
    disk.mkdir()
    age(source)
    first = end.copy(source, target, scan="quick").good()
    subprocess.run(["mount", "-t", "tmpfs", "none", disk], check=True)
    try:
        tree.write(disk / "on the disk", b"on the disk", mtime_ns=OLD)
        age(source)
        mounted = end.copy(source, target, scan="quick", after=first).good()
        assert mounted.records.scan == "full"
        assert "something else is mounted below it" in told(mounted)
        assert (there / "the disk" / "on the disk").read_bytes() == b"on the disk"
        assert end.copy(source, target, scan="quick", after=mounted).good().records.scan == "quick"
    finally:
        subprocess.run(["umount", disk], check=True)


@needs_root
@on("rsync", "rclone")
def test_a_directory_that_may_not_be_read_is_told_by_a_full_scan_unless_it_is_left_out(end: End, tmp_path: Path) -> None:
    with account() as person, sshd(tmp_path / "host", person) as host:
        there = replace(end, place=replace(end.place, source=host))
        root = host.root / "tree"
        tree.write(root / "file", b"file", mtime_ns=OLD)
        tree.write(root / "lost+found" / "inner", b"inner", mtime_ns=OLD)
        for path in (root, root / "file"):
            os.chown(path, person.uid, person.gid)
        (root / "lost+found").chmod(0o700)
        age(root)
        target, _ = there.fresh()
        out = {"exclude": ["lost+found/"], "scan": "quick"}
        first = there.copy(root, target, **out).good()
        second = there.copy(root, target, after=first, **out).good()
        assert second.records.scan == "quick"
        seen = there.copy(root, target, after=second, scan="quick")
        assert seen.records.scan == "full"
        assert "could not look everywhere" in told(seen)
        assert seen.exit == 101
