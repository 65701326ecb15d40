"""What an alert says and to whom, when it is told again, and when a route is stale."""

from __future__ import annotations

import json

import pytest

from fs_sync import alerts, approval, cursor, form, route
from fs_sync.alerts import Alert, Channel
from fs_sync.errors import WORDS, DiskFull, FsSyncError

HOUR, DAY = 3600, 86400
NOW = 1_800_000_000.0
FULL = Alert(
    "failure", "fs_sync_rsync", "manual__1", "photos", "finish", "DiskFull", "no room on /backup", "make room", "https://a.example/log"
)


def test_the_whole_alert_can_be_read() -> None:
    assert alerts.subject(FULL) == "[fs-sync] fs_sync_rsync: route photos failed in finish: DiskFull"
    assert alerts.body(FULL).splitlines() == [
        "kind   failure",
        "route  photos",
        "DAG    fs_sync_rsync",
        "run    manual__1",
        "phase  finish",
        "error  DiskFull",
        "says   no room on /backup",
        "mend   make room",
        "log    https://a.example/log",
    ]


@pytest.mark.parametrize(
    "kind, says",
    [
        ("failure", "[fs-sync] d: route a failed in plan: Odd"),
        ("approval", "[fs-sync] d: route a waits for an approval"),
        ("anomaly", "[fs-sync] d: route a has an anomaly: Odd"),
        ("recovery", "[fs-sync] d: route a recovered"),
        ("stale", "[fs-sync] d: route a had no green run for too long"),
    ],
)
def test_each_kind_has_its_subject(kind: alerts.Kind, says: str) -> None:
    assert alerts.subject(Alert(kind, "d", "r", "a", "plan", "Odd")) == says


def test_all_kinds_have_a_subject_without_a_route_too() -> None:
    for kind in alerts.KINDS:
        assert "the routes" in alerts.subject(Alert(kind, "d", "r"))  # type: ignore[arg-type]


def test_no_value_can_break_out_of_its_line_or_grow_without_end() -> None:
    odd = "x\r\nBcc: all@example.com\x1b[31m\u202e" + "y" * 5000
    alert = Alert("failure", odd, odd, odd, odd, odd, odd, odd, odd)
    assert "\n" not in alerts.subject(alert)
    assert alerts.subject(alert).isprintable()
    assert len(alerts.subject(alert)) <= 500
    assert all(line.isprintable() and len(line) < 600 for line in alerts.body(alert).splitlines())
    assert alert.to_dict()["link"] == ""
    many = Alert("failure", "d", "r", text="\n".join(f"fault {number}" for number in range(1000)))
    assert many.to_dict()["text"].splitlines()[-1] == "… and 980 more lines"
    assert len(alerts.body(many).splitlines()) == 24
    assert json.loads(json.dumps(many.to_dict())) == many.to_dict()


def test_no_value_is_taken_for_markup() -> None:
    alert = Alert("failure", "d", "r", "a", text="<!channel> & <b>{{ var.value.secret }}</b>")
    assert "&lt;!channel&gt; &amp; &lt;b&gt;" in alerts.slack(alert)
    assert "<" not in alerts.slack(alert)
    assert alerts.mail(alert).count("<") == 2
    assert "{{ var.value.secret }}" in alerts.body(alert)


@pytest.mark.parametrize("kind", WORDS)
def test_an_error_of_ours_brings_its_mend(kind: type[FsSyncError]) -> None:
    assert alerts.of_error(kind("what it says")) == (kind.__name__, "what it says", WORDS[kind][1])


def test_an_error_of_others_is_told_by_its_own_name_and_by_ours_where_that_is_the_cause() -> None:
    assert alerts.of_error(ValueError()) == ("ValueError", "ValueError", alerts.UNKNOWN)
    assert alerts.of_error(None) == ("", alerts.NO_WORD, alerts.UNKNOWN)
    outer = RuntimeError("no room; tried 3 times")
    outer.__cause__ = DiskFull("no room")
    assert alerts.of_error(outer) == ("DiskFull", "no room; tried 3 times", WORDS[DiskFull][1])


def test_the_channels_are_read() -> None:
    given = [
        {"conn": "smtp_default", "to": ["ops@example.com"], "on": ["failure", "stale"]},
        {"conn": "slack_ops"},
        {"conn": "hook", "endpoint": "a/b"},
    ]
    found, wrong = alerts.channels(json.dumps(given))
    assert wrong == ()
    assert found == (
        Channel(conn="smtp_default", to=("ops@example.com",), on=("failure", "stale")),
        Channel(conn="slack_ops"),
        Channel(conn="hook", endpoint="a/b"),
    )
    assert [kind for kind in alerts.KINDS if found[0].wants(kind)] == ["failure", "stale"]
    assert all(found[1].wants(kind) for kind in alerts.KINDS)
    assert alerts.channels(None) == ((), ())
    assert alerts.channels("[]") == ((), ())


