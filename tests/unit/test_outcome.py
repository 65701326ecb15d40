"""What becomes of a run: every failed route is named, and nothing else makes it red."""

from __future__ import annotations

import pytest

from fs_sync.outcome import STEPS, Verdict, verdicts


def states(plan: str | None, tiers: str | None, finish: str | None) -> dict[str, str | None]:
    return {"routes": "success", "route.plan_0": plan, "route.small_0": tiers, "route.large_0": "skipped", "route.finish_0": finish}


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        (("success", "skipped", "success"), Verdict("one", "ok")),
        (("success", "skipped", "skipped"), Verdict("one", "ok")),
        (("success", "failed", "success"), Verdict("one", "ok, though small failed")),
        (("skipped", "skipped", "skipped"), Verdict("one", "skipped")),
        (("failed", "upstream_failed", "failed"), Verdict("one", "failed", "plan")),
        (("success", "success", "failed"), Verdict("one", "failed", "finish")),
        (("success", "success", None), Verdict("one", "failed", "finish")),
        (("success", "success", "upstream_failed"), Verdict("one", "failed", "finish")),
        ((None, None, None), Verdict("one", "failed", "plan")),
    ],
)
def test_of_one_route(of: tuple[str | None, str | None, str | None], expected: Verdict) -> None:
    assert verdicts(states(*of), ["one"]) == (expected,)


def test_routes_are_told_apart_by_their_index() -> None:
    found = {f"route.{step}_{index}": "failed" if index == 10 else "success" for index in range(12) for step in STEPS}
    bad = [one.name for one in verdicts(found, [f"r{index}" for index in range(12)]) if one.state == "failed"]
    assert bad == ["r10"]


def test_a_group_that_was_never_expanded_has_failed() -> None:
    found = {"route.plan": "upstream_failed", "route.small": "upstream_failed", "route.finish": "upstream_failed"}
    assert verdicts(found, ["one"])[0].state == "failed"
