"""Sources and targets that can't be used, or only in part: one clear error each, and nothing half-written."""

import contextlib
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fs_sync.credentials import PlainConnection
from lab.accounts import account
from lab.place import BUCKET, small_disk, ssh_connection
from lab.servers import sshd
from lab.tree import checksums, listing, write, write_big
from tests.integration import driver
from tests.integration.driver import ENDS, ON_DISK, End, needs_root, on

MEBI = 1024 * 1024


@on("rsync", "rclone", "minio")
def test_a_missing_source_is_named(end: End, tmp_path: Path) -> None:
    target, at = end.fresh()
    done = end.copy(tmp_path / "it's gone", target)
    assert done.exit == 101
    assert f"{tmp_path}/it's gone does not exist" in done.error
    write(tmp_path / "file", b"file")
    (tmp_path / "link").symlink_to("file")
    done = end.copy(tmp_path / "link", target)
    assert (done.exit, "symbolic link" in done.error) == (101, True)
    os.mkfifo(tmp_path / "pipe")
    done = end.copy(tmp_path / "pipe", target)
    assert (done.exit, "neither a directory nor a file" in done.error) == (101, True)
    assert not at.exists()


@on("rsync", "rclone", "minio")
def test_a_missing_marker_is_named(end: End, source: Path) -> None:
    write(source / "a", b"a")
    target, at = end.fresh()
    for marker in (".mount ed", str(source.parent / "elsewhere")):
        done = end.copy(source, target, require=marker)
        assert done.exit == 101
        assert marker in done.error
        assert "require" in done.error
        assert not at.exists()
    write(source / ".mount ed", b"")
    write(source.parent / "elsewhere", b"")
    end.copy(source, target, require=".mount ed").good()
    assert end.copy(source, target, require=str(source.parent / "elsewhere")).good().records.nothing
    # A mount that is lost between plan and finish is not taken for an empty source either.
    write(source / "b", b"b")
    route = end.route(source, target, require=".mount ed")
    assert end.step("plan", route, "lost").exit == 0
    (source / ".mount ed").unlink()
    assert end.step("finish", route, "lost").exit == 101
    assert not (at / "b").exists()


@contextlib.contextmanager
def ordinary(end: End, directory: Path) -> Iterator[tuple[End, Path]]:
    """The same end, copied to by an ordinary account of the source host; and a directory of that account."""
    with account() as user, sshd(directory, user) as server:
        yield replace(end, place=replace(end.place, source=server)), server.root


@needs_root
@on("rsync", "rclone", "minio")
def test_what_cannot_be_read_is_named_and_all_else_is_copied(end: End, tmp_path: Path) -> None:
    with ordinary(end, tmp_path / "server") as (here, root):
        names = [b"a", b"dir/b", b"dir/closed too/c", b"z"]
        for name in names:
            write(os.fsencode(root) + b"/" + name, name)
        write(root / "dir" / "secret $x", b"secret", mode=0o600)
        write(root / "closed [1]" / "d", b"d")
        (root / "closed [1]").chmod(0o700)
        target, at = here.fresh()
        done = here.copy(root, target, verify="all")
        assert done.exit == 101, f"{done.exit} {done.error}\n{done.log}"
        assert checksums(at).keys() == set(names)
        named = {name.rstrip("/") for _, name in done.records.failed}
        assert named == {"dir/secret $x", "closed [1]"}
        assert all("ermission-denied" in reason for reason, _ in done.records.failed)
        assert done.counts["failed"] == 2
        # Once they are left out, it is a good route.
        leave_out = ["closed*/", "secret*"]
        assert here.copy(root, target, exclude=leave_out, verify="all").good().counts["failed"] == 0
        # Nothing new to copy does not hide what can't be read.
        assert here.copy(root, target).exit == 101
        # The login may not even enter.
        root.chmod(0o700)
        os.chown(root, 0, 0)
        done = here.copy(root, target)
        assert (done.exit, str(root) in done.error) == (101, True)


@needs_root
@on("rsync", "rclone")
def test_what_may_not_be_written_is_named(end: End, source: Path, tmp_path: Path) -> None:
    with account() as user, sshd(tmp_path / "server", user) as server:
        connection: PlainConnection = driver.plain("closed", ssh_connection(server))
        there = replace(end, server=server, connection=connection)
        write(source / "a", b"a")
        write(source / "sub" / "b", b"b")
        target, at = there.fresh()
        at.mkdir(mode=0o755)
        done = there.copy(source, target)
        assert (done.exit, target in done.error) == (105, True), done.error
        assert there.copy(source, f"{target}/below").exit == 105
        assert not list(at.iterdir())
        # Where only a part may not be written, the rest is.
        os.chown(at, user.uid, user.gid)
        (at / "sub").mkdir(mode=0o755)
        done = there.copy(source, target)
        assert (done.exit, "sub" in done.error) == (105, True), done.error
        assert "sub/b" in {name for _, name in done.records.failed}
        assert (at / "a").read_bytes() == b"a"


@on("rsync", "rclone")
def test_a_target_that_is_a_file_is_refused(end: End, source: Path) -> None:
    write(source / "a", b"a")
    target, at = end.fresh()
    write(at, b"a file")
    done = end.copy(source, target)
    assert (done.exit, "is a file" in done.error) == (105, True)
    assert at.read_bytes() == b"a file"