@pytest.mark.parametrize(
    "raw, says",
    [
        ("", "is empty; write [{"),
        ("{", "is not JSON"),
        ('{"conn": "a"}', "is an object, not a list; write [{"),
        ('["a"]', "[0]: 'a' is not an object"),
        ("[{}]", '[0].conn: is missing; write it, as "smtp_default"'),
        ('[{"conn": "a b"}]', "[0].conn: 'a b' is not a connection id"),
        ('[{"conn": "a", "too": ["x@y"]}]', "[0].too: is not an option; did you mean to?"),
        ('[{"conn": "a", "password": "hunter2"}]', "secrets belong in the Airflow Connection"),
        ('[{"conn": "a", "to": "x@y.z"}]', "[0].to: 'x@y.z' is not a list"),
        ('[{"conn": "a", "to": ["x@y.z, b@c.d"]}]', "is not a mail address; write it, as"),
        ('[{"conn": "a", "to": ["x@y.z\\nBcc: b@c.d"]}]', "is not a mail address"),
        ('[{"conn": "a", "on": ["failed"]}]', "[0].on[0]: 'failed' is not one of 'failure', 'approval', 'anomaly', 'recovery' or 'stale'"),
        ('[{"conn": "a", "endpoint": "a b"}]', "[0].endpoint: 'a b' is not a path"),
        ('[{"conn": "a", "conn": "b"}]', "stands more than once"),
    ],
)
def test_a_wrong_channel_is_named_with_its_mend(raw: str, says: str) -> None:
    found, wrong = alerts.channels(raw)
    assert found == ()
    (fault,) = wrong
    assert fault.startswith(f"Variable {form.ALERTS}")
    assert says in fault
    assert "hunter2" not in fault


def test_all_faults_are_named_and_the_right_channels_go_on() -> None:
    found, wrong = alerts.channels('[{"conn": "a", "x": 1, "on": ["y"]}, {"conn": "b"}, 7]')
    assert [channel.conn for channel in found] == ["b"]
    assert len(wrong) == 3


@pytest.mark.parametrize(
    "channel, conn_type, says",
    [
        (Channel(conn="a"), "smtp", "`to` is missing; write the addresses"),
        (Channel(conn="a", to=("x@y.z",)), "slackwebhook", "`to` is for mail alone"),
        (Channel(conn="a", endpoint="b"), "slackwebhook", "`endpoint` is for a webhook alone"),
        (Channel(conn="a"), "ssh", "its type is 'ssh'; alerts go by connections of type smtp, slackwebhook, http"),
        (Channel(conn="a", to=("x@y.z",)), "smtp", None),
        (Channel(conn="a"), "slackwebhook", None),
        (Channel(conn="a", endpoint="b"), "http", None),
    ],
)
def test_a_channel_fits_the_type_of_its_connection(channel: Channel, conn_type: str, says: str | None) -> None:
    found = alerts.unfit(channel, conn_type)
    assert found is None if says is None else found is not None and says in found


def test_the_variable_is_known_and_a_slip_of_its_name_is_told() -> None:
    assert form.unknown_flat([form.ALERTS]) == ()
    (warning,) = form.unknown_flat(["fs_sync_alert"])
    assert f"did you mean {form.ALERTS}?" in warning


def test_a_failure_is_told_once_until_another_error_or_a_day_has_passed() -> None:
    assert alerts.due(None, "DiskFull", NOW)
    mark = alerts.marked(None, "DiskFull", "run 1", NOW, True)
    assert mark == {"since": NOW, "error": "DiskFull", "told": NOW, "run": "run 1"}
    for hour in range(1, 24):
        now = NOW + hour * HOUR
        assert not alerts.due(mark, "DiskFull", now)
        mark = alerts.marked(mark, "DiskFull", f"run {hour}", now, False)
    assert mark == {"since": NOW, "error": "DiskFull", "told": NOW, "run": "run 23"}
    assert alerts.due(mark, "DiskFull", NOW + DAY)
    assert alerts.due(mark, "SourceError", NOW + HOUR)
    assert alerts.recovered(mark, NOW + DAY) == "green again; it failed with DiskFull for 1 d"


def test_what_nobody_took_is_told_again_with_the_next_failure() -> None:
    mark = alerts.marked(None, "DiskFull", "run 1", NOW, False)
    assert alerts.due(mark, "DiskFull", NOW + HOUR)
    other = alerts.marked(alerts.marked(None, "DiskFull", "run 1", NOW, True), "SourceError", "run 2", NOW + HOUR, False)
    assert other == {"since": NOW, "error": "SourceError", "told": 0, "run": "run 2"}


