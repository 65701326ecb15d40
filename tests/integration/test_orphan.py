"""How a job ends when it is not left alone: stopped, killed, stalled, forgotten, locked out, or without a place to be."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fs_sync import errors, job
from fs_sync.job import Job
from lab.processes import until
from tests.integration.driver import needs_root
from tests.integration.shells import Host, a_job, host

WAIT = ": >ready; until [ -e go ]; do sleep 0.1; done"
DEAF = "trap '' TERM; " + WAIT


@pytest.fixture(params=["dash", "bash", "busybox", "perl", "python3"])
def a_host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    with host(request.param, tmp_path) as made:
        yield made


@pytest.fixture
def dash(tmp_path: Path) -> Iterator[Host]:
    with host("dash", tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path.read_text()


def started(where: Host, made: Job, script: str, key: str | None = None) -> None:
    assert where.launch(made, script, {"FS_SYNC_KEY": key} if key else {}) == "started"
    where.wait_for("ready", made)


def all_gone(where: Host, seconds: float = 3) -> None:
    until(lambda: not where.processes(), "the end of all processes", seconds)


def test_a_kill_stops_the_job_with_its_agent(a_host: Host, key: str) -> None:
    made = a_job()
    started(a_host, made, WAIT, key)
    assert a_host.kill(made) == "fs-sync kill: the job was stopped"
    answer = a_host.look(made)
    assert (answer.state, answer.exit, answer.results) == ("done", 143, b"error 143 the job was told to stop (TERM)\n")
    all_gone(a_host)
    assert not (a_host.directory(made) / "agent").exists()
    assert a_host.kill(made) == "fs-sync kill: the job does not run"
    assert a_host.kill(a_job("other")) == "fs-sync kill: there is no such job"
    assert a_host.launch(made, "true") == "started"
    assert a_host.watch(made).exit == 0


def test_a_script_that_heeds_no_term_is_killed(a_host: Host) -> None:
    made = a_job()
    started(a_host, made, DEAF + " & " + DEAF)
    a_host.kill(made)
    assert a_host.look(made).exit == 143
    all_gone(a_host)


def test_a_killed_group_has_vanished(a_host: Host, key: str) -> None:
    made = a_job()
    started(a_host, made, WAIT, key)
    assert a_host.look(made).state == "running"
    os.killpg(a_host.group(made), signal.SIGKILL)
    until(lambda: a_host.look(made).state == "vanished", "the job to vanish", 1)
    all_gone(a_host)
    assert a_host.launch(made, "true", {"FS_SYNC_KEY": key}) == "started"
    assert a_host.watch(made).exit == 0


def test_a_tool_that_outlives_its_wrapper_is_still_the_job(a_host: Host, key: str) -> None:
    made = a_job()
    started(a_host, made, WAIT + "; echo the tool ends", key)
    os.kill(a_host.group(made), signal.SIGKILL)
    if a_host.kind == "busybox":  # nothing can lock there: the watchdog ends what it could not tell from another process
        until(lambda: a_host.look(made).state == "vanished", "the job to vanish", 2)
    else:
        assert a_host.look(made).state == "running"
        assert a_host.launch(made, WAIT + "; echo the tool ends") == "attached running"
        (a_host.directory(made) / "go").touch()
        until(lambda: a_host.look(made).state == "vanished", "the job to vanish", 3)
        assert a_host.look(made).log == b"the tool ends\n"
    all_gone(a_host)


def test_a_left_background_process_goes_with_the_job(a_host: Host) -> None:
    made = a_job()
    a_host.launch(made, "(trap '' TERM; until [ -e go ]; do sleep 0.1; done) & exit 0")
    assert a_host.watch(made).exit == 0
    all_gone(a_host)


@pytest.mark.parametrize(
    ("limits", "code", "text"),
    [
        ({"timeout": 1}, 112, b"error 112 the job ran longer than 1 s\n"),
        ({"stall_after": 1}, 111, b"error 111 no byte moved for 1 s\n"),
        ({"orphan_after": 1}, 113, b"error 113 nobody watched the job for 1 s\n"),
    ],
)
def test_a_limit_ends_the_job_and_says_so(a_host: Host, limits: dict[str, int], code: int, text: bytes, key: str) -> None:
    made = a_job(**limits)
    started(a_host, made, WAIT, key)
    until((a_host.directory(made) / "exit").exists, "the end", 8)
    answer = a_host.look(made)
    assert (answer.exit, answer.results) == (code, text)
    all_gone(a_host)


def test_pulse_and_watch_keep_a_job_alive(dash: Host) -> None:
    made = a_job(stall_after=2, orphan_after=2)
    dash.launch(made, "n=0; while [ $n -lt 40 ]; do n=$((n + 1)); : >pulse; sleep 0.1; done")
    assert dash.watch(made).exit == 0


def test_a_route_belongs_to_one_run(a_host: Host) -> None:
    first, second = a_job(), a_job(run_id="two", route="other")
    started(a_host, first, WAIT)
    a_host.launch(second, "echo never")
    answer = a_host.watch(second)
    assert (answer.exit, answer.results) == (75, b"error 75 held by dag run one\n")
    (a_host.directory(first) / "go").touch()
    assert a_host.watch(first).exit == 0
    # Between two jobs of the run the route is still its own.
    a_host.launch(second, "echo never ")
    assert a_host.watch(second).exit == 75
    finish = a_job(step="finish")
    a_host.launch(finish, 'rm "$FS_SYNC_OWNER"')
    assert a_host.watch(finish).exit == 0
    a_host.launch(second, "echo now")
    assert a_host.watch(second).log == b"now\n"


def test_a_run_cleared_as_a_whole_does_not_stand_in_its_own_way(a_host: Host) -> None:
    """It reads its routes anew, so its jobs have another name; the route is still its own."""
    first, second, other = a_job(), a_job(nonce="m", generation=1), a_job(run_id="two")
    a_host.launch(first, "exit 120")
    assert a_host.watch(first).exit == 120
    a_host.launch(other)
    assert a_host.watch(other).exit == 75
    a_host.launch(second)
    assert a_host.watch(second).exit == 0


def test_a_job_whose_task_was_cleared_makes_way(a_host: Host) -> None:
    first, other, again = a_job(), a_job(route="other", target_identity="h:22/y"), a_job(generation=1)
    started(a_host, first, WAIT)
    started(a_host, other, WAIT)
    a_host.launch(again)
    assert a_host.watch(again).exit == 0
    assert a_host.look(first).exit == 143
    assert a_host.look(other).state == "running"
    a_host.kill(other)


def test_the_owner_of_a_run_that_is_gone_is_stale(a_host: Host) -> None:
    first, second = a_job(), a_job(run_id="two")
    a_host.launch(first)
    a_host.watch(first)
    owner = a_host.home / f".fs-sync/locks/{first.frame.key}.owner"
    old = owner.stat().st_mtime - job.LEASE - 61
    os.utime(owner, (old, old))
    a_host.launch(second)
    assert a_host.watch(second).exit == 0
    assert owner.read_text() == f"{second.frame.run}\ndag run two\n"
    assert [path.name for path in owner.parent.iterdir() if path.name.startswith(owner.name)] == [owner.name]


def test_a_tool_that_lives_holds_its_route(dash: Host) -> None:
    first, second = a_job(), a_job(run_id="two")
    started(dash, first, WAIT)
    os.kill(dash.group(first), signal.SIGKILL)
    owner = dash.home / f".fs-sync/locks/{first.frame.key}.owner"
    os.utime(owner, (0, 0))
    dash.launch(second)
    assert dash.watch(second).results == b"error 75 held by dag run one\n"
    (dash.directory(first) / "go").touch()
    all_gone(dash)


def test_another_job_of_this_run_is_waited_for(dash: Host) -> None:
    first, second = a_job(), a_job(generation=1)
    started(dash, first, WAIT)
    dash.launch(second, "echo after")
    (dash.directory(first) / "go").touch()
    assert dash.watch(second).log == b"after\n"


def test_a_symbolic_link_is_refused(a_host: Host) -> None:
    made = a_job()
    (a_host.home / ".fs-sync/runs").mkdir(parents=True)
    (a_host.home / f".fs-sync/runs/{made.frame.run}").symlink_to("/tmp")
    with pytest.raises(errors.ConfigError, match="is a symbolic link"):
        a_host.launch(made)


@pytest.mark.root
def test_the_directory_of_another_is_refused(a_host: Host) -> None:
    made = a_job()
    a_host.launch(made)
    a_host.watch(made)
    os.chown(a_host.directory(made), 65534, 65534)
    with pytest.raises(errors.ConfigError, match="belongs to another login than root"):
        a_host.launch(made, "again")


def test_a_place_where_nothing_can_be_made_is_named(a_host: Host) -> None:
    with pytest.raises(errors.ConfigError, match=r"can't be made for .*/proc/x"):
        a_host.launch(a_job(base="/proc/x"))


@pytest.mark.parametrize(("home", "text"), [(None, "HOME is not set"), ("", "HOME is not set"), ("/nonexistent", "does not exist")])
def test_a_login_without_a_home_is_named(a_host: Host, home: str | None, text: str) -> None:
    a_host.env.pop("HOME")
    if home is not None:
        a_host.env["HOME"] = home
    with pytest.raises(errors.ConfigError, match=text):
        a_host.launch(a_job())


@pytest.mark.root
@pytest.mark.parametrize("room", ["4k", "20k"])
def test_a_full_disk_is_named(a_host: Host, room: str) -> None:
    script = f'mount -t tmpfs -o size={room} none "$HOME" && exec env PATH="$1" sh'
    text = job.launcher(a_job(), "x" * 8000, {})
    argv = ["unshare", "-m", "sh", "-c", script, "x", a_host.env["PATH"]]
    done = subprocess.run(argv, input=text, capture_output=True, env={**os.environ, "HOME": str(a_host.home)}, timeout=30)
    with pytest.raises(errors.DiskFull, match="no room"):
        job.parse_launch(done.stdout)


@pytest.mark.root
def test_a_disk_that_fills_up_does_not_hide_how_the_job_ended(a_host: Host) -> None:
    script = 'mount -t tmpfs -o size=100k none "$HOME" && env PATH="$1" sh && until [ -s "$HOME/$2/exit" ]; do sleep 0.1; done; cat "$HOME/$2/exit"'
    text = job.launcher(a_job(), "cat /dev/zero >filler; exit 107", {})
    argv = ["unshare", "-m", "sh", "-c", script, "x", a_host.env["PATH"], a_job().place]
    done = subprocess.run(argv, input=text, capture_output=True, env={**os.environ, "HOME": str(a_host.home)}, timeout=30)
    assert done.stdout.split() == [b"fs-sync", b"started", b"107"]


def aged(path: Path, hours: float) -> None:
    for place in [*path.rglob("*"), path]:
        moment = place.stat().st_mtime - hours * 3600
        os.utime(place, (moment, moment))


def test_old_runs_are_cleared_away_and_live_ones_never(a_host: Host) -> None:
    runs = {}
    for name, hours, exit in [
        ("fresh", 23, 0),
        ("done", 25, 0),
        ("failed", 25, 1),
        ("week", 169, 1),
        ("live", 500, None),
        ("vanished", 25, -9),
    ]:
        made = runs[name] = a_job(run_id=name, target_identity=name, stall_after=0, orphan_after=10**9)
        started(a_host, made, f": >ready; exit {exit}" if exit in (0, 1) else WAIT)
        if exit == -9:
            os.killpg(a_host.group(made), signal.SIGKILL)
        if exit is not None:
            a_host.watch(made)
        aged(a_host.directory(made).parent, hours)
    last = a_job(run_id="last")
    a_host.launch(last)
    gone = {"done", "week"}
    until(lambda: not any(a_host.directory(runs[name]).parent.exists() for name in gone), "the cleaning", 5)
    a_host.watch(last)
    assert a_host.look(runs["live"]).state == "running"
    (a_host.directory(runs["live"]) / "go").touch()
    all_gone(a_host)  # the cleaner too
    assert {name for name in runs if not a_host.directory(runs[name]).exists()} == gone


@needs_root
def test_a_job_of_another_container_is_not_killed_by_its_number(dash: Host) -> None:
    """Two workers of a stack share the directory of their jobs; the number may be that of any process here."""
    made = a_job()
    argv = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", "sh; exec sleep 600"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dash.env, cwd="/") as container:
        assert container.stdin is not None
        try:
            container.stdin.write(job.launcher(made, WAIT, {}))
            container.stdin.close()
            dash.wait_for("ready", made)
            here = subprocess.Popen(["sleep", "600"], start_new_session=True)
            record = dash.directory(made) / "pgid"
            _, rest = record.read_text().split(" ", 1)
            record.write_text(f"{here.pid} {rest}")
            try:
                assert dash.look(made).state == "running"
                done = dash.run(job.killer(made))
                assert done.returncode == 1
                assert b"runs in another container" in done.stdout
                assert dash.launch(a_job(generation=1), "true") == "started"
                assert here.poll() is None
            finally:
                here.kill()
                here.wait()
            assert dash.look(made).state == "running"
        finally:
            container.kill()
