"""Real Airflow on this machine: its processes, on loopback, in a directory of their own."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from lab.processes import free_port, start, stop, sweep, until
from lab.rest import Rest

REPOSITORY = Path(__file__).resolve().parent.parent
USER = "admin"
PASSWORDS = "passwords.json"
POOLS = {"fs_sync_small": 8, "fs_sync_large": 2}
# The tasks have an API server of their own. In one process with the public API theirs would hold SQLite's lock and wait for the event
# loop, which waits for the lock to write who asked for what: each trigger could stand still for as long as the lock is waited for.
PROCESSES = {
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
    "api-server": ["api-server", "--workers", "1", "--apps", "core"],
    "execution-api": ["api-server", "--workers", "1", "--apps", "execution"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
}


@dataclass
class Airflow:
    """A running Airflow: its directory, its address and login, and its processes by name."""

    directory: Path
    url: str
    password: str = field(repr=False)
    execution: int
    environment: dict[str, str] = field(repr=False)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """Return AIRFLOW_HOME."""
        return self.directory / "airflow"

    @property
    def database(self) -> Path:
        """Return the metadata database's file."""
        return self.home / "airflow.db"

    @property
    def logs(self) -> Path:
        """Return the directory of the tasks' logs."""
        return self.home / "logs"

    def start(self, name: str) -> None:
        """Start one of the processes (again)."""
        port = ["--port", str(self.execution)] if name == "execution-api" else []
        argv = [sys.executable, "-m", "airflow", *PROCESSES[name], *port]
        self.processes[name] = start(argv, self.directory / f"{name}.log", self.environment, self.home, mark=self.directory)

    def stop(self, name: str) -> None:
        """Stop one of the processes and what it started."""
        stop(self.processes.pop(name))

    def seed(self, connections: Mapping[str, Mapping[str, Any]], variables: Mapping[str, str], migrate: bool = False) -> None:
        """Store connections and Variables in the database; what has the same name is replaced."""
        wanted = {"migrate": migrate, "connections": dict(connections), "variables": dict(variables), "pools": POOLS if migrate else {}}
        # A path instead of -m: the repository itself must not be what Airflow imports the package from.
        environment = {**self.environment, "PYTHONPATH": str(REPOSITORY)}
        argv = [sys.executable, "-m", "lab.seed"]
        done = subprocess.run(
            argv, input=json.dumps(wanted), text=True, capture_output=True, env=environment, cwd=self.home, timeout=180, check=False
        )
        if done.returncode:
            raise RuntimeError(f"Airflow's database could not be filled:\n{done.stderr[-4000:]}")

    def rest(self) -> Rest:
        """Return a client that is logged in."""
        return Rest(self.url, USER, self.password)

    def healthy(self) -> bool:
        """Return whether all processes say that they are well. Raise RuntimeError if one has ended."""
        health = self._health()
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return self.answers() and all(health.get(part, {}).get("status") == "healthy" for part in parts)

    def answers(self) -> bool:
        """Return whether both API servers answer. Raise RuntimeError if a process has ended."""
        with contextlib.suppress(httpx.TransportError):
            address = f"http://127.0.0.1:{self.execution}/execution/health"
            return bool(self._health()) and httpx.get(address, timeout=30, trust_env=False).is_success
        return False

    def _health(self) -> dict[str, Any]:
        for name, process in self.processes.items():
            if process.poll() is not None:
                text = (self.directory / f"{name}.log").read_text(errors="replace")
                raise RuntimeError(f"airflow {name} ended with {process.returncode}:\n{text[-4000:]}")
        try:
            return Rest(self.url).health()
        except (httpx.TransportError, RuntimeError):
            return {}


