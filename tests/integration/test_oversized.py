"""Files above max_file: held, asked for once, and brought as they were approved, by every backend and to every kind of target."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.place import small_disk
from lab.processes import until
from lab.tree import checksums, write, write_big
from tests.integration.driver import ENDS, Copy, Done, End, needs_root, on, shown
from tests.integration.test_semantics_trouble import copying, kill

MEBI = 1024 * 1024
LIMITS: dict[str, Any] = {"large_file": "512K", "max_file": "1M"}
ODD = 'it\'s $(x) `y` "z" größe'


@dataclass
class Asked:
    """A route with an oversized file or two, and its runs."""

    end: End
    source: Path
    target: str
    options: dict[str, Any] = field(default_factory=dict)

    def run(self, *, waits: str = "", tiers: bool = False, **options: Any) -> tuple[str, Copy]:
        """One run of the route; `waits` names the run whose question is still open."""
        made, run = Copy(self.end.route(self.source, self.target, **{**LIMITS, **self.options, **options})), uuid.uuid4().hex
        more = {"FS_SYNC_ASKED": waits} if waits else {}
        made.steps.append(self.end.step("plan", made.route, run, more=more))
        if made.exit == 0 and not made.records.nothing:
            made.steps += [self.end.step(step, made.route, run) for step in (*(("small", "large") if tiers else ()), "finish")]
        return run, made.good()

    def answer(self, run: str, answer: str = "", **options: Any) -> Done:
        route = self.end.route(self.source, self.target, **{**LIMITS, **self.options, **options})
        return self.end.step("oversized", route, run, answer=answer)


def held(done: Copy) -> dict[str, str]:
    return {name: reason for name, reason in done.held.items() if "approval" in reason or "max_file" in reason}


@on(*ENDS)
def test_it_waits_is_approved_and_proven(end: End, source: Path) -> None:
    write(source / "small", b"small")
    write_big(source / "large", MEBI // 2 + 1)
    for seed, name in enumerate(("big", ODD)):
        write_big(source / name, MEBI + 1 + seed, seed)
    target, at = end.fresh()
    route = Asked(end, source, target)
    run, done = route.run(tiers=True)
    assert held(done) == {"big": "waits-for-approval", shown(ODD.encode()): "waits-for-approval"}
    assert done.records.tiers["oversized"] == (2, 2 * MEBI + 3)
    assert done.records.oversized == ((str(MEBI + 2), shown(ODD.encode())), (str(MEBI + 1), "big"))
    assert checksums(at).keys() == {b"small", b"large"}
    # A later run asks for nothing that waits, and brings all else.
    write(source / "later", b"later")
    _, second = route.run(waits="dag run one")
    assert held(second) == held(done)
    assert second.records.tiers.get("oversized") is None
    assert "dag run one" in second.steps[0].log
    assert checksums(at).keys() == {b"small", b"large", b"later"}
    approved = route.answer(run, bandwidth="100M")
    assert approved.exit == 0, f"{approved.error}\n{approved.log}"
    assert checksums(at) == checksums(source)
    assert approved.records.counts["moved"] == 2
    if end.name != "rsync-only":
        assert approved.records.digests["source"] == approved.records.digests["target"]
    _, last = route.run()
    assert last.records.nothing
    assert not held(last)


@on("rsync", "rclone", "minio")
def test_what_changed_or_went_away_since_is_not_what_was_approved(end: End, source: Path) -> None:
    for seed, name in enumerate(("same", "changed", "gone")):
        write_big(source / name, MEBI + 1, seed)
    target, at = end.fresh()
    route = Asked(end, source, target)
    run, _ = route.run()
    write_big(source / "changed", MEBI + 1, 7)
    os.utime(source / "changed")
    (source / "gone").unlink()
    approved = route.answer(run)
    assert approved.exit == 0, f"{approved.error}\n{approved.log}"
    assert checksums(at).keys() == {b"same"}
    assert ("changed-since-approval", "changed") in approved.records.held
    assert any("no longer on the source: gone" in note for note in approved.records.notes), (approved.records.notes, approved.log)
    again, done = route.run()
    assert held(done) == {"changed": "waits-for-approval"}
    assert done.records.tiers["oversized"] == (1, MEBI + 1)
    assert route.answer(again).exit == 0
    assert checksums(at) == checksums(source)


@on("rsync", "rclone", "minio")
def test_what_is_left_out_stays_out_until_it_changes(end: End, source: Path) -> None:
    write_big(source / "big", MEBI + 1)
    target, at = end.fresh()
    route = Asked(end, source, target)
    run, _ = route.run()
    answered = route.answer(run, "leave out")
    assert answered.exit == 0, f"{answered.error}\n{answered.log}"
    for _ in range(2):
        _, done = route.run()
        assert held(done) == {"big": "left-out-by-approval"}
        assert done.records.tiers.get("oversized") is None
    assert checksums(at) == {}
    write_big(source / "big", MEBI + 1, 3)
    os.utime(source / "big")
    _, done = route.run()
    assert held(done) == {"big": "waits-for-approval"}


@on(*ENDS)
def test_skip_and_transfer(end: End, source: Path) -> None:
    write(source / "small", b"small")
    write_big(source / "big", MEBI + 1)
    target, at = end.fresh()
    route = Asked(end, source, target)
    _, done = route.run(oversized="skip")
    assert held(done) == {"big": "larger-than-max_file"}
    assert checksums(at).keys() == {b"small"}
    assert done.records.tiers.get("oversized") is None
    _, done = route.run(oversized="transfer")
    assert not held(done)
    assert checksums(at) == checksums(source)
    # There already, so nothing is asked, and all of it is still verified.
    _, done = route.run(verify="all")
    assert not held(done)
    assert done.equal in (True, None)


@on("rsync", "rclone", "minio")
def test_no_guard_is_undone_between_plan_and_finish(end: End, source: Path) -> None:
    """What grows above the limit after plan, and what was too young for it, comes only when somebody has said yes."""
    write(source / "grows", b"small")
    write(source / "other", b"other")
    write_big(source / "young", MEBI + 1)
    os.utime(source / "young")
    target, at = end.fresh()
    run = uuid.uuid4().hex
    route = end.route(source, target, **LIMITS, min_age="10m")
    for name in ("grows", "other"):
        os.utime(source / name, ns=(0, 0))
    assert end.step("plan", route, run).exit == 0
    write_big(source / "grows", MEBI + 1)
    for name in ("grows", "young"):
        os.utime(source / name, ns=(10**9, 10**9))
    done = end.step("finish", route, run)
    assert done.exit == 0, f"{done.error}\n{done.log}"
    assert checksums(at).keys() == {b"other"}
    assert {name for _, name in done.records.held} == {"grows", "young"}


@on("rsync", "rclone")
def test_a_quick_scan_asks_too_and_again(end: End, source: Path) -> None:
    write(source / "small", b"small")
    target, _ = end.fresh()
    first = end.copy(source, target, scan="quick", **LIMITS).good()
    write_big(source / "big", MEBI + 1)
    second = end.copy(source, target, scan="quick", after=first, **LIMITS).good()
    assert second.records.scan == "quick"
    assert second.held == {"big": "waits-for-approval"}
    third = end.copy(source, target, scan="quick", after=second, **LIMITS).good()
    assert third.records.scan == "quick"
    assert third.held == {"big": "waits-for-approval"}


@on("rsync")
def test_each_question_has_its_own_list(end: End, source: Path) -> None:
    """Two runs may ask, as where Airflow's store was lost; either answer is for the files as they were, and is carried out once."""
    write_big(source / "big", MEBI + 1)
    target, at = end.fresh()
    route = Asked(end, source, target)
    old, _ = route.run()
    new, _ = route.run()
    assert route.answer(old).exit == 0
    assert checksums(at) == checksums(source)
    assert route.answer(new).exit == 0
    again = end.step("oversized", end.route(source, target, **LIMITS), new, generation=1)
    assert (again.exit, "carried out before" in again.error) == (101, True)


