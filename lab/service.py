"""The service style without Docker: Airflow that syncs as one file says, until Ctrl-C or a TERM, and goes on at the next start."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from pathlib import Path

from lab.airflow import PASSWORDS, REPOSITORY, USER, Airflow, airflow
from lab.demo import BUILD, say
from lab.processes import alone
from lab.ui import leave

# Reads the file, and sets in Airflow what it says; the containers of the stack run the same.
PROGRAM = REPOSITORY / "docker" / "airflow" / "service.py"
# For weeks, not for a test: what nobody waits for looks around less often. What has nothing to copy stays off.
SETTINGS = {
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
    "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "60",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "5",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "5",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "60",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
}


def main(env: str = "service.env", directory: str = str(BUILD / "service")) -> int:
    """Given the file and the directory of all that is kept, run until a signal; return 0, or 1 if the file can't be used."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: leave(stopped))
    file, place = Path(env), Path(directory)
    if subprocess.run([sys.executable, PROGRAM, "check", file], check=False).returncode:
        return 1
    with contextlib.suppress(KeyboardInterrupt), alone(place, keep=True):
        say("starting Airflow (about 30 s)")
        prepare = lambda made: _init(made, file.resolve())  # noqa: E731
        with airflow(place / "run", {}, {}, schedule=True, environment=SETTINGS, prepare=prepare) as running:
            print(f"\n  {running.url}   login {USER}   its password is in {running.home / PASSWORDS}\n")
            print("  It looks at what changed every minute, at everything every two hours. Ctrl-C stops it.\n", flush=True)
            while not stopped.wait(10):
                watch(running)
    return 0


def watch(running: Airflow) -> None:
    """Start again what has ended by itself."""
    for name, process in list(running.processes.items()):
        if process.poll() is not None:
            say(f"airflow {name} ended with {process.returncode}, see {running.directory / name}.log; it is started again")
            running.stop(name)
            running.start(name)


def _init(made: Airflow, file: Path) -> None:
    done = subprocess.run([sys.executable, PROGRAM, "init", file], env=made.environment, cwd=made.home, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
