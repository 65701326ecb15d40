"""What is unusual is told before anything moves, by each policy, on real files; and a healthy route is left in peace."""

from __future__ import annotations

import os
import random
import time
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fs_sync import history, report
from fs_sync.history import Entry
from fs_sync.options import Route
from lab.processes import until
from lab.tree import checksums, write, write_big
from tests.integration.driver import BY_RSYNC, ENDS, Copy, Done, End, cursor_of, on
from tests.integration.test_semantics_trouble import half_way, kill

DAY = 86400
QUIET = dict.fromkeys(("future_mtime", "old_mtime", "huge_file"), "ignore")


@dataclass
class Watched:
    """A route with a history, of which each run is added as the operator does it."""

    end: End
    source: Path
    target: str
    options: dict[str, Any] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()
    last: Copy | None = None

    def run(self, *, dry_run: bool = False, waits: str = "", **options: Any) -> Copy:
        route = self.end.route(self.source, self.target, **{**self.options, **options})
        made, run = Copy(route), uuid.uuid4().hex
        limits = history.usual(self.entries, "d")
        more = {**cursor_of(self.last), "FS_SYNC_USUAL": " ".join(f"{name}={limit}" for name, limit in limits.items())}
        more |= {"FS_SYNC_ASKED": waits} if waits else {}
        made.steps.append(self.end.step("plan", route, run, more=more, dry_run=dry_run))
        if made.exit == 0 and not made.records.nothing and not dry_run:
            made.steps.append(self.end.step("finish", route, run))
        if made.exit == 0 and not dry_run:
            said = report.report(made.records, route="r", backend="", source="", target="", total=1.0)
            self.entries = history.added(self.entries, history.of_report(said, time.time(), run, definition="d"))
            self.last = made
        return made

    def answer(self, answer: str = "") -> Done:
        assert self.last is not None
        run = next(one.run for one in reversed(self.entries))
        return self.end.step("oversized", self.last.route, run, answer=answer)


def usually(files: int = 10, size: int = 1000, **changes: Any) -> tuple[Entry, ...]:
    """A history of six like runs."""
    one = Entry(1, "r", "d", "ok", files=files, bytes=files * size, largest=size, seconds=1.0, rate=size, definition="d")
    return tuple(replace(one, run=f"r{number}", **changes) for number in range(6))


def told(done: Copy | Done) -> dict[str, str]:
    return {name: policy for name, policy, _ in done.records.anomalies}


def fill(source: Path, names: list[str], content: bytes = b"content", at: float | None = None) -> None:
    for name in names:
        write(source / name, content + name.encode())
        if at is not None:
            os.utime(source / name, (at, at))


def arrived(at: Path) -> set[str]:
    return {name.decode() for name in checksums(at)}


# Of each anomaly: how it is made, with what history, and which files are in question.
def in_the_future(route: Watched) -> set[str]:
    fill(route.source, ["a", "b"], at=time.time() + 3 * DAY)
    return {"a", "b"}


def long_ago(route: Watched) -> set[str]:
    fill(route.source, ["a", "dir/b"], at=time.time() - 400 * DAY)
    return {"a", "dir/b"}


def huge(route: Watched) -> set[str]:
    route.options["large_file"] = "100K"
    write_big(route.source / "a", 1_100_000)
    return {"a"}


def large_for_it(route: Watched) -> set[str]:
    route.entries = usually(largest=1000)
    write_big(route.source / "a", 11_000_000)
    return {"a"}


def many_bytes(route: Watched) -> set[str]:
    route.entries = usually(largest=5_000_000)
    for name in "abc":
        write_big(route.source / name, 4_000_000, ord(name))
    return {"a", "b", "c", "usual"}


def many_files(route: Watched) -> set[str]:
    route.entries = usually(files=10)
    names = [f"new {number}" for number in range(110)]
    fill(route.source, names)
    return {*names, "usual"}


def shrunk(route: Watched) -> set[str]:
    route.entries = usually(scanned=1000)
    return {"usual"}


