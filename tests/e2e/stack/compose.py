"""The stack on a Docker engine as its user handles it: `docker compose`, containers, and the REST API."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from lab.airflow import REPOSITORY
from lab.processes import free_port, until
from lab.rest import UNFINISHED, Rest
from lab.stage import DAGS, FROM_MINIO, MINIO, RCLONE, RSYNC, WORKER

__all__ = ["DAGS", "FROM_MINIO", "MINIO", "RCLONE", "RSYNC", "WORKER"]

FILE = REPOSITORY / "docker-compose.yml"
LOGS = REPOSITORY / "build" / "stack"
USER = "admin"
SOURCE, TARGET, STORE = "sftp_source_conn", "sftp_target_conn", "s3_target_conn"
BUCKET = "replica"
VERSION = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
# The tests' own build of the images; each copy of the stack has its own too, from the same cache.
BUILT = "fs-sync-e2e"
HOST_IMAGE = f"{BUILT}-host:{VERSION}"
ONE_SHOTS = frozenset({"secrets", "airflow-init", "demo-init", "service-check", "service-init"})
HOSTS = frozenset({"source", "target", "minio"})
MEBI = 1024 * 1024
# The stack starts once or twice a minute's work; what waits for it must not give up on a slow machine.
PATIENCE = 300.0
numbers = itertools.count()

PARTIAL = re.compile(r"(?P<at>(?:.*/)?)\.(?P<name>[^/]+)\.[A-Za-z0-9]{6}")

# The tools that copy for one step of one route, once some bytes have gone over.
COPYING = """
grep -qs '^progress ' "$HOME"/.fs-sync/runs/*/{step}-{name}-????????-g*/log || exit 0
for process in /proc/[0-9]*; do
  grep -qsz '^FS_SYNC_JOB=.*/{step}-{name}-[^-]*-g[0-9]*$' "$process/environ" || continue
  case $(cat "$process/comm") in rsync | rclone) echo "${{process#/proc/}}" ;; esac
done
"""
# The digest of every file below a directory; what a job or a partial copy leaves stands below `.fs-sync`.
CHECKSUMS = "cd {path} && find . -name .fs-sync -prune -o -type f -print0 | xargs -0r sha256sum"


def run(*argv: str, check: bool = True, timeout: float = PATIENCE, **arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run a command, its output kept. Raise RuntimeError, with all that it said, if it fails."""
    arguments = {"stdin": subprocess.DEVNULL, **arguments} if "input" not in arguments else arguments
    done = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=timeout, **arguments)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def docker(*argv: str, **arguments: Any) -> str:
    """Run docker and return what it printed."""
    return run("docker", *argv, **arguments).stdout


def forget_images(project: str) -> None:
    """Remove the images that compose has built for a project; what others use of their layers stays."""
    for image in set(docker("image", "ls", "-q", "--filter", f"label=com.docker.compose.project={project}").split()):
        docker("rmi", "-f", image)


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """This environment without what would stand in for the committed .env, and what a `make` around the tests has put there."""
    lines = (REPOSITORY / ".env").read_text().splitlines()
    not_ours = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", *(line.partition("=")[0] for line in lines if "=" in line and line[0] != "#")}
    return {key: value for key, value in os.environ.items() if key not in not_ours and not key.startswith("COMPOSE_")} | dict(environment)


