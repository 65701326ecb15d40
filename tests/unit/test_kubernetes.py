"""The values for the Helm chart: they parse, merge as helm does, hold no secret, and name what is there."""

from __future__ import annotations

import copy
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fs_sync.dag import LARGE_POOL, LARGE_QUEUE, SMALL_POOL

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "docker" / "kubernetes"
COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))
AIRFLOW = COMPOSE["x-airflow"]["environment"]

# The keys that were looked up in the chart's values.yaml; another one must be looked up there before it stands here.
PROBE = {"timeoutSeconds", "periodSeconds", "failureThreshold"}
PARTS = {"resources", "replicas"}
CELERY = {"resources", "terminationGracePeriodSeconds", "livenessProbe", "persistence", "keda", "queue", "args"}
KNOWN = {
    "": {
        *("airflowVersion", "defaultAirflowRepository", "defaultAirflowTag", "executor", "env", "secret", "data", "config"),
        *("fernetKeySecretName", "apiSecretKeySecretName", "jwtSecretName", "postgresql", "redis", "statsd", "securityContexts"),
        *("migrateDatabaseJob", "createUserJob", "apiServer", "scheduler", "dagProcessor", "triggerer", "workers", "cleanup"),
        *("dags", "ingress", "imagePullSecrets"),
    },
    "env.*": {"name", "value"},
    "secret.*": {"envName", "secretName", "secretKey"},
    "data": {"metadataSecretName", "brokerUrlSecretName"},
    "postgresql": {"enabled"},
    "redis": {"enabled"},
    "statsd": {"enabled"},
    "securityContexts": {"pod", "containers"},
    "migrateDatabaseJob": {"args"},
    "createUserJob": {"enabled"},
    "apiServer": PARTS | {"startupProbe"},
    "scheduler": PARTS | {"livenessProbe", "startupProbe"},
    "dagProcessor": PARTS | {"livenessProbe"},
    "triggerer": PARTS | {"livenessProbe", "persistence"},
    "triggerer.persistence": {"enabled"},
    "cleanup": {"enabled", "resources"},
    "workers": {"celery", "kubernetes"},
    "workers.kubernetes": {"resources", "terminationGracePeriodSeconds"},
    "workers.celery": CELERY | {"enableDefault", "sets"},
    "workers.celery.sets.*": CELERY | {"name"},
    **{
        f"{part}.{probe}": PROBE
        for part in ("apiServer", "scheduler", "dagProcessor", "triggerer")
        for probe in ("livenessProbe", "startupProbe")
    },
    **{f"workers.celery{part}.livenessProbe": PROBE for part in ("", ".sets.*")},
    **{f"workers.celery{part}.persistence": {"enabled"} for part in ("", ".sets.*")},
    **{
        f"workers.celery{part}.keda": {"enabled", "pollingInterval", "cooldownPeriod", "minReplicaCount", "maxReplicaCount", "query"}
        for part in ("", ".sets.*")
    },
}
# What Kubernetes itself or Airflow reads, at any depth below.
NOT_THE_CHARTS = ("config", "securityContexts.pod", "securityContexts.containers")


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((CHART / name).read_text(encoding="utf-8"))


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Maps are merged, all else is replaced, and null takes a key away."""
    merged = copy.deepcopy(below)
    for key, value in above.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


BASE = load("values.yaml")
BOTH = merge(BASE, load("values-celery.yaml"))
EACH = pytest.mark.parametrize("values", [BASE, BOTH], ids=["kubernetes", "celery"])


def maps(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every map with its path, where an item of a list is `*`."""
    if isinstance(node, dict):
        yield path, node
        for key, value in node.items():
            yield from maps(value, f"{path}.{key}".lstrip("."))
    elif isinstance(node, list):
        for value in node:
            yield from maps(value, f"{path}.*")


def texts(node: Any) -> Iterator[str]:
    for _, found in maps(node):
        for value in found.values():
            yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str))


@EACH
def test_every_key_is_one_that_was_looked_up(values: dict[str, Any]) -> None:
    for path, found in maps(values):
        if path.startswith(NOT_THE_CHARTS) or ".resources" in path or path.startswith("resources"):
            continue
        assert set(found) <= KNOWN[path], path


def test_what_is_commented_out_parses_too() -> None:
    lines = (CHART / "values.yaml").read_text(encoding="utf-8").splitlines()
    for first, key in (("# dags:", "gitSync"), ("# ingress:", "apiServer"), ("# imagePullSecrets:", None)):
        start = lines.index(first)
        block = []
        for line in lines[start:]:
            if not line.startswith("# "):
                break
            block.append(line.removeprefix("# "))
        parsed = yaml.safe_load("\n".join(block))
        ((name, value),) = parsed.items()
        assert name in KNOWN[""]
        assert value if key is None else value[key]["enabled"] is True
    assert (REPOSITORY / "dags").is_dir()
    assert "#     subPath: dags" in lines