def emptied(route: Watched) -> set[str]:
    names = [f"full {number}" for number in range(12)]
    fill(route.source, names)
    route.run(anomalies=dict.fromkeys(QUIET, "ignore"))
    for name in names:
        (route.source / name).write_bytes(b"")
    return set(names)


def changed(route: Watched) -> set[str]:
    names = [f"old {number}" for number in range(30)]
    fill(route.source, names)
    route.run()
    route.entries = usually(scanned=31, changed=1)
    fill(route.source, names, b"changed by now")
    return set(names)


def renamed(route: Watched) -> set[str]:
    names = [f"{number}.jpg" for number in range(30)]
    fill(route.source, names)
    route.run()
    route.entries = usually(scanned=31)
    for name in names:
        (route.source / name).rename(route.source / f"{name}.locked")
    return {f"{name}.locked" for name in names}


MADE = {
    "future_mtime": in_the_future,
    "old_mtime": long_ago,
    "huge_file": huge,
    "file_size": large_for_it,
    "run_bytes": many_bytes,
    "run_files": many_files,
    "source_shrank": shrunk,
    "emptied_files": emptied,
    "changed_files": changed,
    "new_extension": renamed,
}


@on("rsync", "rclone")
@pytest.mark.parametrize("name", MADE)
def test_each_anomaly_by_each_policy(end: End, source: Path, name: str) -> None:
    target, at = end.fresh()
    route = Watched(end, source, target, {"anomalies": {other: "ignore" for other in (*MADE, "source_emptied") if other != name}})
    names = MADE[name](route)
    fill(source, ["usual"], at=time.time() - DAY)
    before, known = checksums(at), route.entries

    def run(policy: str) -> Copy:
        route.entries = known
        return route.run(anomalies={**route.options["anomalies"], name: policy})

    failed = run("fail")
    assert (failed.exit, failed.error.startswith(f"{name}: ")) == (114, True), failed.log
    assert checksums(at) == before
    for policy, reason in (("hold", f"anomaly:{name}"), ("approve", "waits-for-approval")):
        done = run(policy).good()
        assert told(done) == {name: policy}
        assert done.counts["held"] == len(names)
        assert set(done.held.values()) == {reason}
        assert {one: checksums(at).get(one.encode()) for one in names} == {one: before.get(one.encode()) for one in names}
        assert "usual" in names or "usual" in arrived(at)
    answered = route.answer()
    assert (answered.exit, answered.records.counts["moved"]) == (0, len(names)), answered.log
    assert checksums(at).items() >= {key: value for key, value in checksums(source).items() if key.decode() in names}.items()


@on(*ENDS)
def test_without_a_word_from_the_route_some_are_told_and_copied(end: End, source: Path) -> None:
    target, at = end.fresh()
    fill(source, ["a"], at=time.time() + 3 * DAY)
    fill(source, ["b"], at=time.time() - 400 * DAY)
    route = Watched(end, source, target)
    assert told(route.run().good()) == {"future_mtime": "warn"}
    assert arrived(at) == {"a", "b"}
    assert told(route.run().good()) == {}, "what has arrived is no surprise any more"


@on(*ENDS)
def test_a_source_that_is_empty_by_now_fails(end: End, source: Path) -> None:
    target, at = end.fresh()
    fill(source, ["a", "b"])
    route = Watched(end, source, target)
    route.run().good()
    route.entries = usually(scanned=2)
    for name in ("a", "b"):
        (source / name).unlink()
    done = route.run()
    assert (done.exit, done.error.startswith("source_emptied: the source has 0 files, where there are usually 2")) == (114, True)
    assert arrived(at) == {"a", "b"}
    done = route.run(anomalies={"source_emptied": "warn"}).good()
    assert told(done) == {"source_emptied": "warn"}
    # One that holds all its files back is not empty.
    fill(source, ["young"], at=time.time())
    assert told(route.run(min_age="1d", anomalies={"source_shrank": "ignore"}).good()) == {}


