"""What docs/coming-from.md tells people to set is taken without a fault by the code that reads it in a run."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from collections import ChainMap
from dataclasses import dataclass, fields
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from fs_sync import credentials, form, patterns, records, route, steps
from fs_sync.errors import ConfigError
from fs_sync.options import Endpoint, Route

REPOSITORY = Path(__file__).resolve().parents[2]
PATH = REPOSITORY / "docs" / "coming-from.md"
DOCUMENT = PATH.read_text(encoding="utf-8")
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def _without_first_column(text: str) -> str:
    """The text without the first column of tables whose first column is what an earlier system has, by whatever name."""
    tables = re.compile(r"^\| you have .*?(?=^$)", re.MULTILINE | re.DOTALL)
    rows = re.compile(r"^\|(?:[^|\\]|\\.)*\|", re.MULTILINE)
    return tables.sub(lambda table: rows.sub("|", table[0]), text)


TEXT = FENCE.sub("", DOCUMENT)
PROSE = _without_first_column(TEXT)
SPANS = re.findall(r"`([^`\n]+)`", PROSE)
INCLUDE = REPOSITORY / "include" / "fs_sync"


def source(name: str) -> str:
    """The text of one of our modules."""
    return (INCLUDE / f"{name}.py").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Block:
    """A fenced block, the paragraph right above it, and the section that it stands in."""

    language: str
    text: str
    above: str
    section: str


def _block(found: re.Match[str]) -> Block:
    before = DOCUMENT[: found.start()]
    return Block(found[2], dedent(found[3]), before.rstrip().rpartition("\n\n")[2], re.findall(r"^## (.*)$", before, re.MULTILINE)[-1])


BLOCKS = tuple(_block(found) for found in FENCE.finditer(DOCUMENT))
JSON = tuple((block, json.loads(block.text)) for block in BLOCKS if block.language == "json")
VARIABLES = tuple((block, document) for block, document in JSON if "routes" in document)
FLAT = tuple((block, document) for block, document in JSON if all(isinstance(value, str) for value in document.values()))
CONNECTIONS = tuple((block, document) for block, document in JSON if all("conn_type" in value for value in document.values()))
STYLES = tuple(re.findall(r"^## (\d\. .*)$", DOCUMENT, re.MULTILINE))


def calls(text: str) -> dict[str, dict[str, ast.expr]]:
    """The DAGs that a text makes, each with the arguments of its `replicate(...)`."""
    return {
        str(node.args[0].value): {str(word.arg): word.value for word in node.keywords}
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "replicate" and isinstance(node.args[0], ast.Constant)
    }


OURS = {name: words for path in (REPOSITORY / "dags").glob("*.py") for name, words in {path.stem: {}, **calls(path.read_text())}.items()}
THEIRS = {name: words for block in BLOCKS if block.language == "python" for name, words in calls(block.text).items()}
DAGS = {**OURS, **THEIRS}
(REPLICATE,) = (node for node in ast.parse(source("dag")).body if isinstance(node, ast.FunctionDef) and node.name == "replicate")
ARGUMENTS = {word.arg for word in REPLICATE.args.kwonlyargs}
EXTRA = set(re.findall(r'extra\.get\("(\w+)"', source("credentials") + source("hooks")))


def kind_of(dag_id: str) -> route.Kind:
    """The Kind of a DAG, as its file says."""
    known = {field.name for field in fields(route.Kind)}
    return route.Kind(**{name: ast.literal_eval(value) for name, value in DAGS[dag_id].items() if name in known})


def named(block: Block) -> str:
    """The DAG whose Variable a block is."""
    (dag_id,) = re.findall(r"the Variable `(fs_sync_\w+)`", block.above)
    return str(dag_id)


def parsed(text: str | None, flat: dict[str, str], kind: route.Kind) -> list[Route]:
    """The routes of a configuration that has no fault."""
    mapped = route.parse(text, flat, kind, form.Run(), "n")
    assert [one.faults for one in mapped if one.faults] == []
    return [one.route for one in mapped if one.route]


@pytest.mark.parametrize("style", STYLES)
def test_a_style_has_all_its_parts(style: str) -> None:
    text = DOCUMENT.partition(f"## {style}\n")[2].partition("\n## ")[0]
    places = [text.find(part) for part in ("What you have:", "| you have | you set here |", "**Different on purpose**", "**Switch**")]
    assert -1 not in places
    assert places == sorted(places)
    assert [section for section in (block.section for block, _ in VARIABLES) if section == style]


def test_there_are_five_styles() -> None:
    assert len(STYLES) == 5


def test_every_json_example_is_looked_at() -> None:
    assert len(VARIABLES) + len(FLAT) + len(CONNECTIONS) == len(JSON)
    assert all((VARIABLES, FLAT, CONNECTIONS))


@pytest.mark.parametrize(("block", "document"), VARIABLES, ids=[named(block) for block, _ in VARIABLES])
def test_a_variable_is_right_for_its_dag_and_its_connections_are_there(block: Block, document: dict[str, Any]) -> None:
    kind = kind_of(named(block))
    # Those of the section itself count, then those of the sections before.
    conns = ChainMap(*(some for of, some in CONNECTIONS if of.section == block.section), *(some for _, some in CONNECTIONS))
    for one in parsed(block.text, {}, kind):
        for end, place, what in ((one.source, kind.source, "source"), (one.target, kind.target, "target")):
            if end.conn != credentials.LOCAL:
                found = credentials.PlainConnection(conn_id=end.conn, **conns[end.conn])
                auth = one.target_auth if what == "target" else "connection"
                login = credentials.from_connection(found, "any" if place == "host" else place, auth)
                assert (login.kind == "s3") == bool(end.bucket)


@pytest.mark.parametrize(("block", "document"), FLAT)
def test_flat_variables_are_a_route_of_the_dag_named_above_them(block: Block, document: dict[str, str]) -> None:
    assert set(document) <= set(form.FLAT)
    (dag_id,) = set(re.findall(r"`(fs_sync_\w+)`", block.above))
    assert len(parsed(None, document, kind_of(dag_id))) == 1


@pytest.mark.parametrize(("block", "document"), CONNECTIONS)
def test_a_connection_has_what_a_job_reads_and_nothing_else(block: Block, document: dict[str, Any]) -> None:
    for conn_id, said in document.items():
        assert set(said["extra"]) <= EXTRA
        found = credentials.PlainConnection(conn_id=conn_id, **said)
        credentials.refuse_unchecked(found)
        target = credentials.from_connection(found, "any", "connection" if found.password else "host")
        assert target.host_keys or target.endpoint


def test_every_dag_and_every_flat_variable_is_there() -> None:
    found = set(re.findall(r"\bfs_sync_\w+", DOCUMENT))
    flat = {*form.FLAT, *form.THRESHOLDS}
    assert found >= flat
    assert found - {*flat, *DAGS} == {"fs_sync_service", "fs_sync_large"}  # a Variable of two DAGs, and a pool
    assert {name for name in found if name.startswith("fs_sync_service_")} == {"fs_sync_service_quick", "fs_sync_service_full"}


def test_every_variable_in_the_environment_is_one_of_ours() -> None:
    names = re.findall(r"\bAIRFLOW_(VAR|CONN)_(\w+)", DOCUMENT)
    assert {name.lower() for of, name in names if of == "VAR"} <= set(form.FLAT)
    assert {name.lower() for of, name in names if of == "CONN"} == {"sftp_source_conn", "sftp_target_conn"}
    ours = set(re.findall(r"\bFS_SYNC_\w+", re.sub(r"AIRFLOW_VAR_\w+", "", DOCUMENT)))
    assert ours == set(re.findall(r'"(FS_SYNC_LARGE_\w+)"', source("dag")))


def test_every_name_in_the_text_is_one_that_something_reads() -> None:
    known = {
        *Route.model_fields,
        *Endpoint.model_fields,
        *form.run_params(),
        *form.FLAT,
        *form.THRESHOLDS,
        *DAGS,
        *ARGUMENTS,
        *EXTRA,
        *credentials.UNCHECKED,
    }
    known |= {conn_id for _, document in CONNECTIONS for conn_id in document} | {
        "s3_target_conn",
        "s3_source_conn",
        "large_files",
        "fs_sync_large",
        "fs_sync_service",
        "fs_sync_",
    }
    words = {span for span in SPANS if re.fullmatch(r"[a-z0-9]+(_[a-z0-9]*)+", span)}
    assert {"min_age", "retry_delay", "host_key", "dry_run"} <= words
    assert words - known == set()


@pytest.mark.parametrize("said", sorted({span for span in SPANS if re.match(r'"?[a-z_]+"?: ', span)}))
def test_an_option_with_its_value_is_taken(said: str) -> None:
    name, _, value = said.replace('"', "", 2 if said.startswith('"') else 0).partition(": ")
    if name in credentials.UNCHECKED:
        with pytest.raises(ConfigError, match="always checks host keys"):
            credentials.refuse_unchecked(credentials.PlainConnection("c", "ssh", extra={name: json.loads(value)}))
        return
    plain = json.loads(value) if re.match(r'["\[\d]|true|false', value) else value
    one: dict[str, Any] = {"name": "a", "source": {"path": "/a"}, "target": {"path": "/b"}}
    (one["source"] if name in Endpoint.model_fields else one)[name] = plain
    parsed(json.dumps({"routes": [one]}), {}, kind_of("fs_sync_rclone_worker"))


def test_the_form_takes_what_is_said_and_no_path() -> None:
    (row,) = (line for line in DOCUMENT.splitlines() if "the form knows" in line)
    assert set(re.findall(r"`(\w+)`", row)) == set(form.run_params())
    with pytest.raises(ConfigError):
        form.read_run({"source_path": "/etc"})


def test_the_examples_of_dags_are_airflow_s_and_call_what_is_there() -> None:
    for block in BLOCKS:
        if block.language == "python":
            ast.parse(block.text)
            assert "fs_sync" not in block.text or "airflow" in block.text.lower(), "without the word Airflow passes the file over"
    assert THEIRS
    assert {name for words in THEIRS.values() for name in words} <= ARGUMENTS
    assert all(kind_of(dag_id) for dag_id in THEIRS)


def test_what_passes_the_worker_is_said_of_each_dag() -> None:
    rows = re.findall(r"^\|.*\| `(fs_sync_\w+)` \| (yes|no) \|$", DOCUMENT, re.MULTILINE)
    assert len(rows) == 5
    assert {dag_id: kind_of(dag_id).runner == "worker" for dag_id, _ in rows} == {dag_id: said == "yes" for dag_id, said in rows}


def test_every_number_is_the_one_of_the_code() -> None:
    assert f"More than {steps.SMALL_BYTES // 1024**2} MiB or {steps.SMALL_FILES} files" in DOCUMENT
    assert f"the first {records.NAMES} names" in DOCUMENT
    (first,) = set(re.findall(r'"\$run/\$list" \| head -n (\d+)', (REPOSITORY / "templates" / "plan.sh.j2").read_text()))
    assert f"the first {first} names" in DOCUMENT


def test_an_excluded_directory_leaves_one_level() -> None:
    assert '`"exclude": ["*/"]`' in DOCUMENT
    assert patterns.matches("a.csv", False, exclude=["*/"])
    assert not patterns.matches("sub/a.csv", False, exclude=["*/"])


def test_the_word_of_another_tool_is_answered_with_ours() -> None:
    written = {"routes": [{"name": "a", "source": {"path": "/a"}, "destination": {"path": "/b"}}]}
    (mapped,) = route.parse(json.dumps(written), {}, kind_of("fs_sync_rsync"), form.Run(), "n")
    assert any("destination" in fault and "target" in fault for fault in mapped.faults)


def commands() -> list[list[str]]:
    """The commands of all blocks for a shell, each as its words."""
    lines = [line for block in BLOCKS if block.language == "sh" for line in block.text.splitlines()]
    return [
        shlex.split(part) for line in lines for part in re.split(r" && | +# ", line) if part.startswith(("airflow ", "make ", "docker "))
    ]


def test_every_airflow_command_is_one(tmp_path: Path) -> None:
    given = [words[1:] for words in commands() if words[0] == "airflow"]
    assert len(given) > 10
    check = "import json, sys\nfrom airflow.cli.cli_parser import get_parser\nparser = get_parser()\n"
    check += "[parser.parse_args(words) for words in json.load(sys.stdin)]"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")} | {"AIRFLOW_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", check], input=json.dumps(given), env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for words in given:
        if "--conf" in words:
            assert form.read_run(json.loads(words[-1])) != form.Run()


def test_no_secret_is_on_a_command_line() -> None:
    assert [words for words in commands() if re.search(r"--conn-(password|extra|uri|json)|PASSWORD|SECRET", " ".join(words))] == []


def test_every_make_target_and_profile_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {words[1] for words in commands() if words[0] == "make"} <= targets
    profiles = re.findall(r"profiles: \[([\w, ]+)\]", (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))
    assert set(re.findall(r"--profile (\w+)", DOCUMENT)) <= {name for some in profiles for name in some.split(", ")}


def test_every_setting_of_the_service_is_one_of_its_own() -> None:
    said = (REPOSITORY / "docs" / "service.md").read_text(encoding="utf-8")
    (example,) = (block.text for block in BLOCKS if block.language == "ini" and "SFTP_HOST" in block.text)
    names = re.findall(r"^([A-Z0-9_]+)=", example, re.MULTILINE)
    assert "SFTP_HOST_KEY" in names
    assert [name for name in names if not re.search(rf"\b{name}\b", said)] == []


def _anchors(text: str) -> set[str]:
    return {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    }


def test_links_lead_somewhere() -> None:
    wrong = []
    for name, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", TEXT):
        there = PATH.parent / name if name else PATH
        if not there.exists() or (anchor and anchor not in _anchors(there.read_text(encoding="utf-8"))):
            wrong.append(f"{name}#{anchor}")
    assert wrong == []
