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
ENTRY = Entry(
    at=1_700_000_000,
    run="manual__1",
    dag="fs_sync_rsync",
    state="ok",
    files=3,
    bytes=3_000_000,
    seconds=2.5,
    rate=1_500_000,
    scanned=10,
    scan="full",
    largest=2_000_000,
    changed=1,
    emptied=0,
    definition="d",
    anomalies=("growth",),
)
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
    before = {name: value for name, value in PLAIN.items() if name not in ("changed", "emptied", "definition")}
    assert history.read([before]) == ((replace(ENTRY, changed=0, definition=""),), "")
    assert history.usual(history.read([before] * 10)[0], "d") == {}, "of which route these runs were can't be told"


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
    worst = Entry(*(history.LAST_SECOND,), long, long, "nothing to do", *(2**63 - 1,) * 2, 10.0**9, *(2**63 - 1,) * 2, "quick", *(2**63 - 1,) * 3, long, (long,) * 20, long)  # fmt: skip
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
    raw = b"count scanned 9\ncount source 12\ncount new 1\ncount changed 1\ncount emptied 1\ncount moved 2\nbytes files 600\nbytes largest 400\n"
    raw += b"phase copy 3\nscan full\nanomaly run_bytes warn much\nanomaly run_bytes warn more\nanomaly mismatch warn one\n"
    done = report.report(records.parse(raw), route="tree", backend="rsync", source="a:/a", target="b:/b", dag_id="d", total=5.5)
    assert history.of_report(done, 1_700_000_000.9, "run", ("Transfer by ann",), definition="0123abc") == Entry(
        at=1_700_000_000,
        run="run",
        dag="d",
        state="ok",
        files=2,
        bytes=600,
        seconds=5.5,
        rate=200,
        scanned=12,
        scan="full",
        largest=400,
        changed=1,
        emptied=1,
        definition="0123abc",
        anomalies=("Transfer by ann", "run_bytes", "mismatch"),
    )
    failed = history.of_report(done, 1, "run", error="SourceError: it\nis gone" + "!" * 1000)
    assert (failed.state, len(failed.error)) == ("failed", history.ERROR)
    assert failed.error.startswith("SourceError: it is gone!")
    # A quick scan of a host looks at a few names: how many files there are it does not say.
    few = {name: count for name, count in done.counts.items() if name != "source"}
    assert history.of_report(replace(done, scan="quick", counts=few), 1, "run").scanned == 0
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


FIGURES = ("bytes", "files", "largest", "changed", "emptied")


def exceeded(limits: dict[str, int], entry: Entry) -> set[str]:
    """What is unusual about a run, as plan finds it."""
    found = {name for name in FIGURES if name in limits and getattr(entry, name) > limits[name]}
    if not entry.scanned or 2 * entry.changed < entry.scanned:
        found -= {"changed"}
    return found | ({"source"} if "fewest" in limits and entry.scanned < limits["fewest"] else set())


def healthy(chance: random.Random, runs: int) -> list[Entry]:
    """A route of its own rhythm: of some size and spread, with idle days, now and then a failure, and a source that grows."""
    files, size, width = chance.randint(1, 5000), 10 ** chance.uniform(1, 10), chance.uniform(0.0, 0.6)
    source, growth, idle = files * chance.randint(10, 1000), chance.uniform(0, 0.02), chance.uniform(0, 0.5)
    made = []
    for number in range(runs):
        source += int(source * growth)
        factor = min(5.0, max(0.2, chance.lognormvariate(0, width)))
        moved = 0 if chance.random() < idle else max(1, int(files * factor))
        scan = chance.choice(("full", "quick"))
        made.append(
            Entry(
                at=number,
                run=f"run-{number}",
                dag="d",
                state="failed" if chance.random() < 0.05 else "ok" if moved else "nothing to do",
                files=moved,
                bytes=int(moved * size / files),
                seconds=chance.uniform(0.1, 1000),
                rate=int(size) if moved else 0,
                scanned=source if scan == "full" else 0,
                scan=scan,
                largest=int(size * factor / 2) if moved else 0,
                changed=int(moved * chance.random()),
                emptied=chance.choice((0, 0, 0, 1, 2)) if moved else 0,
                definition="d",
            )
        )
    return made