@on("rsync", "rclone")
def test_a_quick_scan_knows_them_too_and_holds_them_until_the_policy_is_another(end: End, source: Path) -> None:
    target, at = end.fresh()
    fill(source, ["old"])
    route = Watched(end, source, target, {"scan": "quick"})
    route.run().good()
    fill(source, ["a"], at=time.time() + 3 * DAY)
    for _ in range(2):
        done = route.run(anomalies={"future_mtime": "hold"}).good()
        assert (done.records.scan, done.held) == ("quick", {"a": "anomaly:future_mtime"})
    assert route.run().good().records.scan == "quick"
    assert arrived(at) == {"old", "a"}


@on("rsync", "rclone")
def test_what_waits_for_a_person_waits_until_the_answer(end: End, source: Path) -> None:
    """Though there is less of it by then, so that it would be no surprise any more; what changed since is another file."""
    target, at = end.fresh()
    route = Watched(end, source, target, {"anomalies": {"run_files": "approve"}}, usually(files=1))
    names = [f"new {number}" for number in range(60)]
    fill(source, names)
    asking = route.run().good()
    assert asking.records.tiers["oversized"][0] == 60
    for name in names[:50]:
        (source / name).unlink()
    fill(source, names[58:], b"changed")
    done = route.run(waits="run x").good()
    assert (told(done), done.held) == ({}, dict.fromkeys(names[50:58], "waits-for-approval"))
    assert "oversized" not in done.records.tiers
    assert any("run x" in note for note in done.records.notes)
    assert arrived(at) == set(names[58:])


@on("rsync", "rclone")
def test_what_a_person_leaves_out_is_no_surprise_again(end: End, source: Path) -> None:
    target, at = end.fresh()
    route = Watched(end, source, target, {"anomalies": {"run_files": "approve"}}, usually(files=1))
    fill(source, [f"new {number}" for number in range(60)])
    done = route.run().good()
    assert (arrived(at), done.counts["held"], done.records.tiers["oversized"][0]) == (set(), 60, 60)
    assert route.answer("leave out").exit == 0
    fill(source, ["one more"])
    done = route.run().good()
    assert (told(done), done.counts["held"]) == ({}, 60)
    assert set(done.held.values()) == {"left-out-by-approval"}
    assert arrived(at) == {"one more"}


@on("rsync")
def test_a_dry_run_tells_and_neither_asks_nor_holds_for_later(end: End, source: Path) -> None:
    target, at = end.fresh()
    route = Watched(end, source, target, {"anomalies": {"run_files": "approve"}}, usually(files=1))
    fill(source, [f"new {number}" for number in range(60)])
    done = route.run(dry_run=True)
    assert (done.exit, told(done), dict(done.records.tiers).get("oversized")) == (0, {"run_files": "approve"}, None)
    assert not at.exists()