@pytest.mark.parametrize(
    "mark", [7, "x", [], {}, {"error": "DiskFull"}, {"error": "DiskFull", "told": "soon", "since": None}, {"told": True}]
)
def test_a_mark_of_any_form_is_read(mark: object) -> None:
    assert alerts.due(mark, "DiskFull", NOW)
    assert alerts.marked(mark, "DiskFull", "r", NOW, True)["since"] == NOW
    assert not alerts.staleness(HOUR, None, mark, NOW).late
    assert alerts.recovered(mark if isinstance(mark, dict) else {}, NOW)


def test_a_question_says_how_much_waits_and_where_to_answer() -> None:
    named = [("2000000", "a <!channel>"), ("?", "b")]
    why = approval.reasons(named, 500_000, ["30 of 30 files changed at once"])
    assert approval.told(2, 3_000_000, named, why).splitlines() == [
        "2 files, 3 MB in all; nothing else waits for the answer",
        "larger than `max_file` (500 kB)",
        "30 of 30 files changed at once",
        "2 MB  a <!channel>",
        "?  b",
    ]
    assert approval.told(1, 7, [], approval.reasons([("7", "a")], 0, [])) == "1 file, 7 B in all; nothing else waits for the answer"
    assert approval.mend(0, None) == "answer under Required Actions, where the link leads: Transfer, Transfer compressed or Leave out"
    assert approval.mend(7200, ["Leave out"]).endswith("; without an answer within 2 h it is Leave out")


def test_a_route_is_stale_when_its_last_green_run_is_too_long_ago_and_that_is_told_once() -> None:
    assert alerts.staleness(DAY, NOW - HOUR, None, NOW) == alerts.Staleness(HOUR, True, False, False)
    late = alerts.staleness(DAY, NOW - 2 * DAY, {"seen": 1.0, "told": 0}, NOW)
    assert late == alerts.Staleness(2 * DAY, True, True, True)
    assert alerts.stands(late, DAY) == "green 2 d ago; the limit is 1 d"
    told = {"seen": 1.0, "told": NOW}
    assert alerts.staleness(DAY, NOW - 2 * DAY, told, NOW + 9 * DAY) == alerts.Staleness(11 * DAY, True, True, False)
    # Green in between, and stale anew.
    assert alerts.staleness(DAY, NOW + HOUR, told, NOW + 2 * DAY).tell


def test_a_route_that_was_never_green_counts_from_when_it_was_first_looked_at() -> None:
    assert alerts.staleness(DAY, None, None, NOW) == alerts.Staleness(0, False, False, False)
    late = alerts.staleness(DAY, None, {"seen": NOW, "told": 0}, NOW + 2 * DAY)
    assert late == alerts.Staleness(2 * DAY, False, True, True)
    assert alerts.stands(late, DAY) == "never green, looked at for 2 d; the limit is 1 d"


def test_a_clock_that_was_set_back_makes_nothing_stale() -> None:
    assert alerts.staleness(HOUR, NOW + DAY, None, NOW) == alerts.Staleness(0, True, False, False)


def test_the_limits_of_the_routes_are_read_whatever_their_kind() -> None:
    raw = {
        "defaults": {"stale_after": "1d"},
        "routes": [
            {"name": "a"},
            {"name": "b", "stale_after": "2h"},
            {"name": "c", "stale_after": 0},
            {"name": "d", "stale_after": "soon"},
            {},
            7,
        ],
    }
    limits, wrong = route.stale_limits(json.dumps(raw), "Variable v")
    assert limits == {"a": DAY, "b": 2 * HOUR, "routes[4]": DAY, "routes[5]": DAY}
    (fault,) = wrong
    assert fault.startswith("Variable v: routes[3].stale_after: 'soon' is not a duration")


@pytest.mark.parametrize("raw", ["", "7", "[]", "a password", '{"routes": 7}', '{"routes": [], "defaults": 7}', '{"a": "stale"}'])
def test_text_that_names_no_routes_has_no_limits(raw: str) -> None:
    assert route.stale_limits(raw, "v") == ({}, ())


def test_a_broken_text_that_means_to_have_a_limit_is_told() -> None:
    limits, (fault,) = route.stale_limits('{"routes": [{"stale_after": "1d"}', "Variable v")
    assert limits == {}
    assert "Variable v is not JSON" in fault


def test_stale_after_is_an_option_and_changes_no_cursor() -> None:
    kind = route.Kind("rsync", "ssh")
    text = {"routes": [{"name": "a", "source": {"path": "/a"}, "target": {"path": "/b"}, "stale_after": "1d"}]}
    (mapped,) = route.parse(json.dumps(text), {}, kind, form.Run(), "n")
    assert mapped.route is not None
    assert mapped.route.stale_after == DAY
    assert "stale_after" in cursor.FREE
