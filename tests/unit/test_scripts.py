"""The scripts of a route: clean sh, every value one word of it, every option in it, and no secret."""

import itertools
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from fs_sync import credentials, patterns, scripts
from fs_sync.credentials import PlainConnection, Target
from fs_sync.options import Anomalies, Route
from fs_sync.route import Kind

KINDS = {"rsync": Kind("rsync", "ssh"), "rclone": Kind("rclone", "ssh"), "minio": Kind("rclone", "s3")}
WORKER = Kind("rclone", "any", "any", "worker")
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKey"
SSH = Target("ssh", "there", "key", "host.example", 2222, "me", (HOST_KEY,))
S3 = Target("s3", "store", "key", endpoint="http://127.0.0.1:9000", region="us-east-1", provider="Other")
ODD = 'it\'s $(touch x) `y` "z" ${#x} {{ 7*7 }} {# c #} {% raw %} \\ !x * ? ; & | < > # ~ é'
FULL: dict[str, Any] = {
    "include": ["*.jpg", "/albums/", ODD],
    "exclude": ["*.tmp", "cache/", ODD],
    "min_age": "5m",
    "verify": "all",
    "preserve": ["times", "modes", "owners", "hardlinks", "acls", "xattrs"],
    "overwrite": "newer",
    "bandwidth": "10M",
    "compress": True,
    "require": ODD,
}
# Of each option a value that is not its default, and for which kinds it means anything.
OPTIONS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "include": (["*.jpg"], tuple(KINDS)),
    "exclude": (["*.tmp"], tuple(KINDS)),
    "min_age": ("5m", tuple(KINDS)),
    "verify": ("all", tuple(KINDS)),
    "scan": ("quick", tuple(KINDS)),
    "preserve": (["times"], ("rsync",)),
    "overwrite": ("newer", tuple(KINDS)),
    "bandwidth": ("10M", tuple(KINDS)),
    "compress": (True, ("rsync", "rclone")),
    "require": (".mounted", tuple(KINDS)),
    "target_auth": ("host", tuple(KINDS)),
    "small_file": ("20M", ("rsync",)),
    "large_file": ("500M", tuple(KINDS)),
    "max_file": ("20G", tuple(KINDS)),
    "oversized": ("skip", tuple(KINDS)),
    "anomalies": ({"future_mtime": "hold"}, tuple(KINDS)),
}
# These are for the job around the script, or can have one value only.
OF_THE_JOB = {"name", "source", "target", "job_dir", "timeout", "stall_after", "stale_after", "small", "large", "approve", "deletions"}


def a_route(kind: str, source: str = "/srv/data", target: str = "/srv/copy", **options: Any) -> Route:
    to = {"conn": "there", "path": target, "bucket": "backup" if kind == "minio" else ""}
    return Route.model_validate({"name": "r", "source": {"conn": "here", "path": source}, "target": to, **options})


def a_target(kind: str, **changes: Any) -> Target:
    return replace(S3 if kind == "minio" else SSH, **changes)


def render(step: str, kind: str, server: Target | None = None, *, dry_run: bool = False, **options: Any) -> str:
    route = a_route(kind, **options)
    auth = {"auth": "host"} if route.target_auth == "host" else {}
    return scripts.render(step, route, server or a_target(kind, **auth), KINDS[kind], dry_run=dry_run)


def every_script() -> Mapping[str, str]:
    """A small matrix in which each branch of each template is taken, and is left out, by each kind that has it."""
    logins = itertools.cycle(["key", "password", "host"])
    made = {}
    for kind, step in itertools.product(KINDS, scripts.STEPS):
        one, other = a_target(kind, auth=next(logins), host_keys=(HOST_KEY,) * 3), a_target(kind, auth=next(logins), host_keys=())
        made[f"{kind}-{step}-plain"] = render(step, kind, one)
        made[f"{kind}-{step}-full"] = render(step, kind, other, source=f"/{ODD}", target=f"/{ODD}", dry_run=step == "plan", **FULL)
        made[f"{kind}-{step}-quick"] = render(step, kind, one, scan="quick")
        made[f"{kind}-{step}-no limit"] = render(step, kind, one, oversized="transfer")
    for kind in ("rsync", "minio"):
        made[f"{kind}-left-out"] = scripts.render("oversized", a_route(kind), a_target(kind), KINDS[kind], answer="leave out")
        made[f"{kind}-finish-size"] = render("finish", kind, verify="size")
    return {**made, **directions()}