@pytest.mark.parametrize("seed", range(20))
def test_a_healthy_history_calls_nothing_unusual(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(3):
        kept: tuple[Entry, ...] = ()
        for entry in healthy(chance, 70):
            limits = history.usual(kept, "d")
            plan = entry if entry.scan == "full" else replace(entry, scanned=limits.get("source", 0))
            assert exceeded(limits, plan) == set(), (limits, entry)
            kept = history.added(kept, entry)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_far_outside_a_healthy_history_is_unusual(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(10):
        kept = tuple(healthy(chance, 60))
        copied = [one for one in kept if one.state == "ok"]
        limits = history.usual(kept, "d")
        assert set(FIGURES) <= set(limits)
        # However the numbers lie, a hundred times the largest of them is far, where it is enough to speak of.
        wild = {name: 100 * max(history.LEAST[name], *(getattr(one, name) for one in copied)) for name in FIGURES}
        assert exceeded(limits, replace(ENTRY, scanned=wild["changed"], **wild)) >= set(FIGURES)


def of(name: str, numbers: tuple[int, ...], **more: Any) -> tuple[Entry, ...]:
    return tuple(replace(ENTRY, run=f"r{place}", **{name: number, **more}) for place, number in enumerate(numbers))


@pytest.mark.parametrize(
    ("name", "numbers", "limit"),
    [
        ("bytes", (10**8,) * 5, 10**9),  # ten times the median
        ("bytes", (10**8, 10**8, 3 * 10**8, 5 * 10**8, 5 * 10**8), 3 * 10**9),
        ("bytes", (0, 0, 100_000_000, 200_000_000, 200_000_000), 1_100_000_000),  # ten times the spread away from it
        ("bytes", (10,) * 5, 10_000_000),  # too little to speak of
        ("bytes", (0,) * 6, 10_000_000),
        ("files", (100,) * 6, 1000),
        ("files", (2,) * 6, 50),
        ("largest", (5_000_000,) * 7, 50_000_000),
        ("changed", (0,) * 5, 20),
        ("changed", (7,) * 5, 70),
        ("emptied", (0,) * 5, 10),
        ("bytes", (2**63 - 1,) * 5, 2**63 - 1),
    ],
)
def test_where_the_limits_are(name: str, numbers: tuple[int, ...], limit: int) -> None:
    assert history.usual(of(name, numbers), "d")[name] == limit


def test_what_comes_twice_is_no_surprise_and_neither_is_what_people_let_through_twice() -> None:
    """A night's batch among the hours' few files; the first copy of all, which comes once, says nothing."""
    hours = runs(40, files=3, changed=2, bytes=1000)
    night = replace(hours[0], run="night", files=5000, changed=5000, bytes=10**9)
    assert history.usual((*hours, night), "d") == history.usual(hours, "d")
    twice = history.usual((*hours, night, replace(night, run="another")), "d")
    assert (twice["files"], twice["changed"], twice["bytes"]) == (10_000, 10_000, 2 * 10**9)
    answers = [replace(ENTRY, run=history.of_answer(name), files=700, bytes=10**9) for name in "ab"]
    asked = history.usual((*hours, *answers), "d")
    assert (asked["changed"], asked["emptied"], asked["largest"]) == (1400, 1400, 2 * 10**9)
    assert (asked["source"], asked["fewest"]) == (history.usual(hours, "d")["source"], history.usual(hours, "d")["fewest"])


@pytest.mark.parametrize(
    ("numbers", "usual", "fewest"),
    [
        ((100,) * 5, 100, 50),
        ((101,) * 5, 101, 51),
        ((1,) * 5, 1, 1),  # none is fewer than one
        ((0,) * 5, 0, 0),  # a source that is empty as a rule can't be emptied
        ((98, 99, 100, 101, 102), 100, 50),
        ((90, 93, 100, 107, 110), 100, 30),  # ten times the spread below the median
        ((50, 80, 100, 120, 150), 100, 1),  # where there always were some, none is too few
        ((0, 80, 100, 120, 150), 100, 0),
        ((100,) * 8 + (0,) * 2, 100, 0),  # an inbox that is empty by night
        ((100,) * 8 + (0,), 100, 50),
    ],
)
def test_how_few_files_are_too_few(numbers: tuple[int, ...], usual: int, fewest: int) -> None:
    limits = history.usual(of("scanned", numbers, files=0, bytes=0, state="nothing to do"), "d")
    assert (limits["source"], limits["fewest"], limits["last"]) == (usual, fewest, numbers[-1])


def test_of_a_pair_the_full_runs_are_kept_among_the_quick_ones() -> None:
    kept: tuple[Entry, ...] = ()
    for number in range(600):
        full = number % 120 == 0
        one = replace(
            ENTRY, at=number, run=f"{number}", scan="full" if full else "quick", scanned=100 if full else 0, state="nothing to do"
        )
        kept = history.added(kept, replace(one, files=0, bytes=0))
    assert [one.at for one in kept if one.scan == "full"] == [0, 120, 240, 360, 480]
    assert history.usual(kept, ENTRY.definition)["fewest"] == 50
    assert len(kept) == history.KEPT


def test_a_few_runs_are_no_history() -> None:
    assert history.usual((), "d") == {}
    assert history.usual(runs(history.FEWEST - 1), "d") == {}
    assert set(history.usual(runs(history.FEWEST), "d")) == {*FIGURES, "source", "fewest", "last"}
    # Those that copied nothing say how large the source is, and that nothing changes there.
    idle = runs(history.FEWEST - 1) + runs(20, state="nothing to do", files=0)
    assert set(history.usual(idle, "d")) == {"source", "fewest", "last", "changed", "emptied"}
    # And quick scans say all but that.
    assert set(history.usual(runs(9, scan="quick", scanned=0), "d")) == set(FIGURES)


def test_only_green_runs_of_the_route_as_it_is_count() -> None:
    wild: dict[str, Any] = {"files": 10**6, "bytes": 10**15, "largest": 10**15, "changed": 10**6, "emptied": 10**6, "scanned": 10**9}
    others = (
        *runs(30, state="failed", **wild),
        *runs(30, definition="another", **wild),
        *runs(30, definition="", **wild),
    )
    assert history.usual(others, "d") == {}
    assert history.usual((*others, *runs(6)), "d") == history.usual(runs(6), "d")
    assert history.patience(others[:90], "d", "full", 1, 1, None) is None


def test_what_a_route_takes() -> None:
    known = runs(6, seconds=10.0, rate=1_000_000, bytes=10_000_000, files=100)  # ten files a second
    assert history.rate(known) == 1_000_000
    assert history.patience(known, "d", "full", 100, 10_000_000, None) == 60 + 3 * (10 + 10 + 10)
    assert history.patience(known, "d", "full", 0, 0, None) == 60 + 3 * 10
    assert history.patience(known, "d", "full", 0, 10_000_000, 100_000) == 60 + 3 * (10 + 100), (
        "the route's limit, where it is the lower one"
    )
    assert history.patience(known, "d", "full", 0, 10_000_000, 10**12) == 60 + 3 * (10 + 10)
    assert history.patience(known[:4], "d", "full", 1, 1, None) is None
    assert history.patience(known, "another", "full", 1, 1, None) is None
    assert history.patience((), "d", "full", 1, 1, None) is None


def test_what_copied_nothing_says_nothing_of_the_rate() -> None:
    idle = runs(20, state="nothing to do", rate=0, bytes=0, files=0)
    assert history.rate(idle) == history.rate(()) == history.rate(runs(9, state="failed")) == 0
    assert history.rate((*idle, *runs(1))) == ENTRY.rate
    assert history.patience((*idle, *runs(4)), "d", "full", 1, 1, None) is None
    assert history.patience((*idle, *runs(5)), "d", "full", 1, 1, None) is not None
    assert history.patience(runs(9, seconds=0.0), "d", "full", 1, 1, None) is None
    # Files of no bytes at all are no copy by which a rate is known.
    assert history.patience(runs(9, bytes=0), "d", "full", 1, 1, None) is None


def test_figures_of_any_size_never_raise_and_limits_stay_within_a_whole_number_of_the_shell() -> None:
    chance = random.Random(3)
    odd = (0, 1, 2, 10**6, 2**31, 2**62, 2**63 - 2, 2**63 - 1)
    for _ in range(1000):
        entries = [
            replace(
                ENTRY,
                **{name: chance.choice((chance.choice(odd), chance.randrange(2**63))) for name in (*FIGURES, "scanned", "rate")},
                run=chance.choice(("a", history.of_answer("a"))),
                state=chance.choice(history.STATES),
                scan=chance.choice(history.SCANS),
                definition=chance.choice(("d", "d", "d", "", "e")),
                seconds=chance.choice((0.0, 5e-324, 0.001, 1.0, history.LONGEST)),
            )
            for _ in range(chance.randrange(40))
        ]
        limits = history.usual(entries, "d")
        assert all(type(limit) is int and limit >= 0 for limit in limits.values()), limits
        # A median is a float, which rounds the largest number up by one.
        assert all(limit <= records.LARGEST + (name in ("source", "fewest")) for name, limit in limits.items()), limits
        assert "fewest" not in limits or limits["fewest"] <= max(1, limits["source"])
        assert 0 <= history.rate(entries) <= 2**63
        patience = history.patience(entries, "d", "full", chance.choice(odd), chance.choice(odd), chance.choice((None, *odd[1:])))
        assert patience is None or patience >= history.GRACE