@contextlib.contextmanager
def airflow(
    directory: Path,
    connections: Mapping[str, Mapping[str, Any]],
    variables: Mapping[str, str],
    dags: Path = REPOSITORY / "dags",
    schedule: bool = False,
    environment: Mapping[str, str] | None = None,
    port: int | None = None,
    prepare: Callable[[Airflow], None] | None = None,
) -> Iterator[Airflow]:
    """Run Airflow until the end of the block, healthy at its begin.

    The connections and Variables are rows of its database, encrypted. Without `schedule` only triggered runs are made.
    `prepare` is called when the database is there, before anything runs. An Airflow of the same directory goes on where it was.
    """
    directory = directory.resolve()
    home = directory / "airflow"
    (directory / "home").mkdir(parents=True, exist_ok=True)
    home.mkdir(exist_ok=True)
    password = _kept(home / PASSWORDS, {USER: secrets.token_urlsafe(12)})[USER]
    port = port or free_port()
    execution = free_port()
    settings = _settings(home, port, execution, dags, schedule)
    # Of the caller's own settings none counts, and neither does the caller's home.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "PYTHONPATH", "PYTEST"))}
    lab = Airflow(directory, f"http://127.0.0.1:{port}", password, execution, {**inherited, **settings, **(environment or {})})
    try:
        lab.seed(connections, variables, migrate=True)
        if prepare is not None:
            prepare(lab)
        for name in PROCESSES:
            # What is due runs as soon as there is a scheduler, and fails where it can't reach the API server.
            if name == "scheduler" and schedule:
                until(lab.answers, "Airflow's API servers", timeout=180, every=0.25)
            lab.start(name)
        until(lab.healthy, "Airflow's processes healthy", timeout=180, every=0.25)
        yield lab
    finally:
        for process in lab.processes.values():
            process.terminate()  # all at once, since each takes its seconds
        for name in list(lab.processes):
            lab.stop(name)
        sweep(directory)


def _kept(path: Path, new: dict[str, str]) -> dict[str, str]:
    """Return the secrets of a file that its owner alone can read, which is made of the new ones where there is none."""
    if not path.exists():
        made = path.with_suffix(".new")
        made.touch(mode=0o600)
        made.write_text(json.dumps(new))
        made.rename(path)
    return dict(json.loads(path.read_text()))


def _settings(home: Path, port: int, execution: int, dags: Path, schedule: bool) -> dict[str, str]:
    made = {
        "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "secret_key": secrets.token_hex(32),
        "jwt_secret": secrets.token_hex(64),
    }
    kept = _kept(home / "secrets.json", made)
    sections: dict[str, dict[str, Any]] = {
        "core": {
            "dags_folder": dags,
            "executor": "LocalExecutor",
            "parallelism": 4,
            "load_examples": False,
            "dags_are_paused_at_creation": False,
            "fernet_key": kept["fernet_key"],
            "simple_auth_manager_users": f"{USER}:admin",
            "simple_auth_manager_passwords_file": home / PASSWORDS,
            "execution_api_server_url": f"http://127.0.0.1:{execution}/execution/",
            # A rendered script is shown whole in the UI.
            "max_templated_field_length": 200_000,
            "max_active_tasks_per_dag": 16,
        },
        # One writes at a time, and each in turn: more than the five seconds that SQLite's driver waits by default.
        "database": {"sql_alchemy_conn": f"sqlite:///{home / 'airflow.db'}?timeout=20"},
        "api": {
            "host": "127.0.0.1",
            "port": port,
            "base_url": f"http://127.0.0.1:{port}",
            "secret_key": kept["secret_key"],
            "default_wrap": True,
        },
        "api_auth": {"jwt_secret": kept["jwt_secret"]},
        "scheduler": {
            "scheduler_idle_sleep_time": 0.2,
            "use_job_schedule": schedule,
            # A task whose process was killed is noticed after this time and not after five minutes.
            "task_instance_heartbeat_timeout": 20,
            "task_instance_heartbeat_timeout_detection_interval": 2,
        },
        "triggerer": {"job_heartbeat_sec": 1},
        "workers": {"min_heartbeat_interval": 1},
        "dag_processor": {"refresh_interval": 2, "min_file_process_interval": 10, "parsing_processes": 1},
        "logging": {"base_log_folder": home / "logs", "logging_level": "INFO"},
        "usage_data_collection": {"enabled": False},
    }
    settings = {
        f"AIRFLOW__{section.upper()}__{key.upper()}": str(value) for section, keys in sections.items() for key, value in keys.items()
    }
    return {
        **settings,
        "AIRFLOW_HOME": str(home),
        "HOME": str(home.parent / "home"),
        "PYTHONUNBUFFERED": "1",
        "NO_PROXY": "127.0.0.1",
        # As the stack does.
        "FS_SYNC_SMALL_POOL": "fs_sync_small",
        "FS_SYNC_LARGE_POOL": "fs_sync_large",
        "FS_SYNC_LARGE_QUEUE": "large_files",
    }