def directions() -> Mapping[str, str]:
    """The same for every direction that the worker copies in, from any end to any end."""
    ends = {"ssh": replace(SSH, auth="password"), "s3": S3, "host": Target("host", "here", "host")}
    made = {}
    for (one, source), (other, target), step in itertools.product(ends.items(), ends.items(), scripts.STEPS):
        places = [
            {"conn": "c", "path": f"{'' if end == 's3' else '/'}{ODD}", "bucket": "backup" if end == "s3" else ""} for end in (one, other)
        ]
        for more, options in (("plain", {}), ("full", FULL), ("size", {"verify": "size"})):
            asked = Route.model_validate({"name": "r", "source": places[0], "target": places[1], **options})
            made[f"{one}-{other}-{step}-{more}"] = scripts.render(step, asked, target, WORKER, None if one == "host" else source)
    return made


def test_shellcheck_has_nothing_to_say(tmp_path: Path) -> None:
    paths = []
    for name, text in every_script().items():
        paths.append(tmp_path / f"{name}.sh")
        paths[-1].write_text(text)
    shellcheck = Path(sys.executable).parent / "shellcheck"
    found = subprocess.run([shellcheck, "-s", "sh", "-f", "gcc", *paths], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_every_shell_can_read_them(shell: str) -> None:
    program = shutil.which(shell)
    assert program, f"{shell} is not installed; the tests need it"
    for name, text in every_script().items():
        argv = [program, *(["sh"] if shell == "busybox" else []), "-n"]
        found = subprocess.run(argv, input=text.encode(), capture_output=True, check=False)
        assert (found.returncode, found.stderr) == (0, b""), name


def assigned(script: str, name: str) -> str:
    """The value that a script gives to a variable, as sh reads it."""
    lines = script.splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith(f"{name}="))
    text = f"{lines[first]}\nprintf '%s' \"${name}\""
    return subprocess.run(["sh", "-c", text], capture_output=True, check=True, text=True, env={}).stdout


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [ODD, "'", '"', "$(id)", "`id`", "\\", "a  b", "-rf", "!!", "%s", "é", "\t", "{{ x }}", "END"])
def test_a_value_is_one_word_whatever_it_holds(kind: str, value: str) -> None:
    script = render("plan", kind, source=f"/{value}", target=f"/{value}")
    assert assigned(script, "src") == f"/{value}"
    # Kept apart from the route's own check, a prefix has lost its slash.
    assert assigned(script, "dst") == (f"backup/{value}" if kind == "minio" else f"/{value}")


@pytest.mark.parametrize("kind", ["rsync", "rclone"])
def test_what_a_connection_says_is_quoted_too(kind: str) -> None:
    target = a_target(kind, host="$(touch x)", login="it's $me", host_keys=(f"{HOST_KEY}'$(touch x)",), conn_id="a'b")
    script = render("plan", kind, target)
    assert assigned(script, "target_place") == "it's $me@$(touch x):2222"
    assert assigned(script, "target_conn") == "a'b"
    line = next(line for line in script.splitlines() if line.endswith(">>known_hosts")).replace(">>known_hosts", "")
    assert subprocess.run(["sh", "-c", line], capture_output=True, check=True, text=True).stdout == f"target {HOST_KEY}'$(touch x)\n"