@on("rsync", "rclone")
@pytest.mark.parametrize("below", ["", "/sub", "/sub/not yet", "/../source"])
def test_the_target_may_not_lie_in_the_source(end: End, source: Path, below: str) -> None:
    """Whatever the connection is called, and by whatever path it is reached."""
    (source / "sub").mkdir()
    write(source / "a", b"a")
    other = source.parent / "by another path"
    other.symlink_to(source)
    before = listing(source)
    for path in (f"{source}{below}", f"{other}{below}"):
        if ".." in path:
            continue
        done = end.copy(source, path)
        assert (done.exit, "target.path" in done.error) == (105, True), done.error
    assert listing(source) == before


@on("rsync", "rclone")
def test_the_source_may_not_lie_in_the_target(end: End, source: Path) -> None:
    write(source / "a" / "b", b"a")
    done = end.copy(source / "a", str(source))
    assert (done.exit, "lies inside the target path" in done.error) == (105, True), done.error
    # Beside it is another place, and of one file's directory only the file takes part.
    end.copy(source / "a", str(source / "another")).good()
    end.copy(source / "a" / "b", str(source / "a" / "below")).good()
    assert checksums(source).keys() == {b"a/b", b"another/b", b"a/below/b"}
    assert end.copy(source / "a" / "b", str(source / "a")).exit == 105


@on(*ON_DISK)
def test_what_stands_in_the_way_is_named(end: End, source: Path) -> None:
    write(source / "a file", b"file")
    write(source / "z", b"z")
    target, at = end.fresh()
    write(at / "a file" / "theirs", b"theirs")
    done = end.copy(source, target)
    assert done.exit == 109, f"{done.exit} {done.error}\n{done.log}"
    assert done.records.failed == (("in-the-way-at-the-target", "a file"),)
    assert checksums(at).keys() == {b"a file/theirs", b"z"}


@needs_root
@on(*ON_DISK)
def test_a_full_disk_leaves_nothing_half_written(end: End, source: Path) -> None:
    assert end.server
    write(source / "a", b"small")
    write_big(source / "big", 6 * MEBI)
    (source / "dir").mkdir()
    write_big(source / "dir" / "big too", 6 * MEBI)
    target, at = end.fresh()
    with small_disk(at):
        write(at / "big", b"the old one")
        # What plan can't foresee: the room is taken by somebody else after it.
        run = uuid.uuid4().hex
        route = end.route(source, target)
        subprocess.run(["mount", "-o", "remount,size=64m", at], check=True)
        assert end.step("plan", route, run).exit == 0
        subprocess.run(["mount", "-o", "remount,size=4m", at], check=True)
        done = end.step("finish", route, run)
        assert (done.exit, "full" in done.error) == (107, True), f"{done.exit} {done.error}\n{done.log}"
        whole = checksums(source)
        for name, value in checksums(at).items():
            if name in whole and (at / os.fsdecode(name)).read_bytes() != b"the old one":
                assert value == whole[name], name
        assert (at / "big").read_bytes() == b"the old one"
        assert not (at / "dir" / "big too").exists()


@on(*ENDS)
def test_a_failed_run_leaves_its_doubts_to_the_next(end: End, source: Path) -> None:
    """What a run may have brought without verifying it is verified by the next one, though nothing seems to be to do."""
    write(source / "a", b"right")
    write(source / "b", b"right")
    target, at = end.fresh()
    route = end.route(source, target)
    assert end.step("plan", route, "dies").exit == 0
    # It dies after its copy, which was not what the source has.
    for name in ("a", "b"):
        write(at / name, b"wrong", mtime_ns=(source / name).stat().st_mtime_ns)
    if end.server is None:
        end.step("small", route, "dies")
        for name in ("a", "b"):
            write(end.place.s3.root / BUCKET / target / name, b"wrong", mtime_ns=(source / name).stat().st_mtime_ns)
    (source / "b").unlink()
    end.abandon()
    done = end.copy(source, target).good()
    assert (at / "a").read_bytes() == b"right", done.log
    assert (at / "b").exists()
    assert end.copy(source, target).good().records.nothing


@pytest.mark.parametrize("said", ["export LC_ALL=C.UTF-8", "export TMPDIR=/nonexistent"])
def test_the_login_s_environment_is_no_matter_of_verification(ends: dict[str, End], source: Path, said: str) -> None:
    """A locale at the target hides no name from the digests, and a source without room in /tmp does not pass for an empty one."""
    end = ends["rsync"]
    write(source / os.fsdecode(b"latin-\xe9"), b"content")
    server = end.server if "LC_ALL" in said else end.place.source
    assert server is not None
    bashrc = server.home / ".bashrc"
    before = bashrc.read_text()
    bashrc.write_text(f"{said}\n{before}")
    try:
        made = end.copy(source, end.fresh()[0]).good()
    finally:
        bashrc.write_text(before)
    assert (made.counts["moved"], made.equal, made.held) == (1, True, {})


def test_a_link_at_the_target_leads_no_copy_out_of_it(ends: dict[str, End], source: Path, tmp_path: Path) -> None:
    """Not even into the source itself."""
    for name in ("rsync", "rclone"):
        write(source / "d/f", b"the new one")
        write(source / "other/f", b"mine")
        target, at = ends[name].fresh()
        at.mkdir()
        (at / "d").symlink_to(source / "other")
        made = ends[name].copy(source, target).good()
        assert (source / "other/f").read_bytes() == b"mine"
        assert made.held == ({"d": "link-to-a-directory-at-the-target"} if name == "rclone" else {})
