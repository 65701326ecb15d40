"""What README and docs/architecture.md say of names, commands and examples is so in the code."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from fs_sync import alerts, credentials, form, route
from fs_sync.errors import WORDS, FsSyncError, SourceError
from fs_sync.options import Anomalies, Endpoint, Policy, Route
from fs_sync.records import KINDS
from fs_sync.route import UNITS as NAMES_OF_UNITS
from fs_sync.values import parse_size
from lab import option_table

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
DIRECTIONS = (REPOSITORY / "docs" / "directions.md").read_text(encoding="utf-8")
RUNBOOK = (REPOSITORY / "docs" / "runbook.md").read_text(encoding="utf-8")
ALERTS = (REPOSITORY / "docs" / "alerts.md").read_text(encoding="utf-8")
ANOMALIES = (REPOSITORY / "docs" / "anomalies.md").read_text(encoding="utf-8")
SIZES = (REPOSITORY / "docs" / "sizes.md").read_text(encoding="utf-8")
UNITS = {word: unit for unit, word in NAMES_OF_UNITS.items()}
TEMPLATES = REPOSITORY / "templates"
DAGS = tuple(path.stem for path in (REPOSITORY / "dags").glob("*.py"))


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def code(text: str) -> str:
    """All that stands as code: fenced blocks, and the spans between backticks."""
    fenced = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    return "\n".join([*fenced, *spans])


def documents(key: str) -> list[dict[str, Any]]:
    """The README's JSON examples that have a key."""
    return [document for block in blocks(README, "json") if key in (document := json.loads(block))]


def test_it_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) < 450


def test_every_route_of_the_examples_is_right() -> None:
    examples = documents("routes")
    assert len(examples) >= 2
    for document in examples:
        to_bucket = any("bucket" in one["target"] for one in document["routes"])
        kind = route.Kind("rclone", "s3") if to_bucket else route.Kind("rsync", "ssh")
        for mapped in route.parse(json.dumps(document), {}, kind, form.Run(), "n"):
            assert mapped.faults == ()
            assert mapped.route is not None


def test_every_route_of_the_directions_is_right() -> None:
    from_minio, worker = (json.loads(block) for block in blocks(DIRECTIONS, "json"))
    for document, kind in (
        (from_minio, route.Kind("rclone", "host", "s3", "target")),
        (worker, route.Kind("rclone", "any", "any", "worker")),
    ):
        assert [mapped.faults for mapped in route.parse(json.dumps(document), {}, kind, form.Run(), "n") if mapped.faults] == []


def test_the_connections_of_the_example_are_right() -> None:
    (example,) = documents("sftp_source_conn")
    for conn_id, fields in example.items():
        target = credentials.from_connection(
            credentials.PlainConnection(conn_id=conn_id, **fields), "s3" if conn_id.startswith("s3") else "ssh", "connection"
        )
        assert credentials.environment(target)
        assert target.kind == "s3" or target.host_keys


def test_connections_and_variables_are_those_of_the_code() -> None:
    defaults = {conn for row in option_table.SPECIAL.values() for conn in re.findall(r'"(\w+_conn)"', row)}
    example = {"sftp_reports"}  # a route's own choice
    named = set(re.findall(r"\b(?:sftp|s3)_\w+", code(README))) - set(Endpoint.model_fields["conn"].examples or ())
    assert named - example == defaults
    variables = set(re.findall(r"\bfs_sync_\w+", code(README)))
    flat = {*form.FLAT, *form.THRESHOLDS}
    assert variables >= {*flat, *DAGS}
    assert {name for name in variables if name not in flat and not name.startswith(DAGS)} == set()


