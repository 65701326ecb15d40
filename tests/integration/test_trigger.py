"""The trigger on real servers: one login and one exec for all jobs of a host, the log whole, kill, and a connection that breaks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fs_sync import host_watch, hosts, trigger
from fs_sync.credentials import PlainConnection
from fs_sync.job import Job, name_job
from fs_sync.trigger import JobTrigger
from lab.place import ssh_connection
from lab.processes import marked, until
from lab.servers import Sshd, sshd

CONN = "trigger_host"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    with sshd(tmp_path / "host", options=["MaxSessions 1", "MaxStartups 2:100:3"]) as server:
        monkeypatch.setenv(f"AIRFLOW_CONN_{CONN.upper()}", json.dumps(ssh_connection(server)))
        monkeypatch.setattr(trigger, "POLL", 0.1)
        yield server


class Log:
    """Takes what the trigger logs, which in the triggerer goes to the task's own log."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str, *values: object) -> None:
        self.lines.append(text % values)

    warning = info


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    log = Log()
    monkeypatch.setattr(JobTrigger, "log", log)
    return log.lines


def launch(server: Sshd, name: str, script: str) -> Job:
    job = name_job("trigger", "run", "nonce", "plan", name, 0, f"target of {name}")
    given = ssh_connection(server)
    conn = PlainConnection(CONN, "ssh", given["host"], given["port"], given["login"], extra=given["extra"])
    with hosts.connect(conn) as there:
        there.launch(job, script, {})
    return job


async def watch(job: Job, offset: int = 0) -> dict[str, Any]:
    async for event in JobTrigger(CONN, job.to_dict(), offset).run():
        return dict(event.payload)
    raise AssertionError("the trigger ended without an event")


def logins(server: Sshd) -> int:
    return server.log.read_text(errors="replace").count("Accepted publickey")


def test_twelve_jobs_over_one_login_and_one_session(host: Sshd, tmp_path: Path, said: list[str]) -> None:
    go = tmp_path / "go"
    script = f"#!/bin/sh\necho begin $0\nwhile [ ! -e '{go}' ]; do sleep 0.1; done\necho 'end \\377 of'\nexit 3\n"
    jobs = [launch(host, f"r{number}", script) for number in range(12)]
    before = logins(host)

    async def all_of_them() -> list[dict[str, Any]]:
        watches = [asyncio.create_task(watch(job)) for job in jobs]
        while sum("begin" in line for line in said) < len(jobs):
            await asyncio.sleep(0.05)
        go.touch()
        return await asyncio.gather(*watches)

    events = asyncio.run(asyncio.wait_for(all_of_them(), 60))
    assert {(event["state"], event["exit"]) for event in events} == {("done", 3)}
    assert logins(host) == before + 1
    assert sum(line == "end \\xff of" for line in said) == len(jobs)
    assert not host_watch._shared


def test_a_second_triggerer_goes_on_where_the_first_one_was(host: Sshd, tmp_path: Path, said: list[str]) -> None:
    more, go = tmp_path / "more", tmp_path / "go"
    wait = "while [ ! -e '{}' ]; do sleep 0.1; done\n"
    job = launch(host, "one", f"#!/bin/sh\necho first\n{wait.format(more)}echo second\n{wait.format(go)}echo third\n")

    async def first() -> None:
        task = asyncio.create_task(watch(job))
        while "first" not in said:
            await asyncio.sleep(0.05)
        more.touch()
        while "second" not in said:
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)  # two looks, so that what was logged is noted
        task.cancel()

    asyncio.run(asyncio.wait_for(first(), 60))
    go.touch()
    event = asyncio.run(asyncio.wait_for(watch(job), 60))
    assert (event["state"], event["exit"]) == ("done", 0)
    assert [line for line in said if line in ("first", "second", "third")] == ["first", "second", "third"]


def test_a_connection_that_breaks_is_made_again(host: Sshd, tmp_path: Path, said: list[str]) -> None:
    go = tmp_path / "go"
    job = launch(host, "one", f"#!/bin/sh\necho first\nwhile [ ! -e '{go}' ]; do sleep 0.1; done\necho last\n")

    async def cut() -> dict[str, Any]:
        task = asyncio.create_task(watch(job))
        while "first" not in said:
            await asyncio.sleep(0.05)
        before = logins(host)
        await asyncio.to_thread(host.drop)
        while logins(host) == before:
            await asyncio.sleep(0.05)
        go.touch()
        return await task

    event = asyncio.run(asyncio.wait_for(cut(), 60))
    assert (event["state"], event["exit"]) == ("done", 0)
    assert [line for line in said if line in ("first", "last")] == ["first", "last"]


def test_a_job_that_vanished_is_an_event(host: Sshd) -> None:
    job = launch(host, "one", "#!/bin/sh\nkill -KILL 0\n")
    assert asyncio.run(asyncio.wait_for(watch(job), 60))["state"] == "vanished"


def test_on_kill_leaves_no_process(host: Sshd) -> None:
    word = "98765.4321"
    job = launch(host, "one", f"#!/bin/sh\nsleep {word}\n")
    until(lambda: marked(word), "the job's process", timeout=10)
    asyncio.run(asyncio.wait_for(JobTrigger(CONN, job.to_dict()).on_kill(), 30))
    assert not marked(word)


def test_a_wrong_host_key_is_never_passed(host: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = launch(host, "one", "#!/bin/sh\ntrue\n")
    with sshd(tmp_path / "other") as other:
        wrong = {**ssh_connection(host), "extra": {**ssh_connection(host)["extra"], "host_key": other.host_key}}
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONN.upper()}", json.dumps(wrong))
    event = asyncio.run(asyncio.wait_for(watch(job), 60))
    assert event["state"] == "unwatched"
    assert event["error"].startswith("HostKeyError")


def test_what_is_stored_holds_no_secret(host: Sshd) -> None:
    job = name_job("dag", "run", "nonce", "plan", "one", 0, "target")
    path, kwargs = JobTrigger(CONN, job.to_dict(), 7, 9).serialize()
    assert path == "fs_sync.trigger.JobTrigger"
    assert set(kwargs) == {"conn_id", "job", "offset", "worker_bytes", "late_at", "slow"}
    assert host.private_key.split("\n")[1] not in json.dumps(kwargs)
