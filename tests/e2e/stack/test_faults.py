"""What goes wrong around a copy, on several machines: a worker killed, services stopped and started, all of it restarted."""

from __future__ import annotations

from lab.processes import until
from tests.e2e.stack.compose import HOSTS, MEBI, RCLONE, RSYNC, Run, Stack, docker

BIG = 12 * MEBI
# Slow enough to be found in the middle of it; there it is held.
SLOW = "2M"


def test_a_killed_worker_is_replaced_and_a_third_one_added(stack: Stack) -> None:
    """
    The container that runs the task is killed, and a third worker added; the retry, on another one, finds the job running.

    All three take tasks, and back at two nothing is lost either.
    """
    run = stack.begin("worker-killed", BIG, bandwidth=SLOW)
    with stack.frozen(run):
        group = run.group("finish")
        run.reach("finish", "running")
        killed = run.task("finish")["hostname"]
        docker("kill", killed)
        stack.up("--scale", "worker=3")
        workers = {container["Id"][:12]: container for container in stack.containers("worker")}
        assert len(workers) == 3
        assert killed in workers
        assert all(container["State"]["Health"]["Status"] == "healthy" for container in workers.values())
        # Enough to do for three at once.
        stack.configure(RCLONE, *(stack.route(f"scaled-{number}", dag_id=RCLONE) for number in range(6)))
        took: set[str] = set()

        def all_three() -> bool:
            other = stack.trigger(RCLONE).good()
            took.update(task["hostname"] for task in stack.rest.tasks(RCLONE, other.id))
            return set(workers) <= took

        until(all_three, "tasks on all three workers", timeout=300)
        run.until_attached("finish")
        assert run.group("finish") == group
        stack.up()
        assert len(stack.containers("worker")) == 2
        assert run.group("finish") == group
    run.good()
    assert run.group("finish") == group
    assert run.started_once()
    assert run.tries("finish") == 2
    assert stack.same("worker-killed")
    assert run.report()["digests"]["equal"] is True


def test_airflow_down_and_up_in_mid_transfer_adopts_the_jobs(stack: Stack) -> None:
    """All of Airflow, its database and broker too, is removed and made again, while one job is deferred and one is watched by a worker."""
    deferred = stack.begin("away-deferred", BIG, bandwidth=SLOW)
    # With `secrets` would go all that wait for it.
    stay = HOSTS | {"secrets"}
    services = set(stack.config()["services"]) - stay
    with stack.frozen(deferred):
        deferred.reach("finish", "deferred")
        running = stack.begin("away-running", BIG, RCLONE, bandwidth=SLOW)
        with stack.frozen(running):
            running.reach("finish", "running")
            groups = [run.group("finish") for run in (deferred, running)]
            stack.down(*sorted(services))
            assert {container["Config"]["Labels"]["com.docker.compose.service"] for container in stack.containers()} == stay
            stack.up()
            for run in (deferred, running):
                run.until_looked_at("finish")
            assert [run.group("finish") for run in (deferred, running)] == groups
    for run, dag_id in ((deferred, RSYNC), (running, RCLONE)):
        run.good()
        assert run.started_once()
        assert stack.same(run.name, dag_id)
        assert run.report()["digests"]["equal"] is True


def test_all_down_and_up_in_mid_transfer_ends_green(stack: Stack) -> None:
    """With the hosts the jobs are gone: the retry says so and starts them again. Passwords, keys and host keys are the same."""
    before = stack.secrets()
    deferred = stack.begin("gone-deferred", BIG, bandwidth=SLOW)
    with stack.frozen(deferred):
        deferred.reach("finish", "deferred")
        running = stack.begin("gone-running", BIG, RCLONE, bandwidth=SLOW)
        with stack.frozen(running):
            groups = {run: run.group("finish") for run in (deferred, running)}
            stack.down()
            assert stack.containers() == []
            stack.up()
    assert stack.secrets() == before
    for run, group in groups.items():
        run.good(timeout=600)
        assert stack.same_but_for_partial_files(run.name, run.dag_id)
        assert run.report()["digests"]["equal"] is True
        assert run.group("finish") != group
        assert any("JobVanished" in run.log("finish", number) for number in range(1, run.tries("finish") + 1)), told(run)


def told(run: Run) -> str:
    """The logs of all tries, for a test that failed."""
    return "\n".join(run.log("finish", number)[-2000:] for number in range(1, run.tries("finish") + 1))
