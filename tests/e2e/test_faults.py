"""What goes wrong around a copy, through a real scheduler: killed processes, marks, clears, and two runs at once."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from lab.processes import descendants, kill, until
from tests.e2e.conftest import CARRIED, MEBI, TRIGGERER, WORKER, Lab, Run, carrying, frozen, inside, kill_job

SLOW = "2M"
BIG = 12 * MEBI
# Big enough for a transfer ahead of finish, and so slow that it does not end by itself.
HUGE = 65 * MEBI
ATTACHED = "Attached: the job runs already"


def until_deferred(run: Run) -> None:
    run.reach("finish", "deferred")


def until_looked_at(run: Run) -> None:
    """Wait until somebody looks at the job, as a watch does again and again."""
    lease = run.job("finish") / "lease"
    before = lease.stat().st_mtime
    until(lambda: lease.stat().st_mtime > before, "a look at the job", timeout=60)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def tell_to_stop(lab: Lab, name: str) -> None:
    """Tell one of Airflow's processes and its group to stop, as `docker compose stop` does, and wait for its end."""
    process = lab.stage.airflow.processes.pop(name)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(30) == 0


def unique_jobs(run: Run) -> None:
    """Every step ran in one job, started once."""
    names = [path.name for path in run.jobs()]
    assert len(names) == len(set(names)) == len({name.partition("-")[0] for name in names}), names
    assert not [path for job in run.jobs() for path in job.glob("try-*")]


def test_a_worker_that_dies_with_the_copy_it_carried_is_replaced(lab: Lab) -> None:
    """All that the task started is killed with it, as a container is; the next try begins anew and brings what is missing."""
    lab.configure(CARRIED, lab.route("carried", BIG, bandwidth=SLOW))
    run = lab.trigger(CARRIED)
    lab.begun("carried")
    jobs = carrying(f"FS_SYNC_JOB={lab.stage.airflow.directory}/".encode())
    assert jobs
    kill(run.task("finish")["pid"], *jobs)
    run.good()
    assert run.tries("finish") == 2
    assert lab.same("carried")
    report = run.report()
    assert report["digests"]["equal"] is True
    assert report["bytes"]["worker"] >= BIG


def test_a_killed_task_is_tried_again_and_attaches_to_its_job(lab: Lab) -> None:
    lab.configure(WORKER, lab.route("task-killed", BIG, bandwidth=SLOW))
    run = lab.trigger(WORKER)
    with frozen(run):
        group = run.group("finish")
        kill(run.task("finish")["pid"])
        until(lambda: run.tries("finish") == 2 and ATTACHED in run.log("finish"), "the second try at the job", timeout=60)
        assert run.group("finish") == group
    run.good()
    assert run.group("finish") == group
    assert lab.same("task-killed")
    assert run.report()["digests"]["equal"] is True
    unique_jobs(run)


def test_a_triggerer_that_stops_or_is_killed_leaves_the_job_to_the_next_one(lab: Lab) -> None:
    airflow = lab.stage.airflow
    lab.configure(TRIGGERER, lab.route("triggerer-gone", BIG, bandwidth=SLOW))
    run = lab.trigger(TRIGGERER)
    with frozen(run):
        until_deferred(run)
        until_looked_at(run)
        group = run.group("finish")
        tell_to_stop(lab, "triggerer")
        assert run.processes()
        airflow.start("triggerer")
        until_looked_at(run)
        triggerer = airflow.processes.pop("triggerer")
        kill(triggerer.pid, *descendants(triggerer.pid))
        triggerer.wait()
        airflow.start("triggerer")
        until_looked_at(run)
        assert run.group("finish") == group
        assert run.state("finish") == "deferred"
    run.good()
    assert run.group("finish") == group
    assert run.tries("finish") == 1
    assert lab.same("triggerer-gone")
    unique_jobs(run)


def test_a_task_told_to_stop_hands_its_job_to_the_triggerer(lab: Lab) -> None:
    """By a worker's cold shutdown, which tells the task's supervisor, and by a scheduler that is stopped with all that it started."""
    names = ("task-stopped", "scheduler-stopped")
    runs = []
    for name in names:
        lab.configure(WORKER, lab.route(name, BIG, bandwidth=SLOW))
        runs.append(lab.trigger(WORKER))
        runs[-1].reach("finish", "running")
    with frozen(*runs):
        groups = [run.group("finish") for run in runs]
        task = runs[0].task("finish")["pid"]
        supervisor = parent(task)
        for pid in (supervisor, task):  # as systemd does, so that the task is told twice
            os.kill(pid, signal.SIGTERM)
        until_deferred(runs[0])
        tell_to_stop(lab, "scheduler")
        until_deferred(runs[1])
        lab.stage.airflow.start("scheduler")
        for run, group in zip(runs, groups, strict=True):
            until_looked_at(run)
            assert run.group("finish") == group
    for run, group, name in zip(runs, groups, names, strict=True):
        run.good()
        assert run.group("finish") == group
        assert run.tries("finish") == 1
        assert lab.same(name)
        unique_jobs(run)


