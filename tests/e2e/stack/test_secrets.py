"""No secret of the running stack is where others can see it: containers, images, the repository, logs, command lines, the database."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.airflow import REPOSITORY
from tests.e2e.secrets_search import forms, hits, parts
from tests.e2e.stack.compose import DAGS, HOST_IMAGE, MEBI, VERSION, Stack, docker

BIG = 12 * MEBI
SLOW = "2M"
PLANTED = "fs-sync-planted:test"
# What is public, or holds what stands in another file by itself.
PUBLIC = ("_host_key.pub", "authorized_keys", "airflow_version", "redis.conf")
# The volumes of secrets that each service reads; the one that makes them has all of them.
AIRFLOW = ("airflow-init", "airflow-apiserver", "scheduler", "dag-processor", "triggerer", "worker", "worker-large")
READS = {
    **{service: {"airflow"} for service in AIRFLOW},
    "demo-init": {"airflow", "demo"},
    **{service: {service} for service in ("postgres", "redis", "minio", "source", "target")},
}


@pytest.fixture
def secrets(stack: Stack) -> dict[str, str]:
    """Every secret by its name; of a name and password in one also the password alone."""
    found = {name: text.strip() for name, text in stack.secrets().items() if not name.endswith(PUBLIC)}
    found["flower's password"] = found["secrets-airflow/flower_basic_auth"].partition(":")[2]
    assert {"secrets-airflow/fernet_key", "secrets-postgres/password", "secrets-source/ssh_host_ed25519_key"} <= set(found)
    assert all(len(secret) >= 16 for secret in found.values())
    return found


@pytest.fixture
def patterns(secrets: dict[str, str], tmp_path: Path) -> Path:
    """All forms of all secrets, one a line, for what is too large to be held: each is looked for by grep."""
    lines = {form for secret in secrets.values() for part in parts(secret) for form in forms(part)}
    path = tmp_path / "patterns"
    path.touch(mode=0o600)
    path.write_bytes(b"\n".join(sorted(lines)) + b"\n")
    return path


def holds(patterns: Path, *command: str) -> bool:
    """Whether what a command prints holds one of the patterns."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as printing:
        searched = subprocess.run(["grep", "-aFqf", patterns], stdin=printing.stdout, env={**os.environ, "LC_ALL": "C"}, check=False)
        assert printing.stdout is not None
        printing.stdout.close()  # what is found early need not be printed to its end
    assert searched.returncode in (0, 1)
    assert searched.returncode == 0 or printing.returncode == 0, command
    return searched.returncode == 0


def texts(stack: Stack) -> Iterator[tuple[str, bytes]]:
    """All that can be seen of the running stack from outside, and what Airflow and the jobs wrote; a file may vanish while it is read."""
    for container in stack.containers():
        yield f"docker inspect {container['Name']}", json.dumps(container).encode()
        if container["State"]["Running"]:
            yield f"docker top {container['Name']}", docker("top", container["Id"], "-eo", "pid,args").encode()
    yield "the containers' logs", stack.logs().encode()
    yield "the tasks' logs", stack.sh("airflow-apiserver", "find /opt/airflow/logs -type f -exec cat {} + 2>/dev/null || :").encode()
    yield "the jobs on the source", stack.sh("source", "find ~/.fs-sync -type f -exec cat {} + 2>/dev/null || :").encode()
    dump = "PGPASSWORD=$(cat /secrets/password) exec pg_dump -h 127.0.0.1 -U airflow --exclude-table=connection airflow"
    yield "the database but for connections, which are encrypted", stack.sh("postgres", dump).encode()
    yield "the broker's command log", stack.sh("redis", "find /data -type f -exec cat {} + 2>/dev/null || :").encode()


def test_no_secret_can_be_seen_while_files_are_copied_and_after(stack: Stack, secrets: dict[str, str]) -> None:
    runs = [stack.begin(f"seen-{dag_id}", BIG, dag_id, bandwidth=SLOW) for dag_id in DAGS]
    with stack.frozen(*runs):
        seen = list(texts(stack))
        assert any("rsync" in text.decode() for where, text in seen if where.startswith("docker top") and "source" in where)
        assert hits(seen, secrets) == []
    for run in runs:
        run.good()
    after = list(texts(stack))
    assert hits(after, secrets) == []
    # The search is no empty one: a secret planted in any of these is found.
    planted = secrets["secrets-airflow/admin_password"].encode()
    assert all(hits([(where, text + b" " + planted)], secrets) for where, text in after)
    assert all(text for _, text in after)