@dataclass(eq=False)
class Stack:
    """One copy of the stack: its own project name and port, the plain docker-compose.yml and .env."""

    project: str
    port: int = field(default_factory=free_port)
    environment: Mapping[str, str] = field(default_factory=dict)
    client: Rest | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def variables(self) -> dict[str, str]:
        """
        What the environment says to `docker compose`, and nothing but that.

        The tests need not wait a minute for each retry, and a run at the full hour would hold the route of the test that runs then.
        """
        return clean({"AIRFLOW_PORT": str(self.port), "RETRY_DELAY": "10", "SCHEDULE": "0 0 1 1 *", **self.environment})

    def run(self, *argv: str, **arguments: Any) -> subprocess.CompletedProcess[str]:
        """Run `docker compose` for this copy."""
        environment = self.variables | dict(arguments.pop("env", {}))
        return run(
            "docker", "compose", "--ansi", "never", "-p", self.project, "-f", str(FILE), *argv, cwd=REPOSITORY, env=environment, **arguments
        )

    def up(self, *argv: str, **arguments: Any) -> None:
        """Start it, as its user does, and wait until it is healthy."""
        self.run("up", "-d", "--wait", *argv, timeout=2 * PATIENCE, **arguments)
        self.client = None

    def down(self, *argv: str) -> None:
        self.run("down", *argv)
        self.client = None

    def forget(self) -> None:
        """Remove all that was made of it, its images too."""
        self.run("down", "-v", "-t", "0", check=False)
        forget_images(self.project)

    @property
    def rest(self) -> Rest:
        """A client that is logged in, made anew after each start."""
        if self.client is None:
            self.client = Rest(self.url, USER, self.password())
        return self.client

    def password(self) -> str:
        return self.exec("airflow-apiserver", "cat", "/secrets/admin_password").strip()

    def config(self) -> dict[str, Any]:
        """What compose makes of the file."""
        return dict(json.loads(self.run("config", "--format", "json").stdout))

    def healthy(self) -> bool:
        """Whether Airflow itself says that all its parts are well."""
        with contextlib.suppress(httpx.HTTPError, RuntimeError):
            return all(part["status"] == "healthy" for part in Rest(self.url).health().values() if part.get("status"))
        return False

    def containers(self, *services: str) -> list[dict[str, Any]]:
        """All containers of this copy, or those of some services, as `docker inspect` shows them."""
        ids = self.run("ps", "-aq", "--no-trunc", *services).stdout.split()
        found: list[dict[str, Any]] = json.loads(docker("inspect", *ids)) if ids else []
        return sorted(found, key=lambda container: str(container["Name"]))

    def name(self, service: str, number: int = 1) -> str:
        """The name of a service's container."""
        return f"{self.project}-{service}-{number}"

    def exec(self, service: str, *argv: str, number: int = 1, **arguments: Any) -> str:
        """Run a command in a container and return what it printed."""
        more = ("-i",) if "input" in arguments else ()
        return docker("exec", *more, self.name(service, number), *argv, **arguments)

    def sh(self, service: str, script: str, **arguments: Any) -> str:
        """Run a script in a container, as the user that the container has."""
        return self.exec(service, "sh", "-euc", script, **arguments)

    def logs(self, *argv: str) -> str:
        """What all containers said; compose puts its terminal's codes into it whatever it is told."""
        return self.run("logs", "--no-color", *argv, check=False).stdout.replace("\x1b[2K", "")

    def save_logs(self, name: str) -> Path:
        """Keep what all containers said, and how they are, under build/."""
        LOGS.mkdir(parents=True, exist_ok=True)
        path = LOGS / (re.sub(r"[^\w.-]+", "-", name) + ".log")
        path.write_text(self.run("ps", "-a", check=False).stdout + self.logs("--timestamps"))
        return path

    def ends(self) -> str:
        """When which container ended or lacked memory, and with what exit code, by the engine's own memory of events."""
        told = "{{.Time}} {{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.exitCode}}"
        of = ("--filter", f"label=com.docker.compose.project={self.project}", "--filter", "event=die", "--filter", "event=oom")
        return docker("events", "--since", "24h", "--until", "0s", *of, "--format", told)

    def left(self) -> str:
        """What of this copy is on the engine: containers, networks, volumes."""
        mine = ("-q", "--filter", f"label=com.docker.compose.project={self.project}")
        return docker("ps", "-a", *mine) + docker("network", "ls", *mine) + docker("volume", "ls", *mine)

    def volumes(self) -> list[str]:
        return docker("volume", "ls", "-q", "--filter", f"label=com.docker.compose.project={self.project}").split()

    def secrets(self) -> dict[str, str]:
        """Every file of every volume of secrets, by volume and name; read as root by a container of its own."""
        script = 'cd /kept; for file in *; do echo "$file $(base64 -w 0 "$file")"; done'
        found = {}
        for volume in self.volumes():
            short = volume.removeprefix(f"{self.project}_")
            if not short.startswith("secrets"):
                continue
            printed = docker("run", "--rm", "-u", "0", "-v", f"{volume}:/kept:ro", "--entrypoint", "sh", HOST_IMAGE, "-euc", script)
            for line in printed.splitlines():
                name, _, text = line.partition(" ")
                found[f"{short}/{name}"] = _plain(text)
        return found

    # Routes of the tests' own

    def tree(self, name: str, size: int = 0) -> str:
        """Make a small tree in the home of the source's login, with a big file of random bytes if asked; return its path."""
        script = f"""
            mkdir -p ~/cases/{name}/one/two && cd ~/cases/{name}
            head -c 3000 /dev/urandom >one/small && head -c 70 /dev/urandom >'one/two/it is "small"' && : >empty
            head -c {size} /dev/urandom >big.bin"""
        self.sh("source", script)
        return f"~/cases/{name}"

    def route(self, name: str, size: int = 0, dag_id: str = RSYNC, **options: Any) -> dict[str, Any]:
        """A route over a new tree to a target of its own."""
        path = f"copies/{name}"
        target = {"bucket": BUCKET, "path": path} if dag_id == MINIO else {"path": f"~/{path}"}
        return {"name": name, "source": {"path": self.tree(name, size)}, "target": target, **options}

    def configure(self, dag_id: str, *routes: Mapping[str, Any]) -> None:
        self.rest.set_variable(dag_id, json.dumps({"routes": routes}))

    def trigger(self, dag_id: str, name: str = "", **form: Any) -> Run:
        """Start a run. One by the schedule would hold the route, so it is let go first."""
        until(lambda: not self.rest.unfinished(dag_id), f"the end of earlier runs of {dag_id}", timeout=PATIENCE, every=0.5)
        return Run(self, dag_id, self.rest.trigger(dag_id, form), name)

    def begin(self, name: str, size: int = 0, dag_id: str = RSYNC, **options: Any) -> Run:
        """Make a tree and a route over it, the DAG's only one, and start a run."""
        self.configure(dag_id, self.route(name, size, dag_id, **options))
        return self.trigger(dag_id, name)

    def checksums(self, service: str, path: str) -> dict[str, str]:
        """The SHA-256 of every file below a directory of a host, computed there."""
        lines = self.sh(service, CHECKSUMS.format(path=path)).splitlines()
        return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}

    def stored(self, prefix: str) -> dict[str, str]:
        """The SHA-256 of every object below a prefix of the bucket, read back over the store's own interface."""
        given = f"{self.secrets()['secrets-minio/root_password'].strip()}\n"
        script = f"""
            read -r RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY && export RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY
            export RCLONE_CONFIG_STORE_TYPE=s3 RCLONE_CONFIG_STORE_PROVIDER=Minio RCLONE_CONFIG_STORE_ACCESS_KEY_ID=fs-sync
            export RCLONE_CONFIG_STORE_ENDPOINT=http://minio:9000 RCLONE_CONFIG=/dev/null
            back=$(mktemp -d) && trap 'rm -rf "$back"' EXIT && rclone copy -q store:{BUCKET}/{prefix} "$back"
            {CHECKSUMS.format(path='"$back"')}"""
        lines = self.sh("source", script, input=given).splitlines()
        return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}

    def arrived(self, dag_id: str, path: str) -> dict[str, str]:
        """What a DAG's target holds below a path, by SHA-256."""
        return self.stored(path) if dag_id == MINIO else self.checksums("target", f"~/{path}")

    def same(self, name: str, dag_id: str = RSYNC) -> bool:
        """Whether a route's target holds what its source holds, byte for byte."""
        sent = self.checksums("source", f"~/cases/{name}")
        return bool(sent) and sent == self.arrived(dag_id, f"copies/{name}")

    def same_but_for_partial_files(self, name: str, dag_id: str = RSYNC) -> bool:
        """The same where a host was taken away under the tool: of rsync's receiver a `.NAME.XXXXXX` may have stayed, as README says."""
        sent, arrived = self.checksums("source", f"~/cases/{name}"), self.arrived(dag_id, f"copies/{name}")
        extra = [path for path in arrived if path not in sent]
        kept = {PARTIAL.sub(r"\g<at>\g<name>", path) for path in extra}
        return bool(sent) and kept <= set(sent) and {path: arrived.get(path) for path in sent} == sent

    @contextlib.contextmanager
    def frozen(self, *runs: Run, step: str = "finish") -> Iterator[None]:
        """Stop the copies of a step in the middle of it until the end of the block, so that no test races against them."""
        held: dict[str, list[str]] = {}

        def all_held() -> bool:
            for run in runs:
                if run.id not in held and (tools := self.sh("source", COPYING.format(step=step, name=run.name)).split()):
                    held[run.id] = tools
                    self.sh("source", f"kill -STOP {' '.join(tools)}")
            return len(held) == len(runs)

        try:
            try:
                until(all_held, "the middle of all copies", timeout=120, every=0.2)
            except TimeoutError as error:
                raise TimeoutError("\n".join([str(error), *(run.told() for run in runs if run.id not in held)])) from error
            yield
        finally:
            tools = " ".join(itertools.chain(*held.values()))
            if tools:
                self.sh("source", f"kill -CONT {tools} 2>/dev/null || :")