def test_marked_failed_mid_transfer_leaves_no_process(lab: Lab) -> None:
    """Running, just deferred, and watched by the triggerer: neither host has a process of the job after ten seconds."""
    big = {"running": HUGE, "early": BIG, "deferred": BIG}
    routes = {name: lab.route(f"mark-{name}", size, bandwidth="100K") for name, size in big.items()}
    lab.configure(WORKER, routes["running"])
    lab.configure(TRIGGERER, routes["early"], routes["deferred"])
    runs = {"running": lab.trigger(WORKER), "deferred": lab.trigger(TRIGGERER, routes=["mark-deferred"])}
    runs["early"] = lab.trigger(TRIGGERER, routes=["mark-early"])
    steps = {"running": "small", "early": "finish", "deferred": "finish"}

    def marked(name: str) -> None:
        run, step = runs[name], steps[name]
        assert run.processes()
        run.mark_failed(step)
        until(lambda: not run.processes(), f"end of {name} on the source", timeout=10)
        until(lambda: not inside(lab.target(f"mark-{name}")), f"end of {name} on the target", timeout=10)
        assert run.state(step) == "failed"

    until_deferred(runs["early"])
    marked("early")
    until_deferred(runs["deferred"])
    until_looked_at(runs["deferred"])
    marked("deferred")
    lab.begun("mark-running")
    runs["running"].reach("small", "running")
    marked("running")
    until(lambda: not lab.stage.place.target.sessions(), "end of the sessions on the target", timeout=10)
    for name, run in runs.items():
        assert run.wait() == "failed"
        assert not run.processes(), run.told()  # finish, which runs after a failed transfer, began no other copy
        assert not (lab.target(f"mark-{name}") / "big.bin").exists()


def test_a_job_killed_on_its_host_fails_soon_and_the_retry_mends_it(lab: Lab) -> None:
    """Whether the worker watches the job or the triggerer."""
    names = {WORKER: "killed-by-worker", TRIGGERER: "killed-by-triggerer"}
    runs = {}
    for dag_id, name in names.items():
        lab.configure(dag_id, lab.route(name, BIG, bandwidth=SLOW))
        runs[dag_id] = lab.trigger(dag_id)
    with frozen(*runs.values()):
        kill_job(runs[WORKER].group("finish"))
        runs[WORKER].reach("finish", "up_for_retry", timeout=10)
        until_deferred(runs[TRIGGERER])
        kill_job(runs[TRIGGERER].group("finish"))
        runs[TRIGGERER].reach("finish", "up_for_retry", timeout=10)
    for dag_id, run in runs.items():
        assert "JobVanished" in run.log("finish", try_number=1)
        run.good()
        assert run.tries("finish") == 2
        assert lab.same(names[dag_id])
        assert run.report()["digests"]["equal"] is True


def test_cleared_after_success_copies_anew(lab: Lab) -> None:
    lab.configure(WORKER, lab.route("cleared"))
    run = lab.trigger(WORKER).good()
    assert lab.same("cleared")
    shutil.rmtree(lab.target("cleared"))
    run.clear("plan")
    run.reach("plan", "running", "success")
    run.good()
    assert lab.same("cleared")
    assert run.report()["counts"]["moved"] == 3
    assert run.job("finish", generation=1) != run.job("finish")


def test_two_runs_of_a_route_at_once_one_is_skipped_and_names_the_holder(lab: Lab) -> None:
    lab.configure(WORKER, lab.route("twice", BIG, bandwidth=SLOW))
    first = lab.trigger(WORKER)
    with frozen(first):
        second = lab.trigger(WORKER)
        second.wait()
        assert second.state("plan") == "skipped", second.told()
        assert second.state("finish") == "skipped"
        assert first.id in second.log("plan")
        assert "twice: skipped" in second.log_of("outcome")
        assert first.state("finish") == "running"
    first.good()
    assert lab.same("twice")