def test_the_variables_of_the_thresholds_are_told_with_their_defaults_and_units() -> None:
    rows = re.findall(r"^\| `(fs_sync_\w+)` \| (\d+) \| (\w+).* \| `(\w+)` \|$", SIZES, re.MULTILINE)
    assert {name: (option, UNITS[word]) for name, _, word, option in rows} == form.THRESHOLDS
    for name, default, _, option in rows:
        assert parse_size(default + form.THRESHOLDS[name][1]) == Route.model_fields[option].default
    set_there = re.findall(r"^airflow variables set (\w+) (\S+)$", SIZES, re.MULTILINE)
    route_of = {"routes": [{"name": "a", "source": {"path": "/a"}, "target": {"path": "/b"}}]}
    (one,) = route.parse(json.dumps(route_of), dict(set_there), route.Kind("rsync", "ssh"), form.Run(), "n")
    assert (one.faults, one.route and (one.route.small_file, one.route.large_file)) == ((), (20 * 1024**2, 512 * 1024**2))


def test_the_form_is_named() -> None:
    assert all(f"`{name}`" in README for name in form.run_params())


@pytest.mark.parametrize("kind", WORDS)
def test_an_error_has_its_row_with_the_mend(kind: type[FsSyncError]) -> None:
    (row,) = [line for line in README.splitlines() if line.startswith(f"| `{kind.__name__}` |")]
    assert row.endswith(f"| {WORDS[kind][0]} | {WORDS[kind][1]} |")
    assert f"| {kind.code or ''} |" in row


def test_what_is_held_has_its_reason_and_every_kind_of_target_its_row() -> None:
    scripts = "".join(path.read_text(encoding="utf-8") for path in TEMPLATES.glob("*.j2"))
    reasons = set(re.findall(r"^\s*reason=(\S+)$|\^\|([\w-]+)\$tab\|", scripts, re.MULTILINE))
    reasons = {first or second for first, second in reasons} - {
        "content-differs",
        "size-differs",
        "not-found-by-rclone",
    }  # those are failures
    reasons |= {first or second for first, second in re.findall(r'held\("([^"]+)"\)|print "([a-z-]+)\\t"', scripts)}
    reasons |= {reason.replace("$1", "NAME") for reason in re.findall(r'\baside_(?:take|known) \S+ "?([a-z][\w:$-]*)', scripts)}
    held = README.split("| reason in the report |")[1].split("\n\n")[0] + DIRECTIONS.split("| reason in the report |")[1].split("\n\n")[0]
    first_columns = "".join(re.findall(r"^\| (`[^|]+) \|", held, re.MULTILINE))
    assert set(re.findall(r"`([^`]+)`", first_columns)) == reasons
    kinds = README.split("| kind in the report |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `([^`]+)` \|", kinds, re.MULTILINE)) == set(KINDS)


def test_every_make_target_exists() -> None:
    known = set(re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z0-9-]+)", code(README + ARCHITECTURE), re.MULTILINE))
    assert named >= {"demo", "test", "ui", "help"}
    assert named <= known


def test_every_python_example_parses_and_calls_what_is_there() -> None:
    examples = blocks(README, "python")
    assert examples
    for example in examples:
        assert "fs_sync.dag" in {node.module for node in ast.walk(ast.parse(example)) if isinstance(node, ast.ImportFrom)}
        assert "airflow" in example.lower(), "without the word Airflow passes the file over"


def test_the_runbook_has_an_entry_for_each_error_and_no_other() -> None:
    parts = re.split(r"^## (.+)$", RUNBOOK, flags=re.MULTILINE)
    entries = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(entries) == ["First", *(kind.__name__ for kind in WORDS), "No error at all"]
    for name, text in entries.items():
        assert name == "First" or re.findall(r"^\*\*(\w+)\*\*: ", text, re.MULTILINE) == ["Means", "Look", "Mend"], name
        assert name in ("First", "No error at all", "ConfigError", "VerificationFailed") or "`" in text, f"{name} has no command"


def test_the_examples_of_the_alerts_are_right() -> None:
    channels, message, routes = (json.loads(block) for block in blocks(ALERTS, "json"))
    found, wrong = alerts.channels(json.dumps(channels))
    assert (len(found), wrong) == (3, ())
    assert set(message) == set(alerts.Alert("failure", "d", "r").to_dict())
    assert message["mend"] == WORDS[SourceError][1]
    assert route.stale_limits(json.dumps(routes), "v") == ({"photos": 86400}, ())
    rows = set(re.findall(r"^\| `(\w+)` \|", ALERTS, re.MULTILINE))
    assert rows == {*alerts.KINDS, *alerts.Channel.model_fields}
    assert all(kind in ALERTS and package in ALERTS for kind, package in alerts.PROVIDERS.items() if kind != "smtp")
    (example,) = blocks(ALERTS, "python")
    assert "watch" in {one.name for node in ast.parse(example).body if isinstance(node, ast.ImportFrom) for one in node.names}


