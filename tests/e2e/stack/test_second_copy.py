"""Two copies of the stack on one machine, by project name and port, and what `docker compose down -v` leaves."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator

import httpx
import pytest

from lab.airflow import REPOSITORY
from lab.rest import Rest
from tests.e2e.stack.compose import DAGS, RSYNC, USER, Stack

# Anybody's own user id, as for those who mount their own folders.
UID = "12345"


@pytest.fixture(scope="module")
def second(started: Stack, tell: Callable[[str], None]) -> Iterator[Stack]:
    """A copy beside the first one, started by `make up` with another user's id."""
    made = Stack(f"fs-sync-second-{os.getpid()}", environment={"AIRFLOW_UID": UID})
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
