"""No secret is to be found anywhere, while transfers run and after: command lines, job directories, logs, database."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.place import BUCKET, STORE
from lab.stage import MINIO, RCLONE, RSYNC, variables
from tests.e2e.conftest import MEBI, TRIGGERER, Lab, Run, frozen
from tests.e2e.secrets_search import command_lines, database, files, hits

BIG = 20 * MEBI
SLOW = "2M"


def search(lab: Lab, runs: list[Run], secrets: dict[str, str]) -> list[str]:
    """Look everywhere; the places are no empty ones."""
    airflow, home = lab.stage.airflow, lab.stage.place.source.home
    jobs = [path for run in runs for path in run.jobs()]
    assert all((path / "script").is_file() for path in jobs)
    logs = [*files(airflow.logs), *((str(path), path.read_bytes()) for path in airflow.directory.glob("*.log"))]
    assert any(runs[0].dag_id in where for where, _ in logs)
    dumped = list(database(airflow.database))
    assert any('INSERT INTO "rendered_task_instance_fields"' in where for where, _ in dumped)
    return hits([*command_lines(), *files(home / ".fs-sync"), *logs, *dumped], secrets)


def test_the_search_finds_every_form(tmp_path: Path) -> None:
    """Else the silence of the other test would mean nothing."""
    secret = 'it\'s a "secret" p4ss+/word'
    rclone = subprocess.run(
        [Path(sys.executable).parent / "rclone", "obscure", "-"], input=secret.encode(), capture_output=True, check=True
    )
    raw = secret.encode()
    texts = [raw, shlex.quote(secret).encode(), json.dumps(secret).encode(), rclone.stdout]
    texts += [base64.b64encode(b"x" * shift + raw + b"yz") for shift in range(4)]
    for text in texts:
        (tmp_path / "log").write_bytes(b"before " + text + b" after")
        assert hits(files(tmp_path), {"password": secret}), text
    assert not hits([("none", b"nothing " * 1000)], {"password": secret})


def test_no_secret_is_anywhere(lab: Lab) -> None:
    """A password and a key of the target, by both tools, and the key of the store: four transfers at once."""
    place = lab.stage.place
    secrets = {
        "the target's key": place.target.private_key,
        "the source's key": place.source.private_key,
        "the store's secret": place.s3.secret_key,
    }
    password = lab.by_password
    if password is not None and lab.account is not None:
        secrets["the target's password"] = lab.account.password
    elif os.geteuid() == 0:
        pytest.fail("root, but no account with a password")
    key = lab.route("secret-key", BIG, bandwidth=SLOW)
    by_rsync = lab.route("secret-rsync", BIG, bandwidth=SLOW, server=password)
    by_rclone = lab.route("secret-rclone", BIG, bandwidth=SLOW, server=password)
    store = lab.route("secret-store", BIG, bandwidth=SLOW)
    store["target"] = {"conn": STORE, "bucket": BUCKET, "path": "secret-store"}
    runs = []
    with restored(lab, RSYNC, RCLONE, MINIO):
        for dag_id, route in ((TRIGGERER, key), (RSYNC, by_rsync), (RCLONE, by_rclone), (MINIO, store)):
            lab.configure(dag_id, route)
            runs.append(lab.trigger(dag_id))
        with frozen(*runs):
            assert search(lab, runs, secrets) == []
        for run in runs:
            run.good()
    assert search(lab, runs, secrets) == []


@contextlib.contextmanager
def restored(lab: Lab, *dag_ids: str) -> Iterator[None]:
    """Give the DAGs of the project their own routes back at the end of the block."""
    try:
        yield
    finally:
        for dag_id in dag_ids:
            lab.rest.set_variable(dag_id, variables(lab.stage.place)[dag_id])
