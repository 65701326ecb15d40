"""Sources that change under the copy, and copies that are cut off: never a half-written file, and the next run mends it."""

import os
import signal
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

from fs_sync import job
from lab.processes import until
from lab.tree import EPOCH, checksums, write, write_big
from tests.integration.driver import BY_RSYNC, ENDS, End, on

MEBI = 1024 * 1024
SECOND = 1_000_000_000


def copying(end: End, named: job.Job) -> Callable[[], bool]:
    """Whether the job has begun to copy: it tells its progress."""
    log = end.directory(named) / "log"
    return lambda: b"\nprogress " in b"\n" + log.read_bytes() or (end.directory(named) / "exit").exists()


def half_way(end: End, named: job.Job, at: Path, size: int) -> Callable[[], bool]:
    """Whether some file at the target, whatever its name, has more than `size` bytes, or the job says so."""

    def grown() -> bool:
        assert not (end.directory(named) / "exit").exists(), (end.directory(named) / "log").read_text()
        if end.server is None:
            return b"progress " in (end.directory(named) / "log").read_bytes()
        return any(path.stat().st_blocks * 512 > size for path in at.rglob("*") if path.is_file())

    return grown


def kill(end: End, named: job.Job) -> None:
    """Kill all of a job at once, as a lack of memory or a reboot does."""
    os.killpg(int((end.directory(named) / "pgid").read_text().split()[0]), signal.SIGKILL)


@on(*ENDS)
def test_what_changes_while_it_is_copied_is_never_corrupt(end: End, source: Path) -> None:
    names = ["a grows", "b shrinks", "c replaced", "d vanishes", "e still", "f vanishes", "g replaced", "z/h vanishes", "z/i grows"]
    (source / "z").mkdir()
    for seed, name in enumerate(names):
        write_big(source / name, MEBI, seed)
    target, at = end.fresh()
    route = end.route(source, target, bandwidth="3M")
    run = uuid.uuid4().hex
    assert end.step("plan", route, run).exit == 0
    named = end.start("finish", route, run)
    until(copying(end, named), "the copy's begin", every=0.02)
    for name in names:
        path = source / name
        if "grows" in name:
            with path.open("ab") as file:
                file.write(b"more" * 1000)
        elif "shrinks" in name:
            os.truncate(path, 1000)
        elif "replaced" in name:
            write(source / "other", b"other" * 300_000, mtime_ns=EPOCH + 7 * SECOND)
            (source / "other").rename(path)
        elif "vanishes" in name:
            path.unlink()
    # One is written to all the time.
    over = threading.Event()

    def scribble() -> None:
        with (source / "e still").open("r+b") as file:
            while not over.wait(0.01):
                file.seek(0)
                file.write(os.urandom(4096))
                file.flush()

    writer = threading.Thread(target=scribble)
    writer.start()
    try:
        done = end.wait(named)
    finally:
        over.set()
        writer.join()
    assert done.exit == 0, f"{done.exit} {done.error}\n{done.log}"
    next_run = end.copy(source, target).good()
    after = checksums(at)
    assert {name: after.get(name) for name in checksums(source)} == checksums(source), next_run.log
    third = end.copy(source, target).good()
    assert third.records.nothing, f"{done.log}\n{next_run.log}\n{third.log}"


@on(*ENDS)
def test_a_killed_copy_leaves_no_half_file_and_goes_on(end: End, source: Path) -> None:
    size = 8 * MEBI
    write_big(source / "big", size, 1)
    (source / "dir with 'quotes'").mkdir()
    write_big(source / "dir with 'quotes'" / "new", size, 2)
    write(source / "small", b"small")
    target, at = end.fresh()
    old = {"big": b"the old one"}
    write(at / "big", old["big"])
    route = end.route(source, target, bandwidth="4M")
    run = uuid.uuid4().hex
    assert end.step("plan", route, run).exit == 0
    named = end.start("finish", route, run)
    until(half_way(end, named, at, 3 * MEBI), "half of the copy", every=0.02)
    kill(end, named)
    whole = checksums(source)
    for name, value in checksums(at).items():
        if name in whole:
            assert value == whole[name] or (at / os.fsdecode(name)).read_bytes() == old.get(os.fsdecode(name)), name
    # The retry of the task: the same job, and all of it.
    done = end.step("finish", route, run)
    assert done.exit == 0, f"{done.error}\n{done.log}"
    assert {name: value for name, value in checksums(at).items() if name in whole} == whole
    assert done.records.error is None
    if end.name in BY_RSYNC:
        # What had come was not sent again.
        assert done.records.bytes["wire"] < 2 * size - 2 * MEBI
    assert end.copy(source, target).good().records.nothing


@on("rsync", "rclone", "minio")
def test_a_transfer_that_was_cut_off_is_no_loss(end: End, source: Path) -> None:
    """The accelerator dies; finish brings what is missing and verifies also what the transfer had brought."""
    write_big(source / "big", 4 * MEBI, 1)
    write(source / "small", b"small")
    target, at = end.fresh()
    route = end.route(source, target, bandwidth="1M")
    run = uuid.uuid4().hex
    assert end.step("plan", route, run).exit == 0
    named = end.start("small", route, run)
    until(half_way(end, named, at, MEBI), "the transfer's begin", every=0.02)
    kill(end, named)
    done = end.step("finish", end.route(source, target), run)
    assert done.exit == 0, f"{done.error}\n{done.log}"
    assert {name: value for name, value in checksums(at).items() if name in {b"big", b"small"}} == checksums(source)


@on("rsync", "rclone")
def test_the_target_goes_away_in_the_middle(end: End, source: Path) -> None:
    assert end.server
    write_big(source / "big", 4 * MEBI, 1)
    target, at = end.fresh()
    route = end.route(source, target, bandwidth="2M")
    run = uuid.uuid4().hex
    assert end.step("plan", route, run).exit == 0
    named = end.start("finish", route, run)
    until(half_way(end, named, at, MEBI), "the copy's begin", every=0.02)
    end.server.drop()
    done = end.wait(named)
    assert done.exit in (104, 121), f"{done.exit} {done.error}\n{done.log}"
    assert not (at / "big").exists()
    assert end.step("finish", route, run).exit == 0
    assert (at / "big").read_bytes() == (source / "big").read_bytes()


@on("rsync", "rclone", "minio")
def test_lists_that_are_gone_are_said_to_be(end: End, source: Path) -> None:
    write(source / "a", b"a")
    target, _ = end.fresh()
    done = end.step("finish", end.route(source, target), uuid.uuid4().hex)
    assert (done.exit, "clear the route's plan" in done.error) == (110, True)