def test_the_executors() -> None:
    assert BASE["executor"] == "KubernetesExecutor"
    assert BOTH["executor"] == AIRFLOW["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
    assert BASE["redis"] == BOTH["redis"] == {"enabled": False}
    assert "brokerUrlSecretName" not in BASE["data"]
    assert set(BASE["data"]) < set(BOTH["data"])


@EACH
def test_no_secret_is_written_down(values: dict[str, Any]) -> None:
    for path, found in maps(values):
        for key, value in found.items():
            if re.search(r"(?i)password|passwd|token|fernet|secret|key$|connection", key) and isinstance(value, str):
                assert key.endswith(("SecretName", "secretName", "secretKey")), f"{path}.{key}"
                assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", value)
    for text in texts(values):
        assert not re.search(r"://[^/\s]*:[^/\s]*@|BEGIN [A-Z ]*KEY|AKIA|[A-Za-z0-9+/_-]{32,}=*$", text), text


@EACH
def test_image_and_versions_are_those_of_the_stack(values: dict[str, Any]) -> None:
    image = f"{values['defaultAirflowRepository']}:{values['defaultAirflowTag']}"
    assert image.rpartition("/")[2] == COMPOSE["x-airflow"]["image"].replace("${COMPOSE_PROJECT_NAME}", "fs-sync")
    settings = dict(
        line.split("=", 1) for line in (REPOSITORY / ".env").read_text(encoding="utf-8").splitlines() if re.match(r"[A-Z]", line)
    )
    assert values["airflowVersion"] == settings["AIRFLOW_VERSION"]


@EACH
def test_environment_queue_and_pool_are_those_of_the_code_and_the_stack(values: dict[str, Any]) -> None:
    environment = {item["name"]: item["value"] for item in values["env"]}
    assert environment == {name: AIRFLOW[name] for name in (SMALL_POOL, LARGE_POOL, LARGE_QUEUE)}
    made = re.findall(r"airflow pools set (\w+) (\d+) \"[^\"]*\" --include-deferred", values["migrateDatabaseJob"]["args"][-1])
    assert made == [(environment[SMALL_POOL], "8"), (environment[LARGE_POOL], "2")]


def test_workers_take_the_queues_of_the_stack() -> None:
    celery = BOTH["workers"]["celery"]
    (large,) = celery["sets"]
    command = COMPOSE["services"]["worker-large"]["command"]
    assert celery["enableDefault"] is True
    assert celery["queue"] == "default"
    assert COMPOSE["services"]["worker"]["command"] == ["celery", "worker", "--queues", celery["queue"]]
    assert large["queue"] == AIRFLOW[LARGE_QUEUE]
    assert large["args"][-1] == f"exec airflow {' '.join(command)}"
    assert f"queue = '{large['queue']}'" in large["keda"]["query"]
    assert str(BOTH["config"]["celery"]["worker_concurrency"]) == AIRFLOW["AIRFLOW__CELERY__WORKER_CONCURRENCY"]
    assert celery["keda"]["cooldownPeriod"] > celery["terminationGracePeriodSeconds"]


@EACH
def test_airflow_knows_every_option(values: dict[str, Any]) -> None:
    found = importlib.util.find_spec("airflow")
    assert found is not None
    assert found.origin is not None
    known = yaml.safe_load((Path(found.origin).parent / "config_templates" / "config.yml").read_text(encoding="utf-8"))
    for section, options in values["config"].items():
        if section != "celery":  # the provider's
            assert set(options) <= set(known[section]["options"]), section
    assert values["config"]["logging"]["remote_log_conn_id"] == "s3_logs_conn"
    assert [item["envName"] for item in values["secret"]] == ["AIRFLOW_CONN_S3_LOGS_CONN"]


@EACH
def test_nobody_is_root_and_every_part_has_a_limit_of_memory(values: dict[str, Any]) -> None:
    assert values["securityContexts"]["pod"]["runAsNonRoot"] is True
    assert values["securityContexts"]["pod"]["runAsUser"] == 50000
    assert values["securityContexts"]["containers"]["allowPrivilegeEscalation"] is False
    sized = {path for path, found in maps(values) if "resources" in found and {"requests", "limits"} == set(found["resources"])}
    assert {"apiServer", "scheduler", "dagProcessor", "triggerer", "workers.kubernetes"} <= sized
    if values is BOTH:
        assert {"workers.celery", "workers.celery.sets.*"} <= sized


@EACH
def test_nobody_has_the_password_admin(values: dict[str, Any]) -> None:
    assert values["createUserJob"] == {"enabled": False}


def test_a_wrong_key_is_found() -> None:
    wrong = merge(BOTH, {"workers": {"celery": {"keda": {"maxReplicas": 3}}}})
    with pytest.raises(AssertionError, match="keda"):
        test_every_key_is_one_that_was_looked_up(wrong)
