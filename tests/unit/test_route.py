"""The configuration's text becomes routes, right ones and wrong ones; each fault names place, value, rule and mend."""

import json
from typing import Any

import pytest

from fs_sync.errors import ConfigError
from fs_sync.form import Run
from fs_sync.options import Anomalies
from fs_sync.route import Kind, Mapped, parse
from lab import option_table

RSYNC, BUCKET = Kind("rsync", "ssh"), Kind("rclone", "s3")
GOOD: dict[str, Any] = {"name": "a", "source": {"path": "/src"}, "target": {"path": "/dst"}}


def mapped(*routes: object, kind: Kind = RSYNC, run: Run | None = None, **top: object) -> tuple[Mapped, ...]:
    return parse(json.dumps({"routes": routes, **top}), {}, kind, run or Run(), "n0")


def faults(*routes: object, kind: Kind = RSYNC, **top: object) -> tuple[str, ...]:
    """The faults of the last route."""
    return mapped(*routes, kind=kind, **top)[-1].faults


def changed(**changes: object) -> dict[str, object]:
    return {**GOOD, **changes}


def test_a_good_route_has_the_defaults() -> None:
    (one,) = mapped(GOOD)
    assert one.faults == ()
    assert one.route
    assert (one.route.source.conn, one.route.target.conn) == ("sftp_source_conn", "sftp_target_conn")
    assert (one.route.verify, one.route.preserve, one.route.timeout) == ("checksum", ("times", "modes", "links"), 86400)


def test_xcom_and_back() -> None:
    route = changed(include=["*.jpg"], min_age="5m", bandwidth="1M", require="x", preserve=["xattrs", "times"])
    found = mapped(route, changed(name="b", nope=1), run=Run(dry_run=True, bandwidth=0))
    assert found[0].route
    assert found[0].route.preserve == ("times", "xattrs")
    assert tuple(Mapped.from_dict(json.loads(json.dumps(one.to_dict()))) for one in found) == found


def test_defaults_merge_key_by_key() -> None:
    defaults = {"source": {"conn": "nas"}, "target": {"conn": "cold", "path": "/all"}, "verify": "all", "exclude": ["*.tmp"]}
    (one,) = mapped({"name": "a", "source": {"path": "/src"}, "target": {"path": "/one"}, "exclude": []}, defaults=defaults)
    assert one.route
    assert (one.route.source.conn, one.route.source.path) == ("nas", "/src")
    assert (one.route.target.conn, one.route.target.path) == ("cold", "/one")
    assert (one.route.verify, one.route.exclude) == ("all", ())


def test_paths_have_one_form() -> None:
    (one,) = mapped(changed(source={"path": "/a//b/./"}, target={"path": "~/x/"}))
    assert one.route
    assert (one.route.source.path, one.route.target.path) == ("/a/b", "~/x")
    (one,) = mapped(changed(target={"bucket": "bkt", "path": "/pre//fix/"}), kind=BUCKET)
    assert one.route
    assert (one.route.target.path, one.route.target.conn) == ("pre/fix", "s3_target_conn")


@pytest.mark.parametrize("path", ["/", "~", "~/x", "/with space", "/{{ 7*7 }}", "/$(touch x)", "/-dash", "/é"])
def test_odd_source_paths_are_fine(path: str) -> None:
    assert faults(changed(source={"path": path})) == ()


