"""A job starts once, hands over its secrets unseen, is watched to its end, and is found again: in every shell."""

import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fs_sync import errors, job
from fs_sync.job import Answers
from lab import processes
from lab.processes import until
from tests.integration.shells import KINDS, LOCKING, Host, a_job, files, host

PASSWORD = "s3cret 'it'\"s$x"


@pytest.fixture(params=KINDS)
def any_host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    with host(request.param, tmp_path) as made:
        yield made


@pytest.fixture(params=["dash", "bash", "busybox"])
def a_host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    with host(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def dash(tmp_path: Path) -> Iterator[Host]:
    with host("dash", tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
    return path.read_text(), path.with_suffix(".pub").read_text().split()[1]


def test_a_job_runs_and_its_end_is_seen(any_host: Host) -> None:
    made = a_job()
    assert any_host.look(made).state == "missing"
    script = (
        """printf 'out\\n'; printf 'err\\r\\0\\377' >&2; echo 'count new 1' >>results; pwd; cat; umask; sleep 0.5; echo last; exit 101"""
    )
    assert any_host.launch(made, script) == "started"
    answer = any_host.watch(made)
    where = os.fsencode(any_host.directory(made))
    assert (answer.state, answer.exit, answer.results) == ("done", 101, b"count new 1\n")
    assert answer.log == b"out\nerr\r\0\xff" + where + b"\n0077\nlast\n"
    until(lambda: not any_host.processes(), "the end of all processes", 3)
    assert {path.stat().st_mode & 0o77 for path in any_host.home.rglob("*")} == {0}


def test_a_job_knows_its_places(a_host: Host) -> None:
    made = a_job()
    a_host.launch(
        made,
        'for place in "$FS_SYNC_BASE" "$FS_SYNC_JOB" "$FS_SYNC_RUN" "$FS_SYNC_ROUTE"; do cd "$place" && echo "$place"; done; head -n 1 "$FS_SYNC_OWNER"; echo "$FS_SYNC_TOKEN"',
    )
    base, frame = f"{a_host.home}/.fs-sync", made.frame
    lines = a_host.watch(made).log.decode().split("\n")
    assert lines[:4] == [
        base,
        f"{base}/{made.path}",
        f"{base}/runs/{frame.run}/route-{frame.key}-{made.name.partition('-')[2].rpartition('-g')[0]}",
        f"{base}/routes/{frame.key}",
    ]
    assert lines[4:6] == [frame.run, frame.run]


def test_secrets_reach_the_job_and_nothing_else(a_host: Host, key: tuple[str, str]) -> None:
    made = a_job()
    private, public = key
    script = 'ssh-add -L; "$SSH_ASKPASS" prompt; echo "$SSH_ASKPASS_REQUIRE $DISPLAY"; printf "%s\\n" "$OTHER" | wc -c; env | grep -c BEGIN; : >ready; until [ -e go ]; do sleep 0.1; done'
    a_host.launch(made, script, {"FS_SYNC_PASSWORD": PASSWORD, "FS_SYNC_KEY": private, "OTHER": "a  b"})
    a_host.wait_for("ready", made)
    body = private.split("\n")[2]
    for secret in (PASSWORD, "s3cret", body, body[:30]):
        assert processes.marked(secret, environment=False) == []
    held = files(a_host.home)
    assert [path for path, content in held.items() if path.name != "log" and (b"s3cret" in content or body.encode() in content)] == []
    (a_host.directory(made) / "go").touch()
    lines = a_host.watch(made).log.decode().split("\n")
    assert public in lines[0]
    assert lines[1:4] == [PASSWORD, "force :0", "5"]
    assert lines[4] == "0"
    until(lambda: not a_host.processes(), "the end of the agent", 3)


def test_an_agent_is_reached_from_a_home_with_a_long_name(tmp_path: Path, key: tuple[str, str]) -> None:
    with host("dash", tmp_path / ("x" * 120)) as made_host:
        made_host.launch(a_job(), "cd /; ssh-add -L", {"FS_SYNC_KEY": key[0]})
        assert key[1].encode() in made_host.watch(a_job()).log


def test_a_broken_key_is_named(a_host: Host) -> None:
    a_host.launch(a_job(), "echo never", {"FS_SYNC_KEY": "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n"})
    answer = a_host.watch(a_job())
    assert answer.exit == errors.AuthenticationError.code
    assert answer.results == b"error 102 ssh-agent does not take the private key of the target's connection\n"
    assert b"never" not in answer.log


def test_a_running_job_is_attached_and_another_script_refused(any_host: Host) -> None:
    made = a_job()
    script = "echo start; until [ -e go ]; do sleep 0.1; done"
    assert any_host.launch(made, script) == "started"
    assert any_host.launch(made, script + "\n") == "attached running"
    with pytest.raises(errors.ToolFailed, match="another script"):
        any_host.launch(made, "echo other")
    (any_host.directory(made) / "go").touch()
    assert any_host.watch(made).log == b"start\n"
    assert any_host.launch(made, script) == "attached done"
    assert any_host.launch(made, "echo other") == "started"
    assert any_host.watch(made).log == b"other\n"


def test_a_failed_job_starts_anew_and_leaves_what_it_said(a_host: Host) -> None:
    made = a_job()
    for turn in (1, 2, 3):
        assert a_host.launch(made, f"echo turn {turn}; exit 120") == "started"
        assert a_host.watch(made).exit == 120
    logs = [(a_host.directory(made) / f"try-{turn}/log").read_text() for turn in (1, 2)]
    assert logs == ["turn 1\n", "turn 2\n"]
    assert (a_host.directory(made) / "try-1/exit").read_text().split() == ["120"]


def test_six_launchers_start_one_job(any_host: Host) -> None:
    made = a_job()
    found: list[str] = []
    script = 'echo started >>"$FS_SYNC_BASE/starts"; until [ -e go ]; do sleep 0.1; done'
    threads = [threading.Thread(target=lambda: found.append(any_host.launch(made, script))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == ["attached running"] * 5 + ["started"]
    (any_host.directory(made) / "go").touch()
    any_host.watch(made)
    assert (any_host.home / ".fs-sync/starts").read_text() == "started\n"


def test_of_a_cut_launcher_nothing_runs(a_host: Host) -> None:
    text = job.launcher(a_job(), "echo x", {"A": "b"})
    for part in (len(text) // 3, len(text) // 2, len(text) - 20):
        a_host.run(text[:part])
    assert list(a_host.home.iterdir()) == []


def test_a_log_comes_whole_and_in_pieces(a_host: Host) -> None:
    made = a_job()
    a_host.launch(made, "head -c 1000000 /dev/urandom | tee copy; exit 3")
    until((a_host.directory(made) / "exit").exists, "the end")
    first = a_host.look(made)
    assert (first.state, len(first.log)) == ("running", job.CHUNK)
    assert a_host.watch(made).log == (a_host.directory(made) / "copy").read_bytes()
    assert a_host.look(made, 999_990).exit == 3
    assert a_host.look(made, 2_000_000).offset == 0


def test_one_watch_serves_many_jobs_behind_a_banner(any_host: Host) -> None:
    for name in (".profile", ".tcshrc", ".bashrc"):
        (any_host.home / name).write_text("echo Welcome to 1 running - 0 3 0\n")
    (any_host.home / ".config/fish").mkdir(parents=True)
    (any_host.home / ".config/fish/config.fish").write_text("echo Welcome\n")
    jobs = [a_job(f"route {n}", target_identity=str(n)) for n in range(5)]
    for n, made in enumerate(jobs):
        any_host.launch(made, f"echo {n}")
        any_host.watch(made)
    done = any_host.run(b"".join(job.request(n, made, 0) for n, made in enumerate(jobs)), job.watch_command())
    assert [(answer.id, answer.exit, answer.log) for answer in Answers().feed(done.stdout)] == [(str(n), 0, b"%d\n" % n) for n in range(5)]


@pytest.mark.parametrize("base", ['~/it\'s a "$HOME" \\ dir', "{home}/abs  two"])
def test_job_dir_has_any_name(a_host: Host, base: str) -> None:
    made = a_job(base=base.format(home=a_host.home))
    assert a_host.launch(made, "echo x") == "started"
    assert a_host.watch(made).log == b"x\n"
    assert a_host.kill(made) == "fs-sync kill: the job does not run"
    assert not (a_host.home / ".fs-sync").exists()


def test_an_idle_watch_is_cheap(dash: Host) -> None:
    made = a_job()
    dash.launch(made, "until [ -e go ]; do sleep 0.1; done")
    began = os.times()
    dash.run(b"".join(job.request(n, made, 0) for n in range(200)), job.watch_command())
    spent = os.times()
    seconds = spent.children_user + spent.children_system - began.children_user - began.children_system
    (dash.directory(made) / "go").touch()
    dash.watch(made)
    assert seconds / 200 < 0.01


@pytest.mark.parametrize("kind", LOCKING)
def test_what_can_lock_is_used(tmp_path: Path, kind: str) -> None:
    with host(kind, tmp_path) as made_host:
        made_host.launch(a_job(), "sleep 0.3; cat pgid")
        assert made_host.watch(a_job()).log.split()[3] == b"lock"
