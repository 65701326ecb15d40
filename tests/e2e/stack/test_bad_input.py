"""What keeps the stack from starting is said by `make up` in one clear line, which names it and the mend."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from lab.airflow import REPOSITORY
from tests.e2e.stack.compose import HOST_IMAGE, Stack, docker, run
from tests.e2e.stack.conftest import bases

MEND_UID = "set AIRFLOW_UID=50000 in .env"
DROP = "docker compose down -v"
# By the name of the case: the environment, files that volumes hold already, and what the line must say.
CASES: dict[str, tuple[dict[str, str], dict[str, str], tuple[str, ...]]] = {
    "uid-no-number": ({"AIRFLOW_UID": "abc"}, {}, ('AIRFLOW_UID is "abc"', MEND_UID)),
    "uid-root": ({"AIRFLOW_UID": "0"}, {}, ('AIRFLOW_UID is "0"', MEND_UID)),
    "uid-too-long": ({"AIRFLOW_UID": "99999999999"}, {}, ('AIRFLOW_UID is "99999999999"', MEND_UID)),
    "memory": ({"STACK_MIN_MEMORY_MB": "99999999"}, {}, ("MB of memory", "99999999 MB", "give it more")),
    "postgres-older": (
        {},
        {"postgres-data/PG_VERSION": "13"},
        ("volume postgres-data is PostgreSQL 13's", "set POSTGRES_VERSION to a 13", DROP),
    ),
    "password-lost": ({}, {"postgres-data/PG_VERSION": "17"}, ("volume postgres-data is there", "secrets-postgres", DROP)),
    "airflow-older": (
        {},
        {"secrets-airflow/airflow_version": "3.99.0"},
        ("last used by Airflow 3.99.0", "this is 3.3.2", "check out the fs-sync", DROP),
    ),
}


@pytest.fixture
def fresh(images: None, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A copy of the stack that is yet to be started; nothing of it is left."""
    made = Stack(f"fs-sync-bad-{os.getpid()}")
    try:
        yield made
    finally:
        made.forget()
        assert made.left() == ""


