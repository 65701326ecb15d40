"""A pair of DAGs over one route, one quick and one full: the cursor goes from the one to the other, and the lock keeps them apart."""

from __future__ import annotations

from lab import tree
from tests.e2e.conftest import FULL, MEBI, PAIR, QUICK, Lab, frozen

SLOW = "2M"
ASSET = f"fs-sync/{PAIR}"


def test_a_pair_shares_its_cursor_and_says_why_a_quick_scan_is_a_full_one(lab: Lab) -> None:
    route = lab.route("pair", files=6)
    lab.configure(PAIR, route)
    report = lab.trigger(QUICK).good().report()
    assert (report["scan"], report["counts"]["moved"]) == ("full", 6)
    assert "Airflow has no cursor of an earlier green run" in str(report["notes"])
    kept = lab.rest.states_of_asset(ASSET)["pair"]
    assert QUICK in kept["token"]

    tree.write(lab.source("pair") / "new", b"new", mtime_ns=1)
    run = lab.trigger(QUICK).good()
    report = run.report()
    assert (report["scan"], report["counts"]["new"], report["counts"]["moved"]) == ("quick", 1, 1)
    assert "scan: quick" in run.log("plan")
    assert lab.same("pair")

    # What only the other half sees is mended by it, and the first one goes on from there.
    (lab.target("pair") / "new").unlink()
    assert lab.trigger(FULL).good().report()["scan"] == "full"
    assert lab.same("pair")
    assert FULL in lab.rest.states_of_asset(ASSET)["pair"]["token"]
    tree.write(lab.source("pair") / "newer", b"newer")
    assert lab.trigger(QUICK).good().report()["scan"] == "quick"
    assert lab.same("pair")

    lab.rest.delete_state_of_asset(ASSET, "pair")
    report = lab.trigger(QUICK).good().report()
    assert report["scan"] == "full"
    assert "Airflow has no cursor" in str(report["notes"])
    lab.configure(PAIR, {**route, "exclude": ["*.never"]})
    report = lab.trigger(QUICK).good().report()
    assert report["scan"] == "full"
    assert "was changed since its last green run" in str(report["notes"])
    # The form of a run has the last word.
    assert lab.trigger(QUICK, scan="full").good().report()["scan"] == "full"
    assert lab.trigger(FULL, scan="quick").good().report()["scan"] == "quick"


def test_the_later_one_is_skipped_with_the_holder_named_and_nothing_is_lost(lab: Lab) -> None:
    lab.configure(PAIR, lab.route("pair-busy", 12 * MEBI, bandwidth=SLOW))
    full = lab.trigger(FULL)
    with frozen(full):
        # After the full one listed the source.
        tree.write(lab.source("pair-busy") / "meanwhile", b"meanwhile")
        quick = lab.trigger(QUICK).good()
        assert quick.state("plan") == "skipped"
        assert f"held by {FULL}" in quick.log("plan")
        assert quick.state("finish") == "skipped"
    full.good()
    after = lab.trigger(QUICK).good()
    assert after.report()["scan"] == "quick"
    assert lab.same("pair-busy")


def test_a_full_one_waits_for_a_route_that_a_quick_one_holds(lab: Lab) -> None:
    """Else the two, which begin in the same second every two hours, would leave it to chance whether there is a full one."""
    lab.configure(PAIR, lab.route("pair-waits", 12 * MEBI, bandwidth=SLOW))
    quick = lab.trigger(QUICK)
    with frozen(quick):
        full = lab.trigger(FULL)
        full.reach("plan", "up_for_retry")
        assert f"held by {QUICK}" in full.log("plan", try_number=1)
    quick.good()
    assert full.good().report()["scan"] == "full"
    assert full.tries("plan") > 1