@dataclass(frozen=True)
class Run:
    """One run of a DAG over a route of a test's own, and how it is looked at."""

    stack: Stack
    dag_id: str
    id: str
    name: str = ""

    @property
    def rest(self) -> Rest:
        return self.stack.rest

    def wait(self, timeout: float = PATIENCE) -> str:
        return self.rest.wait(self.dag_id, self.id, timeout)

    def good(self, timeout: float = PATIENCE) -> Run:
        """Wait for a green end."""
        state = self.wait(timeout)
        assert state == "success", self.told()
        return self

    def told(self) -> str:
        """The states of all tasks and the ends of the logs of those that are not green, for a test that failed."""
        tasks = self.rest.tasks(self.dag_id, self.id)
        shown = [f"{task['task_id']}[{task['map_index']}] {task['state']} try {task['try_number']} on {task['hostname']}" for task in tasks]
        for task in tasks:
            if task["state"] == "failed" or task["state"] in UNFINISHED:
                with contextlib.suppress(RuntimeError, httpx.HTTPError):
                    shown.append(self.rest.log(self.dag_id, self.id, task["task_id"], task["map_index"])[-2500:])
        return "\n".join(shown)

    def state(self, step: str) -> str | None:
        return self.rest.states(self.dag_id, self.id).get((f"route.{step}", 0))

    def reach(self, step: str, *states: str, timeout: float = 120) -> None:
        """Wait until a step is in one of the states."""
        try:
            self.rest.reach(self.dag_id, self.id, f"route.{step}", states, 0, timeout)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.told()}") from error

    def task(self, step: str) -> dict[str, Any]:
        return self.rest.task(self.dag_id, self.id, f"route.{step}", 0)

    def tries(self, step: str) -> int:
        return int(self.task(step)["try_number"])

    def log(self, step: str, try_number: int | None = None) -> str:
        return self.rest.log(self.dag_id, self.id, f"route.{step}", 0, try_number)

    def report(self) -> dict[str, Any]:
        """The report that `finish` left, or `plan` where it was the last step."""
        found = self.rest.xcom(self.dag_id, self.id, "route.finish", 0)
        return dict(found or self.rest.xcom(self.dag_id, self.id, "route.plan", 0)["report"])

    def jobs(self) -> list[str]:
        """The names of the jobs of this route on the source, one for each time that a step was started."""
        return self.stack.sh("source", f"cd ~/.fs-sync/runs && ls -d -- */*-{self.name}-????????-g* || :").split()

    def group(self, step: str) -> str:
        """Which processes a step's job is made of: its process group and when it began."""
        return self.stack.sh("source", f"cat ~/.fs-sync/runs/*/{step}-{self.name}-????????-g0/pgid").strip()

    def until_looked_at(self, step: str) -> None:
        """Wait until somebody looks at the step's job, as a watch does again and again."""

        def lease() -> str:
            return self.stack.sh("source", f"stat -c %y ~/.fs-sync/runs/*/{step}-{self.name}-????????-g0/lease")

        before = lease()
        until(lambda: lease() != before, f"a look at the job of {self.name}", timeout=180, every=0.5)

    def until_attached(self, step: str, timeout: float = PATIENCE) -> None:
        """Wait until another try has found the step's running job."""

        def found() -> bool:
            return self.tries(step) > 1 and "Attached: the job runs already" in self.log(step)

        try:
            until(found, f"a second try at the job of {self.name}", timeout=timeout, every=0.5)
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{self.told()}") from error

    def started_once(self) -> bool:
        """Whether each step was one job, never started again."""
        steps = [job.rpartition("/")[2].partition("-")[0] for job in self.jobs()]
        again = self.stack.sh("source", f"ls -d ~/.fs-sync/runs/*/*-{self.name}-????????-g*/try-* 2>/dev/null || :")
        return bool(steps) and len(steps) == len(set(steps)) and not again


def _plain(text: str) -> str:
    import base64

    return base64.b64decode(text).decode()