def lines_told(stack: Stack, environment: Mapping[str, str]) -> list[str]:
    """Run `make up`, which must fail, and return what it says of that."""
    variables = {**stack.variables, "COMPOSE_PROJECT_NAME": stack.project, **environment}
    done = subprocess.run(["make", "-s", "up"], cwd=REPOSITORY, env=variables, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode, done.stdout
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make: ")]
    assert lines[0].startswith("fs-sync: "), done.stdout[-3000:] + done.stderr
    return lines


def told(stack: Stack, environment: Mapping[str, str]) -> str:
    """The same where it is one line."""
    (line,) = lines_told(stack, environment)
    return line


def put(stack: Stack, files: Mapping[str, str]) -> None:
    """Make volumes as compose does, with some files in them."""
    for path, text in files.items():
        volume, _, name = path.partition("/")
        full = f"{stack.project}_{volume}"
        labels = (f"com.docker.compose.project={stack.project}", f"com.docker.compose.volume={volume}")
        docker("volume", "create", *(word for label in labels for word in ("--label", label)), full)
        docker(
            "run", "--rm", "-i", "-u", "0", "-v", f"{full}:/kept", "--entrypoint", "sh", HOST_IMAGE, "-c", f"cat >/kept/{name}", input=text
        )


@pytest.mark.parametrize("case", CASES)
def test_what_the_stack_finds_at_its_start(fresh: Stack, case: str) -> None:
    environment, files, words = CASES[case]
    put(fresh, files)
    line = told(fresh, environment)
    assert [word for word in words if word not in line] == [], line
    # Nothing of it runs on.
    assert [container["Name"] for container in fresh.containers() if container["State"]["Running"]] == []


@pytest.mark.parametrize(
    "name, image, version, words",
    [
        ("POSTGRES_VERSION", "postgres", "18.1", ('POSTGRES_VERSION is "18.1"', "must be 17 or earlier", "set POSTGRES_VERSION=17")),
        (
            "AIRFLOW_VERSION",
            "apache/airflow",
            "3.3.1",
            ('AIRFLOW_VERSION is "3.3.1"', "made for Airflow 3.3.2", "set AIRFLOW_VERSION=3.3.2"),
        ),
    ],
)
def test_a_version_that_this_stack_is_not_made_for(fresh: Stack, name: str, image: str, version: str, words: tuple[str, ...]) -> None:
    """The image of that version is there; here it is another one of that name."""
    there = next(base for base in bases() if base.startswith(f"{image}:"))
    docker("tag", there, f"{image}:{version}")
    try:
        line = told(fresh, {name: version})
    finally:
        docker("rmi", f"{image}:{version}")
    assert [word for word in words if word not in line] == [], line


def test_a_clone_that_only_its_owner_can_read(fresh: Stack) -> None:
    path = REPOSITORY / "dags" / "fs_sync_rsync.py"
    mode = path.stat().st_mode
    path.chmod(0o600)
    try:
        line = told(fresh, {})
    finally:
        path.chmod(mode)
    assert "dags/fs_sync_rsync.py can't be read by the containers' users" in line
    assert "chmod -R o+rX" in line


def test_a_taken_port(fresh: Stack) -> None:
    with socket.create_server(("127.0.0.1", fresh.port)):
        line = told(fresh, {})
    assert f"127.0.0.1:{fresh.port} is taken" in line
    assert "set AIRFLOW_PORT" in line
    assert fresh.left() == ""


def test_no_engine(fresh: Stack, tmp_path: Path) -> None:
    line = told(fresh, {"DOCKER_HOST": f"unix://{tmp_path}/docker.sock"})
    assert "no Docker engine answers" in line
    assert "docker/offline/engine start" in line


@pytest.mark.parametrize(
    "asked, answer, words",
    [
        ("version --format", "19.03.15", ("engine is 19.03.15", "needs 20.10", "install a newer one")),
        ("compose version", "2.10.0", ("compose is 2.10.0", "needs 2.20.2", "install a newer one")),
    ],
)
def test_an_engine_or_compose_too_old(fresh: Stack, tmp_path: Path, asked: str, answer: str, words: tuple[str, ...]) -> None:
    """The real client, but for the one answer: no old engine can be had here."""
    script = f'#!/bin/sh\ncase "$*" in "{asked}"*) echo {answer} && exit ;; esac\nexec {shutil.which("docker")} "$@"\n'
    (tmp_path / "docker").write_text(script)
    (tmp_path / "docker").chmod(0o755)
    # make puts the environment's programs first, so this stands before them as well.
    variables = {**fresh.variables, "COMPOSE_PROJECT_NAME": fresh.project, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = run("sh", "docker/up.sh", cwd=REPOSITORY, env=variables, check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode
    assert [word for word in words if word not in line] == [], line


def test_a_mended_value_starts_where_a_wrong_one_did_not(fresh: Stack, tell: Callable[[str], None]) -> None:
    """After a refusal nothing is in the way of the right value: the secrets are made, and the services that need no Airflow run."""
    told(fresh, {"AIRFLOW_UID": "abc"})
    fresh.up("postgres", "redis", "source")
    states = {
        container["Config"]["Labels"]["com.docker.compose.service"]: container["State"]
        for container in fresh.containers("postgres", "redis", "source")
    }
    assert {name: state["Health"]["Status"] for name, state in states.items()} == dict.fromkeys(("postgres", "redis", "source"), "healthy")


def test_the_file_of_the_service_is_looked_at_before_anything_starts(fresh: Stack, tmp_path: Path) -> None:
    """By the command that its user gives, in which the file is missing, and by `make up`: each name that is missing in it."""
    fresh.environment = {"COMPOSE_PROFILES": "service", "SERVICE_ENV_DIR": str(tmp_path)}
    done = fresh.run("--profile", "service", "up", env={"COMPOSE_PROFILES": "demo"}, check=False)
    assert done.returncode
    assert "fs-sync: service.env is not there: copy service.env.example to it" in done.stdout + done.stderr
    assert started(fresh) == {"service-check", "secrets"}
    assert not (tmp_path / "service.env").exists()

    file = tmp_path / "service.env"
    file.write_text("SFTP_HOST=127.0.0.1\nSFTP_PORT=1\nSFTP_USER=replica\nSFTP_PASS=never-to-be-seen\nS3_FOLDER=x\n")
    lines = lines_told(fresh, {})
    assert lines[0] == "fs-sync: service.env can't be used:"
    names = ["S3_FOLDER", "SFTP_FOLDER_NAME", "S3_ENDPOINT", "S3_BUCKET_NAME", "S3_FOLDER_NAME", "S3_REGION", "S3_ACCESS_KEY_ID"]
    assert [line.split()[0] for line in lines[1:]] == [*names, "S3_SECRET_ACCESS_KEY", "SFTP_HOST_KEY", "the"]
    assert "did you mean S3_FOLDER_NAME?" in lines[1]
    assert "the server can't be asked" in lines[-2]
    assert "(mode 0644); chmod it to 0600" in lines[-1]
    assert started(fresh) == {"service-check", "secrets"}
    assert "never-to-be-seen" not in fresh.logs() + str(fresh.containers()) + "".join(lines)


def started(stack: Stack) -> set[str]:
    """The services of a copy that have ever run."""
    return {
        container["Config"]["Labels"]["com.docker.compose.service"]
        for container in stack.containers()
        if not container["State"]["StartedAt"].startswith("0001-")
    }