def test_the_anomalies_are_told_as_they_are() -> None:
    (example,) = blocks(ANOMALIES, "json")
    (mapped,) = route.parse(example, {}, route.Kind("rsync", "ssh"), form.Run(), "n")
    assert mapped.faults == ()
    assert mapped.route is not None
    assert mapped.route.anomalies == Anomalies(old_mtime="warn", run_bytes="approve", source_shrank="fail")
    policies = set(re.findall(r"^\| `(\w+)` \| [^`]", ANOMALIES, re.MULTILINE))
    assert policies == set(get_args(Policy))
    # What the templates name is an anomaly, and each is named by one of them; `slow` is told by the operator.
    scripts = "".join(path.read_text(encoding="utf-8") for path in TEMPLATES.glob("*.j2"))
    named = re.findall(r"^[^#\n]*\b(?:unusual|anomaly) (\w+) \{\{ policies\.(\w+) \}\}", scripts, re.MULTILINE)
    assert {name for name, _ in named} == set(Anomalies.model_fields) - {"slow"}
    assert all(name == policy for name, policy in named)


@pytest.mark.parametrize("name", Anomalies.model_fields)
def test_what_is_in_question_is_said_where_it_can_be_held(name: str) -> None:
    assert (name in option_table.IN_QUESTION) == ("hold" in get_args(Anomalies.model_fields[name].annotation))


@pytest.mark.parametrize(
    "document",
    [
        "docs/alerts.md",
        "docs/anomalies.md",
        "docs/docker.md",
        "docs/runbook.md",
        "README.md",
        "docs/architecture.md",
        "docs/directions.md",
        "docs/history.md",
        "docs/scan.md",
        "docs/service.md",
        "docs/sizes.md",
    ],
)
def test_links_lead_somewhere(document: str) -> None:
    path = REPOSITORY / document
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_architecture_names_every_module_and_no_other() -> None:
    modules = {path.name for path in (REPOSITORY / "include" / "fs_sync").glob("*.py")} - {"__init__.py"}
    rows = re.findall(r"^\| `(\w+\.py)` \|", ARCHITECTURE, re.MULTILINE)
    assert sorted(rows) == sorted(modules)
    assert set(re.findall(r"(?<![/\w])\w+\.py\b", code(ARCHITECTURE))) <= modules


def test_imports_point_down_the_table() -> None:
    rows = re.findall(r"^\| `(\w+)\.py` \|", ARCHITECTURE, re.MULTILINE)
    for place, name in enumerate(rows):
        tree = ast.parse((REPOSITORY / "include" / "fs_sync" / f"{name}.py").read_text(encoding="utf-8"))
        froms = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        used = {one.name for node in froms if node.module == "fs_sync" for one in node.names}
        used |= {str(node.module).removeprefix("fs_sync.") for node in froms if str(node.module).startswith("fs_sync.")}
        assert used <= set(rows[place + 1 :]), name


def test_architecture_names_every_template_and_no_other() -> None:
    templates = {str(path.relative_to(TEMPLATES)) for path in TEMPLATES.rglob("*.sh*")}
    rows = re.findall(r"^\| `((?:remote/)?\w+\.sh(?:\.j2)?)` \|", ARCHITECTURE, re.MULTILINE)
    assert sorted(rows) == sorted(templates)
    assert set(re.findall(r"\b\w+\.sh\.j2\b", code(ARCHITECTURE))) <= templates


def test_every_other_file_that_architecture_names_exists() -> None:
    named = re.findall(r"\b(?:lab|tests|dags|include)/[\w./]*\w", code(ARCHITECTURE))
    assert named
    assert [name for name in named if not (REPOSITORY / name).exists()] == []
