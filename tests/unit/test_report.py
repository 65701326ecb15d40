"""The report, out of records that may hold anything."""

import json
import random

import pytest

from fs_sync import records, report

GOOD = b"""\
check ok rsync 3.2.7 on the source
version source rsync 3.2.7
version target rsync 3.4.1
kind shell
host source one
host target two
count scanned 12
count new 3
count changed 1
count unchanged 7
count held 1
bytes todo 4096
phase list 1
held younger-than-min_age a name with spaces
"""
MOVED = (
    b"count moved 4\ncount failed 0\nbytes files 4096\nbytes wire 5000\nphase copy 2\nphase verify 1\n"
    b"digest source " + b"a" * 64 + b"\ndigest target " + b"a" * 64 + b"\nmethod sha256 at both ends\n"
)


def made(said, **more):
    return report.report(said, route="r", dag_id="d", backend="rsync", source="s:/a", target="t:/b", **more)


def test_records_are_read():
    said = records.parse(GOOD)
    assert said.kind == "shell"
    assert said.counts == {"scanned": 12, "new": 3, "changed": 1, "unchanged": 7, "held": 1}
    assert said.hosts == {"source": "one", "target": "two"}
    assert said.versions == (("source", "rsync", "3.2.7"), ("target", "rsync", "3.4.1"))
    assert said.checks == (("ok", "rsync", "3.2.7 on the source"),)
    assert said.held == (("younger-than-min_age", "a name with spaces"),)
    assert said.phases == (("list", 1.0),)
    assert records.parse(b"error 107 first\nerror 105 the last one wins\n").error == (105, "the last one wins")
    assert records.parse(b"dry 1\nnothing 1\n").dry
    assert records.parse(b"") == records.Records()


def test_records_go_by_xcom():
    said = records.parse(GOOD + MOVED + b"error 107 full\nnote x\nfailed why name\n")
    assert records.from_dict(json.loads(json.dumps(said.to_dict()))) == said
    assert records.from_dict(None) == records.Records()


def test_steps_are_merged():
    tier = b"count moved 2\nbytes files 100\nbytes wire 10\nphase copy 5\nfailed unreadable x\nnote one\n"
    done = records.merge(records.parse(GOOD), records.parse(tier), records.parse(MOVED + b"held changed-while-copied b\nnote one\n"))
    assert (done.counts["moved"], done.counts["scanned"], done.counts["held"]) == (6, 12, 2)
    assert done.bytes == {"todo": 4096, "files": 4196, "wire": 5010}
    assert done.phases == (("list", 1.0), ("copy", 7.0), ("verify", 1.0))
    assert done.failed == ()
    assert done.held == (("younger-than-min_age", "a name with spaces"), ("changed-while-copied", "b"))
    assert done.notes == ("one",)
    assert records.merge(None) == records.Records()


def test_a_report_is_plain_json_with_a_table():
    done = made(records.merge(records.parse(GOOD), None, records.parse(MOVED)), worker_bytes=2000, total=5.25)
    plain = json.loads(json.dumps(done.to_dict(), allow_nan=False))
    assert plain["state"] == "ok"
    assert plain["counts"] == {"scanned": 12, "new": 3, "changed": 1, "unchanged": 7, "held": 1, "failed": 0, "moved": 4}
    assert plain["bytes"] == {"files": 4096, "wire": 5000, "todo": 4096, "largest": 0, "worker": 2000}
    assert plain["seconds"] == {"list": 1.0, "copy": 2.0, "verify": 1.0, "total": 5.25}
    assert plain["rate"] == 2048
    assert plain["digests"] == {"source": "a" * 64, "target": "a" * 64, "method": "sha256 at both ends", "equal": True}
    assert plain["versions"] == {"source": {"rsync": "3.2.7"}, "target": {"rsync": "3.4.1"}}
    table = report.table(done)
    for text in ("state    ok", "4.1 kB of files", "2 kB over the worker", "equal, aaaa", "younger-than-min_age: a name with spaces"):
        assert text in table, text
    assert len({line.index(line.split("  ")[-1].strip()[:4]) for line in table.splitlines()[:3]}) == 1
    assert report.summary(done) == "r: ok, 4 files, 4.1 kB in 5.2 s, both ends equal, 1 held"


def test_the_states():
    assert made(records.parse(b"nothing 1\n")).state == "nothing to do"
    assert made(records.parse(b"error 107 full\n")).state == "failed"
    dry = made(records.parse(GOOD + b"dry 1\ncheck fail space 3 GB are missing\n"))
    assert dry.state == "dry run"
    assert "check    FAIL  space 3 GB are missing" in report.table(dry)
    assert report.summary(dry) == "r: dry run, would copy 4 files, 4.1 kB; 1 checks failed"
    assert report.summary(made(records.parse(GOOD + b"nothing 1\n"))) == "r: nothing to do, 12 files up to date, 1 held"
    differ = made(records.parse(MOVED.replace(b"target aaa", b"target bbb")))
    assert differ.digests["equal"] is False
    assert "DIFFERENT" in report.table(differ)
    assert made(records.parse(b"method none\n")).digests["equal"] is None


@pytest.mark.parametrize(
    "hostile",
    [
        b"count scanned -1\ncount scanned 1e9\ncount other 3\ncount scanned\n",
        b"phase x nan\nphase y inf\nphase z -1\nphase w 1e400\n",
        b"error x y\nerror 99999 y\nerror\n",
        b"digest source " + b"z" * 64 + b"\ndigest other " + b"a" * 64 + b"\n",
        b"kind evil\nhost middle x\nversion rsync\ncheck maybe x y\n",
        b"\0\xff\xfe no record \r\n" * 100,
    ],
)
def test_what_is_no_record_is_passed_over(hostile):
    said = records.parse(hostile)
    assert (said.counts, said.phases, said.error, said.digests, said.kind, said.checks) == ({}, (), None, {}, "", ())