@on("rsync", "rclone", "rclone-sftp", "minio")
def test_content_that_differs_under_the_same_size_and_time_is_told(end: End, source: Path) -> None:
    target, at = end.fresh()
    fill(source, ["a", "b"])
    route = Watched(end, source, target, {"verify": "all"})
    route.run().good()
    if end.server is None:
        return  # what a store holds can't be changed under the same time
    stamp = (at / "a").stat()
    (at / "a").write_bytes((at / "a").read_bytes().upper())
    os.utime(at / "a", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    done = route.run(anomalies={"mismatch": "fail"})
    assert (done.exit, told(done)) == (114, {"mismatch": "fail"})
    assert checksums(at) == checksums(source)
    (at / "a").write_bytes((at / "a").read_bytes().upper())
    os.utime(at / "a", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert told(route.run().good()) == {"mismatch": "warn"}
    assert checksums(at) == checksums(source)


def breaks(end: End, route: Route, at: Path) -> None:
    """Let a run of a route break in the middle of its copy."""
    assert end.step("plan", route, "broken").exit == 0
    named = end.start("finish", route, "broken")
    until(half_way(end, named, at, 100_000), "the middle of the copy", timeout=60, every=0.05)
    kill(end, named)
    end.abandon()


@on("rsync", "rclone", "rclone-sftp")
def test_what_interrupted_runs_left_is_counted_and_removed_after_a_day(end: End, source: Path) -> None:
    target, at = end.fresh()
    fill(source, ["kept", "dir/gone"])
    route = Watched(end, source, target)
    route.run().good()
    by_rsync = end.kind.backend == "rsync"
    old = (
        [".fs-sync/first", 'dir/.fs-sync/it\'s "odd" größe']
        if by_rsync
        else ["first.0123abcd.fs-sync", "dir/it's odd größe.ffffffff.fs-sync"]
    )
    young = "dir/.fs-sync/later" if by_rsync else "later.00000000.fs-sync"
    never = [
        ".kept.aB3xYz",
        "kept.fs-sync",
        "dir/kept.0123abc.fs-sync",
        "dir/.fs-sync2/kept",
        "jobs/.fs-sync/routes/file",
        "jobs/.fs-sync/file",
    ]
    for name in (*old, young, *never):
        write(at / name, b"half")
        os.utime(at / name, (0, 0))
    os.utime(at / young)
    # A run breaks.
    write_big(source / "large", 3_000_000)
    breaks(end, end.route(source, target, bandwidth="200K"), at)
    assert told(route.run().good()) == {}
    assert (at / old[0]).exists()
    (mark,) = (end.place.source.home / ".fs-sync").rglob("broken:r")
    os.utime(mark, (0, 0))
    done = route.run().good()
    assert told(done) == {"leftovers": "warn"}
    assert "left 3 files at the target; 2 older than a day were removed" in done.log
    assert not any((at / name).exists() for name in old)
    assert all((at / name).exists() for name in (young, *never))
    os.utime(mark, (0, 0))
    os.utime(at / young, (0, 0))
    assert told(route.run().good()) == {"leftovers": "warn"}
    assert not (at / young).exists()
    assert not mark.exists()


@on("rsync")
def test_what_is_still_gone_on_with_is_no_leftover(end: End, source: Path) -> None:
    target, at = end.fresh()
    write_big(source / "large", 5_000_000)
    slow = end.route(source, target, bandwidth="500K")
    breaks(end, slow, at)
    part = at / ".fs-sync/large"
    until(part.exists, "the file in part", timeout=30)
    os.utime(part, (0, 0))
    assert end.step("plan", slow, "first").exit == 0
    end.abandon()
    (mark,) = (end.place.source.home / ".fs-sync").rglob("broken:r")
    os.utime(mark, (0, 0))
    done = end.step("plan", slow, "second")
    assert (done.exit, told(done), part.exists()) == (0, {}, True)


@on("rsync")
def test_fifty_healthy_runs_raise_none(end: End, source: Path) -> None:
    """Sizes, numbers and changes as they come, quiet days and a few large ones among them."""
    target, at = end.fresh()
    route, dice = Watched(end, source, target), random.Random(7)
    for number in range(50):
        if number % 7:
            (source / f"day {number}").mkdir()
            for file in range(dice.randint(1, 12)):
                write_big(source / f"day {number}" / f"{file}.dat", int(dice.lognormvariate(8, 2)) + 1, number * 100 + file)
            for file in dice.sample(sorted(source.rglob("*.dat")), 1):
                file.write_bytes(b"" if dice.random() < 0.2 else dice.randbytes(100))
            if number % 10 == 0:
                for file in dice.sample(sorted(source.rglob("*.dat")), 2):
                    file.unlink()
        done = route.run().good()
        assert told(done) == {}, f"run {number}"
    assert sum(entry.state == "ok" for entry in route.entries) > 35
    assert not [entry for entry in route.entries if entry.anomalies]
    assert checksums(at).items() >= checksums(source).items()


@on(*BY_RSYNC)
@pytest.mark.parametrize("usual", ["files=x bytes=", "files=99999999999999999999999", "=", "fewest=5;touch x"])
def test_limits_that_are_none_limit_nothing(end: End, source: Path, usual: str) -> None:
    fill(source, ["a"])
    done = end.step("plan", end.route(source, end.fresh()[0]), uuid.uuid4().hex, more={"FS_SYNC_USUAL": usual})
    assert (done.exit, told(done)) == (0, {})


@on("rsync", "rclone")
def test_all_else_is_brought_while_much_waits(end: End, source: Path) -> None:
    """Links, modes, empty directories and files of later runs; of more names than a filter could be tried with."""
    target, at = end.fresh()
    route = Watched(end, source, target, {"anomalies": {"run_files": "approve"}}, usually(files=1))
    fill(source, [f"d{number % 7}/{number}" for number in range(1200)])
    assert route.run().good().counts["held"] == 1200
    assert route.answer("leave out").exit == 0
    (source / "d1" / "empty").mkdir()
    (source / "link").symlink_to("d1")
    fill(source, ["d2/more"])
    done = route.run().good()
    assert (done.counts["moved"], arrived(at)) == (1, {"d2/more"})
    assert end.kind.backend == "rclone" or (at / "link").is_symlink()
    assert end.kind.backend == "rclone" or (at / "d1" / "empty").is_dir()
    # Alone too, where nothing else is to be copied.
    (source / "another link").symlink_to("d2")
    route.run().good()
    assert end.kind.backend == "rclone" or (at / "another link").is_symlink()
    assert arrived(at) == {"d2/more"}


@on("rsync", "rclone")
@pytest.mark.parametrize("policy", ["hold", "approve"])
def test_what_a_full_scan_set_aside_a_quick_one_leaves_alone(end: End, source: Path, policy: str) -> None:
    target, at = end.fresh()
    route = Watched(end, source, target, {"anomalies": {"new_extension": policy}})
    names = renamed(route)
    route.run().good()
    reason = "anomaly:new_extension" if policy == "hold" else "waits-for-approval"
    fill(source, ["more.jpg"])
    done = route.run(scan="quick").good()
    assert (set(done.held.values()), done.counts["held"]) == ({reason}, len(names))
    assert "more.jpg" in arrived(at)
    assert not names & arrived(at)


@on("rsync", "rclone")
def test_a_quick_scan_sees_that_all_got_a_further_extension(end: End, source: Path) -> None:
    target, at = end.fresh()
    names = [f"dir/{number}.jpg" for number in range(30)]
    fill(source, names)
    route = Watched(end, source, target, {"scan": "quick", "anomalies": {"new_extension": "hold"}})
    route.run().good()
    fill(source, [f"dir/new {number}.webp" for number in range(30)])
    assert told(route.run().good()) == {}, "the old ones are still there"
    for name in names:
        (source / name).rename(source / f"{name}.locked")
    done = route.run().good()
    assert (done.records.scan, told(done), done.counts["held"]) == ("quick", {"new_extension": "hold"}, 30)
    assert not [name for name in arrived(at) if name.endswith(".locked")]


@on("rsync", "rclone", "rclone-sftp")
def test_empty_files_that_were_but_touched_did_not_become_empty(end: End, source: Path) -> None:
    target, at = end.fresh()
    names = [f"{number}/__init__.py" for number in range(15)]
    for name in names:
        write(source / name, b"")
    route = Watched(end, source, target)
    route.run().good()
    for name in names:
        os.utime(source / name, (time.time() - DAY,) * 2)
    assert told(route.run().good()) == {}
    # Logs are rotated.
    logs = [f"{number}.log" for number in range(15)]
    fill(source, logs)
    route.run().good()
    for name in logs:
        (source / name).rename(source / f"{name}.1")
        (source / name).write_bytes(b"")
    assert told(route.run().good()) == {}
    assert checksums(at).items() >= checksums(source).items()