ONE_FAULT = [
    ({"verfy": "all"}, "routes[0].verfy: is not an option; did you mean verify?"),
    ({"bwlimit": 1}, "routes[0].bwlimit: is not an option; did you mean bandwidth?"),
    ({"a\nb": 1}, "routes[0]['a\\nb']: is not an option; known are"),
    ({"x" * 999: 1}, "…']: is not an option; known are"),
    ({"include": ["\udcff"]}, "routes[0].include[0]: '\\udcff' is not valid Unicode"),
    ({"qqq": 1}, "routes[0].qqq: is not an option; known are name, source,"),
    ({"password": "hunter2"}, "routes[0].password: is not an option; secrets belong in the Airflow Connection"),
    ({"source": {"path": "/s", "pth": 1}}, "routes[0].source.pth: is not an option; did you mean path?"),
    ({"source": "/src"}, "routes[0].source: '/src' is not an object"),
    ({"source": {}}, "routes[0].source.path: is missing; write it, as"),
    ({"source": {"path": 5}}, "routes[0].source.path: 5 is not text"),
    ({"source": {"path": "srv"}}, "routes[0].source.path: 'srv' is a relative path"),
    ({"source": {"path": "."}}, "routes[0].source.path: '.' is a relative path"),
    ({"source": {"path": "~root/x"}}, "routes[0].source.path: '~root/x' is a relative path"),
    ({"source": {"path": "/a/../b"}}, "routes[0].source.path: '/a/../b' has a step \"..\""),
    ({"source": {"path": "/a\nb"}}, "routes[0].source.path: '/a\\nb' has a NUL, a newline"),
    ({"source": {"path": "/a\0b"}}, "routes[0].source.path: '/a\\x00b' has a NUL, a newline"),
    ({"source": {"path": "/a\ud800"}}, "routes[0].source.path: '/a\\ud800' is not valid Unicode"),
    ({"source": {"path": "/" + "x" * 4095}}, "is longer than 4095 bytes"),
    ({"source": {"path": "/s", "conn": "ssh://me:hunter2@host"}}, "routes[0].source.conn: the value (not shown"),
    ({"source": {"path": "/s", "conn": ""}}, "routes[0].source.conn: '' is not a connection id"),
    ({"source": {"path": "/s", "bucket": "bkt"}}, "routes[0].source.bucket: this DAG copies from a server"),
    ({"target": {"path": "/"}}, "routes[0].target.path: is the root of the file system"),
    ({"target": {"path": "//."}}, "routes[0].target.path: is the root of the file system"),
    ({"target": {"path": "/d", "bucket": "bkt"}}, "routes[0].target.bucket: this DAG copies to a server"),
    ({"target": {"path": "/src", "conn": "sftp_source_conn"}}, "routes[0].target.path: is the same place as the source"),
    ({"target": {"path": "/src//x", "conn": "sftp_source_conn"}}, "routes[0].target.path: '/src/x' lies inside the source '/src'"),
    ({"source": {"path": "/d/s"}, "target": {"path": "/d", "conn": "sftp_source_conn"}}, "'/d' holds the source '/d/s'"),
    ({"source": {"path": "/"}, "target": {"path": "/d", "conn": "sftp_source_conn"}}, "'/d' lies inside the source '/'"),
    ({"min_age": "soon"}, "routes[0].min_age: 'soon' is not a duration; write whole seconds"),
    ({"min_age": True}, "routes[0].min_age: true or false is not a duration"),
    ({"min_age": None}, "routes[0].min_age: null is not a duration"),
    ({"timeout": 0}, "routes[0].timeout: 0 is too short"),
    ({"bandwidth": "10MB"}, "routes[0].bandwidth: '10MB' is not a size"),
    ({"bandwidth": 5}, "routes[0].bandwidth: 5 is too low"),
    ({"compress": "yes"}, "routes[0].compress: 'yes' is not true or false"),
    ({"compress": 1}, "routes[0].compress: 1 is not true or false"),
    ({"verify": "md5"}, "routes[0].verify: 'md5' is not one of 'checksum', 'all', 'size' or 'none'"),
    ({"overwrite": None}, "routes[0].overwrite: null is not one of"),
    ({"preserve": ["times", "colour"]}, "routes[0].preserve[1]: 'colour' is not one of"),
    ({"preserve": "times"}, "routes[0].preserve: 'times' is not a list"),
    ({"include": "*.jpg"}, "routes[0].include: '*.jpg' is not a list"),
    ({"include": ["a", "a//b"]}, "routes[0].include[1]: 'a//b' has two slashes"),
    ({"exclude": [7]}, "routes[0].exclude[0]: 7 is not text"),
    ({"require": ""}, "routes[0].require: '' is empty"),
    ({"job_dir": "jobs"}, "routes[0].job_dir: 'jobs' is a relative path"),
    ({"job_dir": "/"}, "routes[0].job_dir: '/' is the root"),
    ({"target_auth": "key"}, "routes[0].target_auth: 'key' is not one of"),
    ({"deletions": "mirror"}, "routes[0].deletions: 'mirror' is not offered: fs-sync deletes nothing on a target"),
    ({"name": ""}, "routes[0].name: '' is not a name"),
    ({"name": "-x"}, "routes[0].name: '-x' is not a name"),
    ({"name": "a b"}, "routes[0].name: 'a b' is not a name"),
    ({"name": "x" * 65}, "is not a name; write 1 to 64"),
    ({"name": "a\n"}, "routes[0].name: 'a\\n' is not a name"),
]


