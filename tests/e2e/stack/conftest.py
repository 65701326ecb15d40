"""An engine, the images and one running stack for all tests of the stack; what failed leaves the containers' logs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from string import Template

import pytest
from pytest_docker.plugin import Services

from lab.airflow import REPOSITORY
from lab.processes import free_port
from tests.e2e.stack.compose import BUILT, DAGS, FILE, Stack, clean, docker, forget_images, run

HERE = Path(__file__).parent
# First what must see a stack that nobody has harmed yet, last what harms it.
ORDER = (
    "test_host_image",
    "test_up",
    "test_runs",
    "test_ui",
    "test_secrets",
    "test_bad_input",
    "test_faults",
    "test_second_copy",
    "test_service",
)
COMMAND = "env AIRFLOW_PORT={port} docker compose"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of this directory in their order, behind all others."""

    def place(item: pytest.Item) -> int:
        if item.path.parent != HERE:
            return -1
        return ORDER.index(item.path.stem) if item.path.stem in ORDER else len(ORDER)

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the logs of the containers when a test of the stack failed."""
    report = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and isinstance(stack, Stack):
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            report.sections.append(("the containers' logs", str(stack.save_logs(item.name))))
    return report


@pytest.fixture(scope="session")
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Print a line at once, for what takes long."""
    plugins = request.config.pluginmanager
    terminal, capture = plugins.getplugin("terminalreporter"), plugins.getplugin("capturemanager")

    def line(text: str) -> None:
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            terminal.ensure_newline()
            terminal.write_line(f"{time.strftime('%H:%M:%S')}  {text}", flush=True)

    return line


@pytest.fixture(scope="session")
def engine() -> str:
    """The version of the Docker engine that answers."""
    try:
        done = run("docker", "info", "--format", "{{.ServerVersion}}", check=False, timeout=60)
        said, version = done.stderr.strip(), done.stdout.strip() if not done.returncode else ""
    except FileNotFoundError as error:
        said, version = str(error), ""
    if version:
        return version
    told = f"no Docker engine answers (`make engine` starts one): {said}"
    if os.environ.get("REQUIRE_DOCKER") == "1":
        pytest.fail(told)
    pytest.skip(told)


@pytest.fixture(scope="session")
def images(engine: str, docker_compose_project_name: str, tell: Callable[[str], None]) -> Iterator[None]:
    """All images: the bases from here, from a registry, or made here as stand-ins; then what compose builds."""
    missing = [image for image in bases() if not present(image)]
    for image in missing:
        tell(f"pulling {image}")
        pulled = run("docker", "pull", "--quiet", image, check=False, timeout=1800)
        if pulled.returncode:
            tell(f"no registry has it ({pulled.stderr.strip().splitlines()[-1:]}), so docker/offline makes stand-ins")
            with subprocess.Popen(
                ["sh", "docker/offline/images"], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            ) as made:
                for line in made.stdout or ():
                    tell(line.rstrip())
            assert made.returncode == 0, "docker/offline/images could not make them; its own words stand above"
            break
    tell("building the images of the stack")
    run("docker", "compose", "-p", BUILT, "-f", str(FILE), "build", cwd=REPOSITORY, env=clean({}), timeout=3600)
    yield
    for project in {BUILT, docker_compose_project_name} - {(running() or [""])[0]}:
        forget_images(project)


def bases() -> list[str]:
    """The images that the stack needs and does not build."""
    profiles = ("--profile", "*")
    services = json.loads(
        run("docker", "compose", *profiles, "-f", str(FILE), "config", "--format", "json", cwd=REPOSITORY, env=clean({})).stdout
    )
    made = {service["image"]: service["build"] for service in services["services"].values() if service.get("build")}
    found = {service["image"] for service in services["services"].values()} - set(made)
    for build in made.values():
        text = (Path(build["context"]) / build["dockerfile"]).read_text()
        defaults = dict(re.findall(r"^ARG\s+(\w+)=(\S+)", text, re.M))
        given = {**defaults, **build.get("args", {})}
        stages = set(re.findall(r"^FROM\s.*\sAS\s+(\S+)", text, re.M | re.I))
        named = re.findall(r"^FROM\s+(?:--\S+\s+)*(\S+)", text, re.M | re.I)
        found |= {Template(name).substitute(given) for name in named if name not in stages}
    return sorted(found)


def present(image: str) -> bool:
    return run("docker", "image", "inspect", image, check=False).returncode == 0


# What pytest-docker asks for.


def running() -> tuple[str, int] | None:
    """The project and port of a stack that runs already, if one was named."""
    project, _, port = os.environ.get("STACK", "").partition(":")
    return (project, int(port)) if project else None


@pytest.fixture(scope="session")
def port() -> int:
    named = running()
    return named[1] if named else free_port()


@pytest.fixture(scope="session")
def docker_compose_command(port: int) -> str:
    return COMMAND.format(port=port)


@pytest.fixture(scope="session")
def docker_compose_file() -> str:
    return str(FILE)


@pytest.fixture(scope="session")
def docker_compose_project_name() -> str:
    named = running()
    return named[0] if named else f"fs-sync-e2e-{os.getpid()}"


@pytest.fixture(scope="session")
def docker_setup(request: pytest.FixtureRequest) -> list[str]:
    """Nothing: what fails before pytest-docker's own clean-up is ready would stay. The fixture `stack` starts it."""
    if not running():
        request.getfixturevalue("images")
    return []


@pytest.fixture(scope="session")
def docker_cleanup() -> list[str]:
    return [] if running() else ["down -v -t 5"]


@pytest.fixture(scope="session")
def started(docker_services: Services, docker_compose_project_name: str, port: int, tell: Callable[[str], None]) -> Iterator[Stack]:
    """The stack as `docker compose up -d` starts it. STACK=project:port takes one that runs and leaves it, to work on a test."""
    made = Stack(docker_compose_project_name, port)
    if running():
        yield made
        return
    tell(f"starting the stack as {made.project}, its UI at {made.url}")
    began = time.monotonic()
    try:
        made.up()
        assert docker_services.port_for("airflow-apiserver", 8080) == port
        made.rest.ready(DAGS, timeout=120)
    except BaseException:
        tell(f"it did not start: {made.save_logs('start')}")
        raise
    tell(f"the stack is healthy and knows its DAGs after {time.monotonic() - began:.0f} s")
    yield made
    tell("removing the stack")


@pytest.fixture
def stack(started: Stack) -> Iterator[Stack]:
    """The running stack. After each test the DAGs' own Variables are put back, and no container has ended by itself or lacked memory."""
    variables = {dag_id: started.rest.variable(dag_id) for dag_id in DAGS}
    yield started
    ended = [container["Name"] for container in started.containers() if container["RestartCount"] or container["State"]["OOMKilled"]]
    assert ended == [], (started.ends(), started.save_logs("ended"))
    for dag_id, value in variables.items():
        if value is not None and started.rest.variable(dag_id) != value:
            started.rest.set_variable(dag_id, value)


@pytest.fixture(scope="session")
def network() -> str:
    """An address of this machine that is not 127.0.0.1: the engine's own bridge."""
    found = json.loads(docker("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0].get("Gateway", "")
    if not found:
        pytest.skip("the engine's bridge has no address")
    return str(found)
