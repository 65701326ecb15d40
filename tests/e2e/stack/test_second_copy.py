"""Two copies of the stack on one machine, the second with the service style, and what `docker compose down -v` leaves."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from lab.airflow import REPOSITORY
from lab.processes import until
from lab.rest import FINAL, Rest
from tests.e2e.secrets_search import hits
from tests.e2e.stack import files
from tests.e2e.stack.compose import BUCKET, DAGS, HOST_IMAGE, RSYNC, USER, Stack, docker
from tests.e2e.stack.test_bad_input import put
from tests.e2e.stack.test_secrets import texts

# Anybody's own user id, as for those who mount their own folders.
UID = "12345"
PROJECT = f"fs-sync-second-{os.getpid()}"
QUICK, FULL = "fs_sync_service_quick", "fs_sync_service_full"
PREFIX = "from the service"


@pytest.fixture(scope="module")
def server(started: Stack) -> Iterator[files.Server]:
    with files.server(PROJECT) as made:
        yield made


@pytest.fixture(scope="module")
def service_file(server: files.Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the service style, from a server into the store; the store finds its own password made already, the same."""
    secret_key = secrets.token_urlsafe(24)
    put(Stack(PROJECT), {"secrets-minio/root_password": secret_key})
    values = {
        "SFTP_HOST": server.name,
        "SFTP_PORT": "2222",
        "SFTP_USER": "files",
        "SFTP_PASS": '"' + server.password.replace('"', r"\"") + '"',
        "SFTP_HOST_KEY": server.host_key,
        "SFTP_FOLDER_NAME": "outbox",
        "S3_ENDPOINT": "http://minio:9000",
        "S3_SERVICE": "s3",
        "S3_BUCKET_NAME": BUCKET,
        "S3_FOLDER_NAME": PREFIX,
        "S3_REGION": "us-east-1",
        "S3_ACCESS_KEY_ID": "fs-sync",
        "S3_SECRET_ACCESS_KEY": secret_key,
    }
    file = tmp_path_factory.mktemp("service") / "service.env"
    file.touch(mode=0o600)
    file.write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    if os.geteuid() == 0:
        os.chown(file, int(UID), int(UID))  # a person's own
    return file


@pytest.fixture(scope="module")
def second(started: Stack, service_file: Path, tell: Callable[[str], None]) -> Iterator[Stack]:
    """A copy beside the first one, started by `make up` with another user's id and the service style."""
    more = {"AIRFLOW_UID": UID, "COMPOSE_PROFILES": "demo,service", "SERVICE_ENV_DIR": str(service_file.parent)}
    made = Stack(PROJECT, environment=more)
    tell(f"starting a second copy as {made.project}")
    variables = {**made.variables, "COMPOSE_PROJECT_NAME": made.project}
    try:
        done = subprocess.run(["make", "-s", "up"], cwd=REPOSITORY, env=variables, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            made.save_logs("second-copy")
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        assert done.stdout.splitlines()[-1].startswith(f"fs-sync: Airflow is at {made.url} (user admin")
        password = subprocess.run(
            ["make", "-s", "password"], cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=True
        ).stdout
        assert password == made.password() + "\n"
        made.rest.ready(DAGS)
        yield made
    finally:
        made.forget()


def test_both_copies_are_healthy_and_have_their_own_secrets(stack: Stack, second: Stack) -> None:
    assert stack.healthy()
    assert second.healthy()
    ours, theirs = stack.secrets(), second.secrets()
    same = {name for name in ours if ours[name] == theirs.get(name)}
    assert same == {"secrets-airflow/airflow_version"}
    assert set(ours) == set(theirs)
    with pytest.raises(RuntimeError, match="401"):
        Rest(second.url, USER, stack.password())


def test_a_run_of_one_copy_is_nothing_to_the_other(stack: Stack, second: Stack) -> None:
    run = second.begin("second").good()
    assert second.same("second")
    assert run.id not in [found["dag_run_id"] for found in stack.rest.runs(RSYNC)]
    assert stack.sh("target", "ls -d ~/copies/second 2>/dev/null || :") == ""
    uids = {second.exec(service, "id", "-u").strip() for service in ("airflow-apiserver", "scheduler", "worker", "worker-large")}
    assert uids == {UID}


def test_the_service_copies_as_its_file_says(second: Stack, server: files.Server, service_file: Path, tell: Callable[[str], None]) -> None:
    """The first full run at once, then a new file by itself; its secrets are nowhere to be seen; the same start again changes nothing."""

    def arrived() -> bool:
        return second.stored(f"'{PREFIX}'") == server.checksums()

    def green(dag_id: str) -> bool:
        runs = [run for run in second.rest.runs(dag_id) if run["state"] in FINAL]
        assert {run["state"] for run in runs} <= {"success"}
        return bool(runs)

    until(lambda: green(FULL), "the first full run", timeout=180, every=1)
    assert arrived()
    tell("the service's first full run is green")
    server.sh("date >~/outbox/new")
    until(arrived, "the new file", timeout=180, every=1)
    until(lambda: green(QUICK), "a quick run", timeout=60, every=1)
    tell("the service's new file has arrived")

    values = dict(line.split("=", 1) for line in service_file.read_text().splitlines())
    assert hits(texts(second), {"the password": server.password, "the secret key": values["S3_SECRET_ACCESS_KEY"]}) == []
    kept = ("-v", f"{PROJECT}_service-file:/kept:ro", HOST_IMAGE, "sh", "-c", "cd /kept && stat -c '%n %u %a' *")
    assert docker("run", "--rm", "-u", "0", *kept) == f"service.env {UID} 400\n"
    mounted = {
        container["Config"]["Labels"]["com.docker.compose.service"]
        for container in second.containers()
        if any(mount.get("Name", "") == f"{PROJECT}_service-file" for mount in container["Mounts"])
    }
    assert mounted == {"secrets", "service-check", "service-init"}

    def running() -> dict[str, str]:
        return {container["Id"]: container["State"]["StartedAt"] for container in second.containers() if container["State"]["Running"]}

    before = running()
    second.up()
    assert running() == before
    assert "fs-sync: the service goes on" in second.logs("service-init")
    for dag_id in (QUICK, FULL):
        second.rest.client.patch(f"/api/v2/dags/{dag_id}", json={"is_paused": True}).raise_for_status()
    server.remove()


def test_down_with_its_volumes_leaves_nothing_and_the_first_copy_alone(stack: Stack, second: Stack) -> None:
    before = [container["Id"] for container in stack.containers()]
    assert second.left()
    second.down("-v", "-t", "5")
    assert second.left() == ""
    # What the second copy built is not the first one's: nothing of that is made anew.
    stack.up()
    with pytest.raises(httpx.ConnectError):
        httpx.get(second.url, trust_env=False)
    assert [container["Id"] for container in stack.containers()] == before
    assert stack.healthy()