@pytest.mark.parametrize(("changes", "text"), ONE_FAULT, ids=lambda value: json.dumps(value)[:40])
def test_one_clear_fault(changes: dict[str, object], text: str) -> None:
    (found,) = faults(changed(**changes))
    assert text in found
    assert "hunter2" not in found
    assert "\n" not in found
    assert "Value error" not in found
    assert len(found) < 400


@pytest.mark.parametrize("bucket", ["", "ab", "Upper", "a..b", "a_b", "-ab", "ab-", "a/b", "10.0.0.1", "x" * 64, "abc\n"])
def test_bucket_names(bucket: str) -> None:
    (found,) = faults(changed(target={"bucket": bucket}), kind=BUCKET)
    assert found.startswith("routes[0].target.bucket: ")


def test_all_faults_together() -> None:
    found = faults({"name": "b", "min_age": "x", "source": {"path": "rel"}, "target": {"path": "/", "x": 1}, "verify": 3})
    assert [text.split(": ")[0].removeprefix("routes[0].") for text in found] == [
        *("target.x", "min_age", "verify", "source.path", "target.path"),
    ]


def test_a_missing_name_and_what_is_no_route() -> None:
    found = mapped({"source": {"path": "/a"}, "target": {"path": "/b"}}, "text", None, GOOD)
    assert [one.name for one in found] == ["routes[0]", "routes[1]", "routes[2]", "a"]
    assert found[0].faults == ('routes[0].name: is missing; write it, as "photos"',)
    assert found[1].faults == ("routes[1]: 'text' is not a route; write it in braces, as {…}",)
    assert found[2].faults == ("routes[2]: null is not a route; write it in braces, as {…}",)
    assert found[3].route


def test_a_fault_of_the_defaults_is_said_there() -> None:
    assert faults(GOOD, defaults={"min_age": "x"}) == (f"defaults.min_age: 'x' {_rule('min_age')}",)
    assert "defaults.target.bucket: this DAG" in faults(GOOD, defaults={"target": {"bucket": "bkt"}})[0]


def _rule(option: str) -> str:
    return faults(changed(**{option: "x"}))[0].split("'x' ")[1]


def test_duplicates_and_overlaps_are_faults_of_the_later() -> None:
    later = {"name": "a", "source": {"path": "/other"}, "target": {"path": "/dst/in"}}
    first, second = mapped(GOOD, later)
    assert first.faults == ()
    assert second.name == "a"
    assert second.route is None
    assert second.faults == (
        "routes[1].name: 'a' is also the name of routes[0]; give each route its own",
        "routes[1].target.path: lies in, or holds, the target of routes[0], '/dst'; give each route its own",
    )


@pytest.mark.parametrize(
    ("target", "overlap"),
    [("/dst/", True), ("/d", False), ("/dst2", False), ("~/dst", False), ("/dst/x/y", True), ("/", True)],
)
def test_overlap_of_paths(target: str, overlap: bool) -> None:
    found = faults(GOOD, changed(name="b", target={"path": target}))
    assert any("the target of routes[0]" in text for text in found) == overlap
    assert not any("the target of" in text for text in faults(GOOD, changed(name="b", target={"path": target, "conn": "else"})))