@pytest.mark.parametrize("kind", KINDS)
def test_a_pattern_is_one_word_whatever_it_holds(kind: str, tmp_path: Path) -> None:
    script = render("plan", kind, exclude=[ODD, "*.tmp"], include=["'"])
    for file, rules in (("exclude.ere", patterns.ere_rules([ODD, "*.tmp"])), ("include.ere", patterns.ere_rules(["'"]))):
        line = next(line for line in script.splitlines() if line.endswith(f">{file}"))
        subprocess.run(["sh", "-c", line], check=True, cwd=tmp_path)
        assert (tmp_path / file).read_text().splitlines() == list(rules)
    rules = patterns.rsync_rules(["'"], [ODD, "*.tmp"]) if kind == "rsync" else patterns.rclone_rules(["'"], [ODD, "*.tmp"])
    body = script.partition("make_filter() {")[2].partition("\n}\n")[0]
    lines = [
        line
        for line in body.splitlines()
        if line.strip().startswith("printf '%s\\n' ") and "$" not in line.replace("$(touch", "").replace("${#x}", "")
    ]
    text = subprocess.run(["sh", "-c", "\n".join(lines[-len(rules) :])], capture_output=True, check=True, text=True).stdout
    assert text.splitlines() == list(rules)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", scripts.STEPS)
def test_no_secret_is_in_a_script(kind: str, step: str) -> None:
    secrets = {
        "password": "Pa55-w0rd",
        "key": "-----BEGIN KEY-----\nS3cretB0dy\n",
        "access_key": "ACC355",
        "secret_key": "S3CR3T",
        "session_token": "T0K3N",
    }
    for auth in ("key", "password", "host"):
        with_secrets = render(step, kind, a_target(kind, auth=auth, **secrets), **FULL)
        assert with_secrets == render(step, kind, a_target(kind, auth=auth), **FULL)
        for secret in ("Pa55", "S3cretB0dy", "ACC355", "S3CR3T", "T0K3N"):
            assert secret not in with_secrets


def test_a_target_s_secrets_are_no_public_values() -> None:
    conn = PlainConnection("t", "ssh", "host.example", 22, "me", "Pa55-w0rd", {})
    assert "Pa55" not in repr(credentials.from_connection(conn, "ssh", "connection").public)


def test_every_option_is_looked_at() -> None:
    assert {*OPTIONS, *OF_THE_JOB} == set(Route.model_fields)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_has_an_effect(option: str) -> None:
    value, kinds = OPTIONS[option]
    for kind in KINDS:
        differs = {step for step in scripts.STEPS if render(step, kind, **{option: value}) != render(step, kind)}
        assert bool(differs) == (kind in kinds), f"{option} changes {differs or 'nothing'} of {kind}"


SCRIPTED = {name: get_args(field.annotation) for name, field in Anomalies.model_fields.items() if name != "slow"}


def policy_of(script: str, name: str) -> set[str]:
    """The policies with which a script tells of an anomaly."""
    return set(re.findall(rf"^[^#\n]*\b(?:unusual|anomaly) {name} (\w+)", script, re.MULTILINE))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name, policy", [(name, policy) for name, policies in SCRIPTED.items() for policy in policies])
def test_each_policy_reaches_the_script(kind: str, name: str, policy: str) -> None:
    both = render("plan", kind, anomalies={name: policy}) + render("finish", kind, anomalies={name: policy})
    expected = {other: policy if other == name else str(Anomalies.model_fields[other].default) for other in SCRIPTED}
    assert {other: policy_of(both, other) for other in SCRIPTED} == {
        other: set() if said == "ignore" else {said} for other, said in expected.items()
    }


def test_the_worker_holds_what_others_ask_about() -> None:
    places = [{"conn": "c", "path": "/a"}, {"conn": "d", "path": "/b"}]
    asked = {name: "approve" for name, policies in SCRIPTED.items() if "approve" in policies}
    route = Route.model_validate({"name": "r", "source": places[0], "target": places[1], "oversized": "transfer", "anomalies": asked})
    for source in (SSH, S3):
        script = scripts.render("plan", route, SSH, WORKER, source)
        assert {name: policy_of(script, name) for name in asked} == {name: {"hold"} for name in asked}
    assert policy_of(scripts.render("plan", route, SSH, KINDS["rsync"]), "run_bytes") == {"approve"}