def test_names_are_shown_as_text_that_everything_can_hold():
    name = b"\xff \x1b[31m \0 \xe2\x80\xae \\#012 {{ 7*7 }} \xc3\xa9"
    ((_, shown),) = records.parse(b"held why " + name + b"\n").held
    assert shown == "\\xff \\x1b[31m \\x00 \\u202e \\#012 {{ 7*7 }} é"
    assert shown.isprintable()


def test_everything_is_bounded():
    flood = b"".join(b"%s why %s\n" % (word, b"n" * 2000) for word in (b"held", b"failed", b"note", b"check ok") for _ in range(500))
    flood += b"count moved 99999999999999999999999\n" + b"phase %s 1\n" % (b"p" * 5000) * 1000
    done = made(records.parse(flood + b"x" * 10_000_000 + b"\nerror 120 the end is read\n"))
    assert done.state == "failed"
    assert (len(done.held), len(done.failed), len(done.notes)) == (20, 20, 1) or len(done.notes) <= 100
    assert len(json.dumps(done.to_dict())) < 256 * 1024
    assert max(len(name) for _, name in done.held) <= 500


def test_noise_never_raises():
    chance = random.Random(1)
    words = [*records.READERS, b"", b"\n"]
    for _ in range(500):
        raw = b"".join(
            chance.choice(words) + b" " * chance.randrange(3) + chance.randbytes(chance.randrange(30)) + b"\n" for _ in range(20)
        )
        done = made(records.merge(records.parse(raw), records.parse(raw)))
        json.dumps(done.to_dict(), allow_nan=False)
        assert report.table(done).isascii() or report.table(done)
        assert report.summary(done)


def test_a_quick_scan_is_told_in_the_table() -> None:
    quick, full = (made(records.parse(GOOD + MOVED + b"scan %s\n" % scan)) for scan in (b"quick", b"full"))
    assert "ok, by a quick scan" in report.table(quick)
    assert "quick scan" not in report.table(full)
    assert (quick.to_dict()["scan"], full.to_dict()["scan"]) == ("quick", "full")


UNUSUAL = b"anomaly future_mtime hold 2 files were last changed in the future: a, b\nanomaly run_bytes warn much\n"


def test_anomalies_are_read_and_told_in_the_table() -> None:
    said = records.parse(GOOD + UNUSUAL)
    assert said.anomalies == (("future_mtime", "hold", "2 files were last changed in the future: a, b"), ("run_bytes", "warn", "much"))
    assert records.from_dict(json.loads(json.dumps(said.to_dict()))) == said
    done = made(records.merge(said, records.parse(MOVED + b"anomaly mismatch fail 1 file\nanomaly run_bytes warn much\n")))
    assert [name for name, _, _ in done.anomalies] == ["future_mtime", "run_bytes", "mismatch"]
    assert done.to_dict()["anomalies"][1] == ["run_bytes", "warn", "much"]
    rows = [line for line in report.table(done).splitlines() if line.startswith("anomaly")]
    assert rows == [
        "anomaly  future_mtime (hold): 2 files were last changed in the future: a, b",
        "anomaly  run_bytes (warn): much",
        "anomaly  mismatch (fail): 1 file",
    ]
    assert "anomaly" not in report.table(made(records.parse(GOOD)))


@pytest.mark.parametrize(
    "raw",
    [
        b"anomaly",
        b"anomaly ",
        b"anomaly run_bytes",
        b"anomaly run_bytes warn",
        b"anomaly run_bytes ignore is told by nobody",
        b"anomaly run_bytes WARN text",
        b"anomaly run_bytes  warn text",
        b"anomaly Run warn text",
        b"anomaly run-bytes warn text",
        b"anomaly run.bytes warn text",
        b"anomaly " + b"a" * 41 + b" warn text",
        b"anomaly \xff warn text",
        b"anomaly run\0 warn text",
        b"anomaly {{x}} warn text",
    ],
)
def test_what_is_no_anomaly_is_passed_over(raw: bytes) -> None:
    assert records.parse(raw + b"\n").anomalies == ()


def test_the_text_of_an_anomaly_is_printable_and_there_are_not_too_many() -> None:
    hostile = b"\xff \x1b[31m \xe2\x80\xae {{ 7*7 }} | `x` "
    said = records.parse(b"anomaly slow warn " + hostile + b"x" * 5000 + b"\r\n")
    ((_, _, text),) = said.anomalies
    assert text.startswith("\\xff \\x1b[31m \\u202e {{ 7*7 }} | `x` xxx")
    assert (text.isprintable(), len(text)) == (True, records.TEXT)
    flood = records.parse(b"".join(b"anomaly slow warn %d\n" % number for number in range(5000)))
    assert len(flood.anomalies) == records.LINES
    other = records.parse(b"".join(b"anomaly slow fail %d\n" % number for number in range(5000)))
    assert len(records.merge(flood, other).anomalies) == records.LINES
    assert len(made(records.merge(flood, other)).anomalies) == records.LINES


def test_what_only_the_history_needs_is_no_part_of_the_table() -> None:
    done = made(records.parse(GOOD + b"count source 14\ncount emptied 2\nbytes largest 77\ncount source x\nbytes largest -1\n"))
    assert (done.counts["source"], done.counts["emptied"], done.bytes["largest"]) == (14, 2, 77)
    assert not {"source", "emptied"} & set(report.table(done).partition("files ")[2].partition("\n")[0].replace(",", "").split())
    assert "emptied" not in made(records.parse(GOOD)).counts
