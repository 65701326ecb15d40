"""The form of a run says little, and only what it may."""

import pytest

from fs_sync import form
from fs_sync.errors import ConfigError
from fs_sync.options import Endpoint, Route

ROUTE = Route(name="a", source=Endpoint(conn="s", path="/a"), target=Endpoint(conn="t", path="/b"), bandwidth="10M")


def test_the_form_as_it_opens_changes_nothing() -> None:
    opened = {name: spec["default"] for name, spec in form.run_params().items()}
    assert form.read_run(opened) == form.Run()
    assert form.apply_run(ROUTE, form.Run()) == ROUTE


def test_the_form_offers_five_fields() -> None:
    assert set(form.run_params()) == {"routes", "dry_run", "verify", "bandwidth", "scan"}


def test_a_scan_of_the_dag_is_what_the_form_opens_with() -> None:
    """So a person sees it, and may choose the other one."""
    opened = {name: spec["default"] for name, spec in form.run_params("quick").items()}
    assert form.apply_run(ROUTE, form.read_run(opened)).scan == "quick"
    assert form.apply_run(ROUTE, form.read_run({**opened, "scan": "full"})).scan == "full"


def test_a_filled_form() -> None:
    run = form.read_run({"routes": ["b", " a ", "b", ""], "dry_run": True, "verify": "all", "bandwidth": "1M"})
    assert run == form.Run(routes=("b", "a"), dry_run=True, verify="all", bandwidth=2**20)
    assert form.run_from_dict(run.to_dict()) == run
    applied = form.apply_run(ROUTE, run)
    assert (applied.verify, applied.bandwidth) == ("all", 2**20)


def test_zero_lifts_the_limit() -> None:
    assert form.apply_run(ROUTE, form.read_run({"bandwidth": "0"})).bandwidth is None
    assert form.apply_run(ROUTE, form.read_run({"bandwidth": ""})).bandwidth == 10 * 2**20


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"route": ["a"]}, ("'route' is not an option", "did you mean routes?")),
        ({"target": {"path": "/etc"}}, ("'target' is not an option", "known are routes, dry_run, verify, bandwidth, scan")),
        ({"password": "hunter2"}, ("'password'", "Airflow Connection")),
        ({"routes": "a"}, ("routes: 'a' is not a list",)),
        ({"routes": [1]}, ("routes: a list is not a list of names",)),
        ({"dry_run": "yes"}, ("dry_run: 'yes' is not true or false",)),
        ({"dry_run": None}, ("dry_run: null is not true or false",)),
        ({"verify": "md5"}, ("verify: 'md5' is not one of checksum, all, size, none",)),
        ({"bandwidth": "fast"}, ("bandwidth: 'fast' is not a size",)),
        ({"bandwidth": 5}, ("bandwidth: 5 is too low",)),
        ({"bandwidth": "x", "verify": 3}, ("bandwidth: 'x'", "verify: 3")),
    ],
)
def test_refused(given: dict[str, object], words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        form.read_run(given)
    assert [word for word in words if word not in str(caught.value)] == []
    assert "hunter2" not in str(caught.value)
    assert "/etc" not in str(caught.value)


def test_unknown_routes_are_named_with_the_known() -> None:
    with pytest.raises(ConfigError, match=r"no route is named 'c'; known are a, b$"):
        form.chosen(form.Run(routes=("a", "c")), ("a", "b"))
    assert form.chosen(form.Run(), ("a", "b")) == {"a", "b"}


def test_unknown_flat_variables_are_warned_about() -> None:
    keys = (
        *form.FLAT,
        *form.THRESHOLDS,
        "other",
        "fs_sync_rsync",
        "fs_sync_rclone_nightly",
        "fs_sync_mine",
        "fs_sync_source_pth",
        "fs_sync_zzz",
    )
    warnings = form.unknown_flat(keys, known=("fs_sync_mine",))
    assert len(warnings) == 2
    assert "fs_sync_source_pth is read by nothing; did you mean fs_sync_source_path?" in warnings[0]
    assert "fs_sync_zzz" in warnings[1]
    (warning,) = form.unknown_flat(["fs_sync_large_file_mb"])
    assert "did you mean fs_sync_large_file_gb?" in warning
