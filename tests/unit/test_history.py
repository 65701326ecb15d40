"""The history of a route: whatever stands in the store is read, it stays small, and people can read its table."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest

from fs_sync import history, records, report
from fs_sync.history import Entry
from fs_sync.options import NAME

AIRFLOWS_LIMIT = 65535
ENTRY = Entry(1_700_000_000, "manual__1", "fs_sync_rsync", "ok", 3, 3_000_000, 2.5, 1_500_000, 10, "full", 2_000_000, ("growth",), "")
PLAIN = history.plain([ENTRY])[0]


def runs(count: int, **changed: Any) -> tuple[Entry, ...]:
    """So many entries, an hour between them."""
    return tuple(replace(ENTRY, at=ENTRY.at + 3600 * number, run=f"run-{number}", **changed) for number in range(count))


def test_what_is_written_is_read_again() -> None:
    entries = (*runs(3), replace(ENTRY, run="bad", state="failed", anomalies=(), error="SourceError: the path is gone", scan="quick"))
    stored = json.loads(json.dumps(history.plain(entries), allow_nan=False))
    assert history.read(stored) == (entries, "")


def test_no_route_has_the_key_of_a_history() -> None:
    assert NAME.fullmatch("tree")
    assert not NAME.fullmatch(history.key("tree"))


def test_nothing_stored_is_no_fault() -> None:
    assert history.read(None) == ((), "")
    assert history.read([]) == ((), "")


@pytest.mark.parametrize("state", ["text", 7, 1.5, True, {}, {"entries": []}, object(), float("nan")])
def test_what_is_no_history_is_said(state: object) -> None:
    entries, fault = history.read(state)
    assert entries == ()
    assert "not a list of entries" in fault


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (None, "nothing and not an entry"),
        ("x", "a text and not an entry"),
        ([PLAIN], "a list and not an entry"),
        ({}, "without 'at'"),
        ({**PLAIN, "at": -1}, "'at' -1"),
        ({**PLAIN, "at": 10**30}, "'at' 1000"),
        ({**PLAIN, "at": True}, "'at' True"),
        ({**PLAIN, "at": "1700000000"}, "'at' '1700000000'"),
        ({**PLAIN, "run": None}, "'run' None"),
        ({**PLAIN, "state": "green"}, "none of ok, nothing to do, failed"),
        ({**PLAIN, "state": ["ok"]}, "'state' a list"),
        ({**PLAIN, "files": 1.5}, "'files' 1.5"),
        ({**PLAIN, "bytes": 2**63}, "'bytes' 9223372036854775808"),
        ({**PLAIN, "seconds": float("inf")}, "no number of seconds"),
        ({**PLAIN, "seconds": float("nan")}, "no number of seconds"),
        ({**PLAIN, "scan": "slow"}, "none of full, quick"),
        ({**PLAIN, "anomalies": "growth"}, "no list of words"),
        ({**PLAIN, "anomalies": [1]}, "no list of words"),
        ({**PLAIN, "error": {"a": "b"}}, "'error' an object"),
    ],
)
def test_an_entry_that_is_none_is_left_out_and_said(wrong: object, said: str) -> None:
    entries, fault = history.read([PLAIN, wrong, PLAIN])
    assert entries == (ENTRY, ENTRY)
    assert fault.startswith("has 1 of 3 entries that can't be read; the first is [1] ")
    assert said in fault


def test_what_an_older_or_a_newer_version_wrote_is_read() -> None:
    least = {name: PLAIN[name] for name in ("at", "run", "dag", "state")}
    assert history.read([least, {**PLAIN, "more": 1}]) == ((Entry(ENTRY.at, ENTRY.run, ENTRY.dag, ENTRY.state), ENTRY), "")


def test_noise_never_raises_and_the_table_of_it_is_printable() -> None:
    chance = random.Random(1)
    odd: tuple[Any, ...] = (
        None,
        True,
        -1,
        0,
        2**63 - 1,
        2**70,
        0.5,
        float("nan"),
        "",
        "ok",
        "failed",
        "full",
        "a\n\x1b[31m\ud800",
        [],
        ["w\n"],
        {},
    )
    for _ in range(2000):
        given = {name: chance.choice((value, chance.choice(odd))) for name, value in PLAIN.items() if chance.random() < 0.95}
        entries, fault = history.read([chance.choice(odd), given])
        json.dumps(history.plain(entries), allow_nan=False)
        assert "\n".join(history.table({"r": entries})).replace("\n", "").isprintable()
        assert fault.isprintable()


def test_the_newest_are_kept() -> None:
    kept: tuple[Entry, ...] = ()
    for entry in runs(200):
        kept = history.added(kept, entry)
    assert kept == runs(200)[-history.KEPT :]
    assert history.read(history.plain(runs(200)))[0] == kept


def test_idle_and_failed_runs_make_room_before_copies() -> None:
    kept = runs(30)
    for entry in runs(500, state="nothing to do", dag="quick"):
        kept = history.added(kept, entry)
    assert kept[:30] == runs(30)
    assert [one.run for one in kept[30:]] == [f"run-{number}" for number in range(470, 500)]
    for entry in runs(500, state="failed", dag="full"):
        kept = history.added(kept, entry)
    assert kept[:30] == runs(30)
    assert len(kept) == history.KEPT


def test_a_run_stands_there_once_with_its_last_end() -> None:
    before = history.added(runs(2), replace(ENTRY, run="again", state="failed", error="SourceError"))
    after = history.added(before, replace(ENTRY, run="again"))
    assert after == (*runs(2), replace(ENTRY, run="again"))
    assert len(history.added(after, replace(ENTRY, run="again", dag="another"))) == 4


def test_the_largest_history_is_well_below_airflows_limit() -> None:
    long = '\N{PILE OF POO}"\\' * 500
    worst = Entry(*(history.LAST_SECOND,), long, long, "nothing to do", *(2**63 - 1,) * 2, 10.0**9, *(2**63 - 1,) * 2, "quick", 2**63 - 1, (long,) * 20, long)  # fmt: skip
    state = [{**history.plain([worst])[0], "run": f"{number}{long}", "state": "ok"} for number in range(300)]
    entries, fault = history.read(state)
    assert fault == ""
    kept: tuple[Entry, ...] = ()
    for entry in entries:
        kept = history.added(kept, entry)
    assert len(kept) >= 10
    assert len(json.dumps(history.plain(kept))) <= history.LIMIT < AIRFLOWS_LIMIT * 0.95
    usual: tuple[Entry, ...] = ()
    for entry in runs(200):
        usual = history.added(usual, replace(entry, run=f"scheduled__2026-01-01T00:00:00+00:00-{entry.at}"))
    assert len(usual) == history.KEPT
    assert len(json.dumps(history.plain(usual))) < AIRFLOWS_LIMIT / 3


def test_an_entry_is_made_of_a_report() -> None:
    raw = b"count scanned 9\ncount new 2\ncount moved 2\nbytes files 600\nphase copy 3\nscan full\n"
    done = report.report(records.parse(raw), route="tree", backend="rsync", source="a:/a", target="b:/b", dag_id="d", total=5.5)
    assert history.of_report(done, 1_700_000_000.9, "run", ("growth",)) == Entry(
        1_700_000_000, "run", "d", "ok", 2, 600, 5.5, 200, 9, "full", 0, ("growth",), ""
    )
    failed = history.of_report(done, 1, "run", error="SourceError: it\nis gone" + "!" * 1000)
    assert (failed.state, len(failed.error)) == ("failed", history.ERROR)
    assert failed.error.startswith("SourceError: it is gone!")
    # A quick scan looks at a few names: how many files there are it does not know.
    assert history.of_report(replace(done, scan="quick"), 1, "run").scanned == 0
    assert history.of_report(replace(done, state="nothing to do"), 1, "run").state == "nothing to do"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), (0, 0)),
        ((7,), (7, 0)),
        ((1, 2, 3, 4, 100), (3, 1)),
        ((10, 20), (15, 5)),
        ((5, 5, 5, 5, 1_000_000), (5, 0)),
    ],
)
def test_what_is_typical(given: tuple[float, ...], expected: tuple[float, float]) -> None:
    assert history.typical(given) == expected
    assert history.typical(iter(given)) == expected


def test_the_table() -> None:
    entries = (
        ENTRY,
        replace(ENTRY, at=ENTRY.at + 60, run="2", state="nothing to do", scan="quick", files=0, bytes=0, rate=0, anomalies=()),
        replace(ENTRY, at=ENTRY.at + 120, run="3", state="failed", bytes=700_000, anomalies=("late", "few"), error="SourceError: gone"),
    )
    assert history.table({"tree": entries, "a-longer-name": entries[:1], "new": ()}) == [
        "when (UTC)           route          state                 files    size             time      rate  anomalies, error",
        "2023-11-14 22:15:20  tree           failed                    3  700 kB  ##        2.5 s  1.5 MB/s  late, few; SourceError: gone",
        "2023-11-14 22:14:20  tree           nothing to do, quick      0     0 B            2.5 s         -",
        "2023-11-14 22:13:20  tree           ok                        3    3 MB  ########  2.5 s  1.5 MB/s  growth",
        "2023-11-14 22:13:20  a-longer-name  ok                        3    3 MB  ########  2.5 s  1.5 MB/s  growth",
    ]
    assert len(history.table({"tree": entries}, last=0)) == 1
