"""`docker compose up -d` from a fresh clone: all healthy, a first run of each DAG green, and no error in any log."""

from __future__ import annotations

import re
import socket

import pytest

from tests.e2e.stack.compose import BUCKET, DAGS, FROM_MINIO, MINIO, ONE_SHOTS, RCLONE, RSYNC, WORKER, Stack

SERVICES = {
    *("secrets", "postgres", "redis", "airflow-init", "demo-init", "airflow-apiserver", "scheduler", "dag-processor", "triggerer"),
    *("worker", "worker-large", "source", "target", "minio"),
}
DEMO_ALONE = {"demo-init", "source", "target", "minio"}
# Airflow writes the level in brackets, postgres behind the time, and a crash of Python has a traceback.
TROUBLE = re.compile(r"\b(ERROR|CRITICAL|FATAL|PANIC)\b|\[(error|critical)\s*\]|^\S+\s*\|\s*Traceback", re.M)
DEMO = {RSYNC: "inbox/rsync", RCLONE: "inbox/rclone", MINIO: "outbox"}
# What rclone doesn't bring over: a symbolic link.
MEMORY = 4 * 1024**3


def test_every_service_is_healthy_and_what_runs_once_ended_well(stack: Stack) -> None:
    seen = set()
    for container in stack.containers():
        service = container["Config"]["Labels"]["com.docker.compose.service"]
        seen.add(service)
        state = container["State"]
        if service in ONE_SHOTS:
            assert (state["Status"], state["ExitCode"]) == ("exited", 0), service
        else:
            assert (state["Status"], state["Health"]["Status"]) == ("running", "healthy"), service
            assert container["RestartCount"] == 0, service
    assert seen == SERVICES
    assert len(stack.containers("worker")) == 2
    assert stack.healthy()


def test_the_compose_file_is_clean(stack: Stack) -> None:
    for profile in ("", "demo", "demo,flower", "service", "demo,service"):
        done = stack.run("config", "-q", env={"COMPOSE_PROFILES": profile})
        assert done.stdout == done.stderr == "", profile
    assert not set(stack.config()["services"]) - SERVICES
    without = stack.run("config", "--services", env={"COMPOSE_PROFILES": ""}).stdout.split()
    assert set(without) == SERVICES - DEMO_ALONE
    # The profile of the command takes the place of the one in .env.
    service = stack.run("--profile", "service", "config", "--services").stdout.split()
    assert set(service) == (SERVICES - DEMO_ALONE) | {"service-check", "service-init"}


def test_the_first_run_of_each_dag_is_green(stack: Stack) -> None:
    """Nothing was configured by anybody but the stack itself."""
    for run in [stack.trigger(dag_id, "demo") for dag_id in (*DAGS, WORKER)]:
        run.good()
        assert run.report()["state"] in ("ok", "nothing to do")
    sent = stack.checksums("source", "~/outbox")
    assert len(sent) > 20
    for dag_id in (RSYNC, RCLONE):
        assert stack.checksums("target", f"~/{DEMO[dag_id]}") == sent, dag_id
    assert stack.stored(DEMO[MINIO]) == sent
    assert stack.checksums("target", "~/inbox/worker") == sent
    # What the store has now, the target gets back.
    stack.trigger(FROM_MINIO, "demo").good()
    assert stack.checksums("target", f"~/inbox/from_minio/{DEMO[MINIO]}") == sent


def test_no_log_has_an_error(stack: Stack) -> None:
    """Of no container, from the first line on, after the first green runs."""
    logs = stack.logs()
    assert {line.partition("|")[0].strip().rpartition("-")[0] for line in logs.splitlines()} >= SERVICES - {"worker"}
    assert [line for line in logs.splitlines() if TROUBLE.search(line)] == []


def test_the_demo_is_there_from_the_first_minute(stack: Stack) -> None:
    """Connections with their pinned host keys, Variables, the pool, and the queues that workers listen on."""
    for host in ("source", "target"):
        connection = stack.rest.connection(f"sftp_{host}_conn")
        pinned = stack.secrets()[f"secrets-demo/{host}_host_key.pub"].split()[:2]
        assert " ".join(pinned) in connection["extra"]
        assert (connection["host"], connection["port"], connection["login"]) == (host, 2222, "files")
        assert "PRIVATE KEY" not in connection["extra"]
    assert BUCKET in str(stack.rest.variable(MINIO))
    assert stack.rest.pool("fs_sync_small") == {"slots": 8, "include_deferred": True}
    assert stack.rest.pool("fs_sync_large") == {"slots": 2, "include_deferred": True}


def test_the_ui_answers_on_this_machine_only(stack: Stack, network: str) -> None:
    for container in stack.containers():
        published = [binding for bindings in (container["NetworkSettings"]["Ports"] or {}).values() for binding in bindings or []]
        assert {binding["HostIp"] for binding in published} <= {"127.0.0.1"}, container["Name"]
        if container["Config"]["Labels"]["com.docker.compose.service"] == "airflow-apiserver":
            assert [binding["HostPort"] for binding in published] == [str(stack.port)]
        else:
            assert not published
    assert "text/html" in stack.rest.client.get("/").headers["content-type"]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((network, stack.port), timeout=10)


def test_all_memory_limits_together_fit_four_gigabytes(stack: Stack) -> None:
    limits = {container["Name"]: container["HostConfig"]["Memory"] for container in stack.containers()}
    assert all(limits.values()), limits
    # Those that run once are gone before the rest has grown.
    running = sum(container["HostConfig"]["Memory"] for container in stack.containers() if container["State"]["Running"])
    print(f"limits of all that run: {running / 1024**2:.0f} MiB")
    killed = [container["Name"] for container in stack.containers() if container["State"]["OOMKilled"]]
    assert killed == []
    assert used(stack) < MEMORY


def test_up_twice_is_harmless(stack: Stack) -> None:
    """The same containers, none started again but those that run once."""

    def running() -> dict[str, str]:
        return {container["Id"]: container["State"]["StartedAt"] for container in stack.containers() if container["State"]["Running"]}

    before, all_before = running(), {container["Id"] for container in stack.containers()}
    stack.up()
    assert running() == before
    assert {container["Id"] for container in stack.containers()} == all_before
    assert stack.rest.variable(RSYNC)


def used(stack: Stack) -> int:
    """How many bytes of memory the processes of all containers have, caches of files aside."""
    total = 0
    for container in stack.containers():
        if container["State"]["Running"]:
            service, _, number = container["Name"].removeprefix(f"/{stack.project}-").rpartition("-")
            # As `docker stats` counts it, under cgroup v2 and v1.
            script = """
                cd /sys/fs/cgroup && if [ -e memory.current ]; then cat memory.current memory.stat
                else cat memory/memory.usage_in_bytes memory/memory.stat; fi"""
            first, *lines = stack.exec(service, "sh", "-c", script, number=int(number)).splitlines()
            stat = dict(line.split() for line in lines)
            total += int(first) - int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))
    print(f"memory of all containers: {total / 1024**2:.0f} MiB")
    return total