@on("rsync", "rclone", "minio")
def test_an_answer_is_for_its_own_files_alone(end: End, source: Path) -> None:
    """What an earlier answer began and a later one left out is not brought by a third one for another file."""
    for seed, name in enumerate(("first", "dir/second", "third")):
        (source / name).parent.mkdir(exist_ok=True)
        write_big(source / name, MEBI + 1, seed)
    target, at = end.fresh()
    route = Asked(end, source, target)
    run, _ = route.run(exclude=["third"])
    # It is in doubt from the moment in which its copy begins.
    named = end.start("oversized", end.route(source, target, **LIMITS, bandwidth="64K"), run)
    until(copying(end, named), "the copy of what was approved", timeout=60, every=0.02)
    kill(end, named)
    end.abandon()
    again, done = route.run(exclude=["third"])
    assert set(held(done).values()) == {"waits-for-approval"}
    assert route.answer(again, "leave out").exit == 0
    _, idle = route.run(exclude=["third"])
    assert idle.records.nothing
    last, done = route.run()
    assert held(done) == {"first": "left-out-by-approval", "dir/second": "left-out-by-approval", "third": "waits-for-approval"}
    approved = route.answer(last)
    assert approved.exit == 0, f"{approved.error}\n{approved.log}"
    assert {name for name in checksums(at) if not name.endswith(b".fs-sync") and b"/.fs-sync/" not in b"/" + name} == {b"third"}


@needs_root
@on("rsync", "rclone")
def test_what_was_approved_needs_room_too(end: End, source: Path) -> None:
    write_big(source / "big", 5 * MEBI)
    target, at = end.fresh()
    with small_disk(at):
        route = Asked(end, source, target)
        run, _ = route.run()
        refused = route.answer(run)
        assert (refused.exit, "has no room" in refused.error) == (107, True), refused.log
        assert checksums(at) == {}


@on("rsync")
def test_what_is_oversized_is_named_before_all_else_that_is_held(end: End, source: Path) -> None:
    for number in range(25):
        os.mkfifo(source / f"fifo {number}")
    write_big(source / "big", MEBI + 1)
    _, done = Asked(end, source, end.fresh()[0]).run(oversized="skip")
    assert done.held["big"] == "larger-than-max_file"
    assert done.counts["held"] == 26