def test_a_tier_and_an_answer_look_for_no_anomalies() -> None:
    for kind, step in itertools.product(KINDS, ("small", "large")):
        assert not re.search(r"^\s*unusual ", render(step, kind), re.MULTILINE)
        assert render(step, kind) == render(step, kind, anomalies={"run_files": "fail", "future_mtime": "hold"})


FLAGS = [
    ("rsync", {"preserve": ["owners"]}, ("--owner", "--group", "--checksum"), ("--times", "--perms", "--links")),
    (
        "rsync",
        {"preserve": ["times", "hardlinks", "acls", "xattrs"]},
        ("--times", "--hard-links", "--acls", "--xattrs"),
        ("--owner", "--perms", "--links"),
    ),
    ("rsync", {"overwrite": "newer"}, ("--update",), ("--ignore-existing",)),
    ("rsync", {"overwrite": "never"}, ("--ignore-existing",), ("--update",)),
    ("rsync", {"compress": True}, ("--compress",), ()),
    ("rsync", {"include": ["*.a"]}, ("--prune-empty-dirs",), ()),
    ("rsync", {"bandwidth": "10M"}, ("--bwlimit=10240",), ()),
    ("rsync", {"bandwidth": "1500"}, ("--bwlimit=1",), ()),
    ("rsync", {}, ("--times", "--perms", "--links", "--sparse"), ("--bwlimit", "--compress", "--delete", "--inplace", "--append")),
    ("rclone", {"overwrite": "never"}, ("--ignore-existing",), ("--update",)),
    ("rclone", {"bandwidth": "10M"}, ("--bwlimit 10485760B",), ()),
    ("rclone", {"compress": True}, ("Compression yes",), ("Compression no",)),
    ("rclone", {}, ("--create-empty-src-dirs", "Compression no"), ("rclone_run sync", "--bwlimit", "--delete")),
    ("minio", {"bandwidth": "10M"}, ("--bwlimit 10485760B",), ()),
    ("minio", {}, (), ("--create-empty-src-dirs", "rclone_run sync", "--delete")),
]


@pytest.mark.parametrize("kind, options, there, absent", FLAGS)
def test_options_become_the_tools_flags(kind: str, options: dict[str, Any], there: tuple[str, ...], absent: tuple[str, ...]) -> None:
    script = render("finish", kind, **options)
    assert [flag for flag in there if flag not in script] == []
    tool = script.partition("tool_check()")[2]
    assert [flag for flag in absent if flag in tool] == []


@pytest.mark.parametrize("auth, there, absent", [
    ("key", "PreferredAuthentications publickey", "PubkeyAuthentication no"),
    ("password", "PreferredAuthentications password,keyboard-interactive", "BatchMode yes"),
    ("host", "BatchMode yes", "PreferredAuthentications"),
])  # fmt: skip
def test_the_login_is_the_only_one_that_is_tried(auth: str, there: str, absent: str) -> None:
    for kind in ("rsync", "rclone"):
        script = render("plan", kind, a_target(kind, auth=auth))
        assert there in script
        assert absent not in script


def test_host_keys_are_always_checked() -> None:
    for kind, step in itertools.product(("rsync", "rclone"), scripts.STEPS):
        script = render(step, kind, **FULL)
        assert "StrictHostKeyChecking yes" in script
        for word in ("StrictHostKeyChecking no", "accept-new", "UserKnownHostsFile /dev/null"):
            assert word not in script
        without = render(step, kind, a_target(kind, host_keys=()))
        assert "\nfail 103" in without.partition("probe=")[0]


def test_a_dry_run_copies_nothing() -> None:
    for kind in KINDS:
        script = render("plan", kind, dry_run=True)
        assert "would copy" in script
        assert script != render("plan", kind)


def test_a_step_that_is_none() -> None:
    with pytest.raises(ValueError, match="none of plan, small, large, finish, oversized"):
        render("verify", "rsync")