def test_overlap_of_prefixes() -> None:
    whole = changed(target={"bucket": "one"})
    assert faults(whole, changed(name="b", target={"bucket": "one", "path": "x"}), kind=BUCKET)
    assert not faults(whole, changed(name="b", target={"bucket": "two", "path": "x"}), kind=BUCKET)
    assert not faults(
        changed(target={"bucket": "one", "path": "x"}), changed(name="b", target={"bucket": "one", "path": "xy"}), kind=BUCKET
    )


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("\ufeff{}", "byte order mark"),
        ("{", "is not JSON: Expecting property name enclosed in double quotes at line 1, column 2"),
        ('{"routes": [{"password": hunter2}]}', "line 1, column 26"),
        ("[]", "is a list, not an object"),
        ("null", "is null, not an object"),
        ("{}", "routes is missing"),
        ('{"routes": {}}', "routes is not a list"),
        ('{"routes": []}', "routes is not a list"),
        ('{"routes": [{}], "route": []}', "'route' is not an option; did you mean routes?"),
        ('{"routes": [{}], "defaults": []}', "defaults is not an object"),
        ('{"routes": [{}], "defaults": {"name": "x"}}', "defaults.name"),
        ('{"routes": [{"name": "a", "name": "b"}]}', "'name' stands more than once"),
        ('{"routes": [{"min_age": NaN}]}', "NaN is no JSON number"),
        ('{"routes": [{"min_age": -Infinity}]}', "-Infinity is no JSON number"),
        ('{"routes": ' + "[" * 100_000, "nested too deeply"),
    ],
    ids=lambda value: value[:30],
)
def test_what_is_no_configuration(raw: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(raw, {}, RSYNC, Run(), "n0", variable="Variable fs_sync_rsync")
    assert text in str(caught.value)
    assert str(caught.value).startswith("Variable fs_sync_rsync")
    assert "hunter2" not in str(caught.value)


def test_the_form_picks_routes() -> None:
    other = changed(name="b", target={"path": "/b"})
    assert [one.name for one in mapped(GOOD, other, run=Run(routes=("b",)))] == ["b"]
    with pytest.raises(ConfigError, match="no route is named 'c'; known are a, b"):
        mapped(GOOD, other, run=Run(routes=("c",)))


def test_flat_variables() -> None:
    (one,) = parse(None, {"fs_sync_source_path": "/s", "fs_sync_target_path": "/t", "fs_sync_target_conn": "cold"}, RSYNC, Run(), "n0")
    assert one.route
    assert (one.name, one.route.source.path, one.route.target.conn) == ("default", "/s", "cold")
    (one,) = parse(None, {"fs_sync_source_path": "/s", "fs_sync_target_s3_bucket": "bkt"}, BUCKET, Run(), "n0")
    assert one.route
    assert (one.route.target.bucket, one.route.target.path, one.route.target.conn) == ("bkt", "", "s3_target_conn")


def test_faults_of_flat_variables_name_them() -> None:
    (one,) = parse(None, {"fs_sync_target_path": "/"}, RSYNC, Run(), "n0")
    assert one.faults == (
        'Variable fs_sync_source_path: is missing; write it, as "/srv/data"',
        "Variable fs_sync_target_path: is the root of the file system; name a directory of its own",
    )


MEGA, GIGA = 1024**2, 1024**3
SIZES = {"fs_sync_small_file_mb": "20", "fs_sync_large_file_gb": "0.5", "fs_sync_max_file_gb": "2"}


def with_sizes(flat: dict[str, str], *routes: object, **top: object) -> Mapped:
    """The first route of a JSON Variable beside flat Variables."""
    return parse(json.dumps({"routes": routes or [GOOD], **top}), flat, RSYNC, Run(), "n0")[0]


def sizes(one: Mapped) -> tuple[int, int, int | None]:
    assert one.route, one.faults
    return one.route.small_file, one.route.large_file, one.route.max_file


def test_the_deployment_s_thresholds_are_those_of_every_route_without_its_own() -> None:
    assert sizes(with_sizes({})) == (100 * MEGA, GIGA, 10 * GIGA)
    assert sizes(with_sizes(SIZES)) == (20 * MEGA, GIGA // 2, 2 * GIGA)
    (only,) = parse(None, {"fs_sync_source_path": "/s", "fs_sync_target_path": "/t", **SIZES}, RSYNC, Run(), "n0")
    assert sizes(only) == (20 * MEGA, GIGA // 2, 2 * GIGA)
    assert sizes(with_sizes(SIZES, defaults={"small_file": "1M", "max_file": None})) == (MEGA, GIGA // 2, None)
    assert sizes(with_sizes(SIZES, changed(large_file="1G", small_file=5), defaults={"small_file": "1M"})) == (5, GIGA, 2 * GIGA)
    assert sizes(with_sizes({"fs_sync_max_file_gb": " 0\n"})) == (100 * MEGA, GIGA, None)
    assert sizes(with_sizes({"fs_sync_small_file_mb": "0", "fs_sync_large_file_gb": "0.000000001"}))[:2] == (0, 1)


@pytest.mark.parametrize("key", SIZES)
@pytest.mark.parametrize("value", ["", " ", "many", "-1", "NaN", "inf", "1e3", "10G", "0,5", ".5", "5.", "1 0", "1" * 10, "१"])
def test_a_threshold_that_is_no_number_is_told_by_each_route_that_uses_it(key: str, value: str) -> None:
    option = key.removeprefix("fs_sync_").rpartition("_")[0]
    unit = "megabytes" if key.endswith("mb") else "gigabytes"
    (fault,) = with_sizes({**SIZES, key: value}).faults
    assert fault.startswith(f"Variable {key}: {value!r} is not a number of {unit}; write one without a sign or a unit, as ")
    assert ("0 is no limit" in fault) == (option == "max_file")
    (fault,) = parse(None, {"fs_sync_source_path": "/s", "fs_sync_target_path": "/t", key: value}, RSYNC, Run(), "n0")[0].faults
    assert fault.startswith(f"Variable {key}: ")
    own = {"small_file": "1M", "large_file": "1G", "max_file": "2G"}[option]
    assert with_sizes({**SIZES, key: value}, changed(**{option: own})).faults == ()
    assert with_sizes({**SIZES, key: value}, defaults={option: own}).faults == ()
    first, second = parse(
        json.dumps({"routes": [changed(**{option: own}), changed(name="b", target={"path": "/b"})]}),
        {**SIZES, key: value}, RSYNC, Run(), "n0",
    )  # fmt: skip
    assert (first.faults, len(second.faults)) == ((), 1)


@pytest.mark.parametrize(
    ("flat", "said", "told"),
    [
        ({}, {"small_file": "2G"}, "routes[0].small_file: 2147483648 bytes are more than large_file, 1073741824 bytes, so that"),
        ({}, {"large_file": "3M", "max_file": "2M"}, "routes[0].max_file: 2097152 bytes are less than large_file, 3145728 bytes, so that"),
        (
            {"fs_sync_small_file_mb": "3"},
            {"large_file": "2M"},
            "Variable fs_sync_small_file_mb: 3145728 bytes are more than large_file, 2097152 bytes, so",
        ),
        (
            {"fs_sync_large_file_gb": "0.001"},
            {"small_file": "2M"},
            "routes[0].small_file: 2097152 bytes are more than large_file, 1073741 bytes (Variable fs_sync_large_file_gb), so",
        ),
        (
            {"fs_sync_large_file_gb": "2", "fs_sync_max_file_gb": "1"},
            {},
            "Variable fs_sync_max_file_gb: 1073741824 bytes are less than large_file, 2147483648 bytes (Variable fs_sync_large_file_gb), so",
        ),
    ],
)
def test_thresholds_that_contradict_each_other(flat: dict[str, str], said: dict[str, object], told: str) -> None:
    (fault,) = with_sizes(flat, changed(**said)).faults
    assert fault.startswith(told)
    assert "; lower it, or raise large_file" in fault or "; raise it, or lower large_file" in fault


def test_a_threshold_that_nobody_said_gives_way() -> None:
    assert sizes(with_sizes({}, changed(max_file="50M"))) == (50 * MEGA, 50 * MEGA, 50 * MEGA)
    assert sizes(with_sizes({}, changed(large_file="50M"))) == (50 * MEGA, 50 * MEGA, 10 * GIGA)
    assert sizes(with_sizes({"fs_sync_max_file_gb": "0.05"})) == (53687091, 53687091, 53687091)
    assert sizes(with_sizes({"fs_sync_large_file_gb": "0.05"})) == (53687091, 53687091, 10 * GIGA)


def test_the_readme_table_of_options_is_current() -> None:
    assert option_table.is_current(), "run python -m lab.option_table"


def test_the_table_goes_between_its_markers() -> None:
    text = f"before\n{option_table.BEGIN}\nold\n{option_table.END}\nafter\n"
    renewed = option_table.renewed(text)
    assert renewed.startswith("before\n")
    assert renewed.endswith("\nafter\n")
    assert "| `min_age` |" in renewed
    assert option_table.renewed(renewed) == renewed
    with pytest.raises(ValueError, match="must have the line"):
        option_table.renewed("no markers")
    with pytest.raises(ValueError, match="must have the line"):
        option_table.anomalies_renewed("no markers")


def test_the_readme_and_its_document_have_the_same_anomalies() -> None:
    for text, made in ((option_table.README, option_table.anomaly_table()), (option_table.ANOMALIES, option_table.question_table())):
        assert made in text.read_text(encoding="utf-8")
        assert made.count("\n| `") == len(Anomalies.model_fields) == 14


@pytest.mark.parametrize(
    ("anomalies", "text"),
    [
        ({"future_mtime": "holds"}, "anomalies.future_mtime: 'holds' is not one of 'ignore', 'warn', 'hold', 'approve' or 'fail'"),
        ({"future_mtime": "Hold"}, "anomalies.future_mtime: 'Hold'"),
        ({"future_mtime": None}, "anomalies.future_mtime: null"),
        ({"future_mtime": True}, "anomalies.future_mtime: true"),
        ({"future_mtime": ["hold"]}, "anomalies.future_mtime"),
        ({"future_mtimes": "hold"}, "anomalies.future_mtimes: is not an option; did you mean future_mtime?"),
        ({"slow": "hold"}, "anomalies.slow: 'hold' is not one of 'ignore', 'warn' or 'fail'"),
        ({"source_emptied": "approve"}, "anomalies.source_emptied: 'approve' is not one of 'ignore', 'warn' or 'fail'"),
        ({"mismatch": "hold"}, "anomalies.mismatch: 'hold'"),
        ({"leftovers": "approve"}, "anomalies.leftovers: 'approve'"),
        ("warn", "anomalies"),
        ([], "anomalies"),
        (None, "anomalies"),
    ],
)
def test_a_policy_that_is_none(anomalies: object, text: str) -> None:
    (fault,) = faults(changed(anomalies=anomalies))
    assert text in fault


def test_policies_are_set_one_by_one_and_those_of_a_route_go_before_the_defaults() -> None:
    defaults = {"anomalies": {"run_bytes": "fail", "slow": "ignore"}}
    own, other = mapped(changed(anomalies={"run_bytes": "approve"}), changed(name="b", target={"path": "/b"}), defaults=defaults)
    (plain,) = mapped(GOOD)
    assert own.route
    assert other.route
    assert plain.route
    assert own.route.anomalies == Anomalies(run_bytes="approve", slow="ignore")
    assert other.route.anomalies == Anomalies(run_bytes="fail", slow="ignore")
    assert plain.route.anomalies == Anomalies()
    assert Mapped.from_dict(json.loads(json.dumps(own.to_dict()))) == own
