"""What docker-compose.yml promises without an engine: versions that agree, nothing secret, limits that fit, ports for this machine alone."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
TEXT = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ENV = dict(
    line.split("=", 1) for line in (REPOSITORY / ".env").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")
)
# What the demo alone switches on.
ON_PURPOSE = {"COMPOSE_PROFILES": "", "DAGS_ARE_PAUSED": "true"}
ONCE = {"secrets", "airflow-init", "demo-init", "service-check", "service-init"}
# In a profile that nothing switches on.
ASKED_FOR = {"flower"}


def test_without_env_the_same_versions_and_ports_are_taken() -> None:
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", TEXT))
    for name, value in ENV.items():
        assert defaults.get(name, "") == ON_PURPOSE.get(name, value), name


def test_every_version_is_pinned_to_what_the_locks_say() -> None:
    images = {service["image"] for service in SERVICES.values()}
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert {f"${{COMPOSE_PROJECT_NAME}}-airflow:{version}", f"${{COMPOSE_PROJECT_NAME}}-host:{version}"} <= images
    assert not [image for image in images if image.endswith(":latest") or ":" not in image]
    assert not [image for image in images if image.startswith("minio/")], "Docker Hub's was removed"
    for lock in ("requirements.lock", "docker/airflow/requirements.lock"):
        assert f"\napache-airflow=={ENV['AIRFLOW_VERSION']} " in (REPOSITORY / lock).read_text(encoding="utf-8")
    for dockerfile in ("airflow", "host"):
        assert f"ARG AIRFLOW_VERSION={ENV['AIRFLOW_VERSION']}\n" in (REPOSITORY / "docker" / dockerfile / "Dockerfile").read_text("utf-8")


def test_the_two_locks_agree_on_every_version() -> None:
    def versions(lock: str) -> dict[str, str]:
        return dict(re.findall(r"^([\w.-]+)==(\S+)", (REPOSITORY / lock).read_text(encoding="utf-8"), re.MULTILINE))

    image = versions("docker/airflow/requirements.lock")
    for lock in ("requirements.lock", "requirements-dev.lock"):
        assert {name: one for name, one in versions(lock).items() if image.get(name, one) != one} == {}


def test_two_services_are_root_and_every_port_is_for_this_machine() -> None:
    assert {name for name, service in SERVICES.items() if str(service.get("user", "0")).startswith("0")} == {"secrets", "service-check"}
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_limits_of_all_that_stays_fit_four_gigabytes() -> None:
    limits = {
        name: int(service["mem_limit"].removesuffix("m")) * service.get("deploy", {}).get("replicas", 1)
        for name, service in SERVICES.items()
        if name not in ONCE | ASKED_FOR
    }
    assert sum(limits.values()) <= 4096, limits


def test_what_stays_starts_again_and_tells_its_health() -> None:
    for name, service in SERVICES.items():
        assert service["restart"] == ("no" if name in ONCE else "unless-stopped"), name
        assert ("healthcheck" in service) is (name not in ONCE), name


def test_no_environment_holds_a_secret() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|KEY|CONN\b|CONN_CMD|BROKER_URL|BACKEND", key):
                assert re.fullmatch(r"(cat )?/secrets/\w+", str(value)), f"{name}: {key}"