def test_no_secret_is_in_an_image(stack: Stack, secrets: dict[str, str], patterns: Path) -> None:
    for image in (f"{stack.project}-airflow:{VERSION}", f"{stack.project}-host:{VERSION}"):
        history = docker("history", "--no-trunc", "--format", "{{json .}}", image) + docker("image", "inspect", image)
        assert hits([(image, history.encode())], secrets) == []
        assert not holds(patterns, "docker", "save", image), image


def test_the_search_of_images_finds_what_was_planted(secrets: dict[str, str], patterns: Path, tmp_path: Path) -> None:
    """In a layer and in the history; else the silence of the other test would mean nothing."""
    secret = secrets["secrets-airflow/fernet_key"]
    (tmp_path / "planted").write_text(f"key={secret}\n")
    (tmp_path / "Dockerfile").write_text(f"FROM {HOST_IMAGE}\nCOPY planted /planted\nENV PLANTED={secret}\n")
    try:
        docker("build", "-q", "-t", PLANTED, str(tmp_path))
        assert hits([("history", docker("history", "--no-trunc", PLANTED).encode())], secrets)
        (tmp_path / "Dockerfile").write_text(f"FROM {HOST_IMAGE}\nCOPY planted /planted\n")
        docker("build", "-q", "-t", PLANTED, str(tmp_path))
        assert not hits([("history", docker("history", "--no-trunc", PLANTED).encode())], secrets)
        assert holds(patterns, "docker", "save", PLANTED)
    finally:
        docker("rmi", "-f", PLANTED)


def test_no_secret_is_in_the_repository_or_its_history(patterns: Path) -> None:
    without = ("--exclude-dir=.git", "--exclude-dir=.venv", "--exclude-dir=build")
    prune = r"find . \( -name .git -o -name .venv -o -path ./build \) -prune -o -type f -exec cat {} +"
    assert not holds(patterns, "sh", "-c", prune)
    if (REPOSITORY / ".git").exists():
        assert not holds(patterns, "sh", "-c", "git cat-file --batch-all-objects --batch")
    # Nor one of another stack: what the file gives to the services are names, versions and paths.
    found = subprocess.run(
        ["grep", "-rlE", *without, "^-----BEGIN [A-Z ]*PRIVATE KEY", "docker-compose.yml", ".env", "docker"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.stdout, found.stderr) == ("", "")


def test_each_service_has_its_own_secrets_and_can_only_read_them(stack: Stack) -> None:
    seen = set()
    for container in stack.containers():
        service = container["Config"]["Labels"]["com.docker.compose.service"]
        mounts = {
            mount["Name"].removeprefix(f"{stack.project}_secrets-"): mount["RW"]
            for mount in container["Mounts"]
            if "_secrets-" in mount.get("Name", "")
        }
        if service == "secrets":
            continue
        assert set(mounts) == READS[service], service
        assert not any(mounts.values()), service
        seen.add(service)
    assert seen == set(READS)


def test_no_process_is_root(stack: Stack) -> None:
    """But for the one that makes the secrets, which gives each file to its reader and ends."""
    for container in stack.containers():
        service = container["Config"]["Labels"]["com.docker.compose.service"]
        user = container["Config"]["User"].partition(":")[0]
        if service == "secrets":
            assert (user, container["State"]["Status"], container["HostConfig"]["NetworkMode"]) == ("0", "exited", "none")
            continue
        assert user not in ("", "0", "root"), service
        assert not container["HostConfig"]["Privileged"]
        assert not container["HostConfig"]["CapAdd"]
        if container["State"]["Running"]:
            processes = [line.split(None, 2) for line in docker("top", container["Id"], "-eo", "pid,uid,args").splitlines()[1:]]
            assert processes
            assert [args for _, uid, args in processes if uid == "0"] == [], service


def test_airflow_refuses_another_password(stack: Stack) -> None:
    answer = stack.rest.client.post("/auth/token", json={"username": "admin", "password": "admin"}, headers={"Authorization": ""})
    assert answer.status_code == 401
    assert stack.rest.client.get("/api/v2/connections", headers={"Authorization": ""}).status_code == 401
