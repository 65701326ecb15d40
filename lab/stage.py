"""The stage of the demo: a place, and an Airflow that knows its connections and one route for each DAG."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.airflow import REPOSITORY, Airflow, airflow
from lab.place import BUCKET, SOURCE, SOURCE_STORE, STORE, TARGET, Connection, Place, connections, laboratory

RSYNC, RCLONE, MINIO = "fs_sync_rsync", "fs_sync_rclone", "fs_sync_rclone_minio"
DAGS = (RSYNC, RCLONE, MINIO)
WORKER, FROM_MINIO = "fs_sync_rclone_worker", "fs_sync_rclone_from_minio"
# What the store has got from the source, the last one brings back.
ALL = (*DAGS, WORKER, FROM_MINIO)


@dataclass(frozen=True)
class Stage:
    """A place and an Airflow over it."""

    place: Place
    airflow: Airflow

    @property
    def source(self) -> Path:
        """Return the tree that is replicated."""
        return source(self.place)

    def origin(self, dag_id: str) -> Path:
        """Return the directory from which a DAG copies; for the store it is the bucket's."""
        return self.target(MINIO) if dag_id == FROM_MINIO else self.source

    def target(self, dag_id: str) -> Path:
        """Return the directory where a DAG's copy arrives."""
        return target(self.place, dag_id)


def source(place: Place) -> Path:
    """Return the tree that is replicated."""
    return place.source.root / "tree"


def target(place: Place, dag_id: str) -> Path:
    """Return the directory where a DAG's copy arrives; for the store it is the bucket's."""
    return place.s3.root / BUCKET if dag_id == MINIO else place.target.root / dag_id


def variables(place: Place, **options: Any) -> dict[str, str]:
    """Return each DAG's Variable: one route to a target of its own, with the given options."""
    found = {}
    for dag_id in ALL:
        begin = {"conn": SOURCE_STORE, "bucket": BUCKET} if dag_id == FROM_MINIO else {"conn": SOURCE, "path": str(source(place))}
        end = {"conn": STORE, "bucket": BUCKET} if dag_id == MINIO else {"conn": TARGET, "path": str(target(place, dag_id))}
        route = {"name": "tree", "source": begin, "target": end, **options}
        found[dag_id] = json.dumps({"routes": [route]})
    return found


@contextlib.contextmanager
def stage(
    directory: Path,
    more_connections: Mapping[str, Connection] | None = None,
    more_variables: Mapping[str, str] | None = None,
    schedule: bool = False,
    port: int | None = None,
    environment: Mapping[str, str] | None = None,
    dags: Path = REPOSITORY / "dags",
) -> Iterator[Stage]:
    """Run the servers and Airflow until the end of the block; the directories of the source and the targets exist, empty."""
    with laboratory(directory / "lab") as place:
        source(place).mkdir(exist_ok=True)
        for dag_id in ALL:
            target(place, dag_id).mkdir(exist_ok=True)
        all_connections = {**connections(place), **(more_connections or {})}
        all_variables = {**variables(place), **(more_variables or {})}
        settings: dict[str, Any] = {"dags": dags, "schedule": schedule, "port": port, "environment": environment}
        with airflow(directory / "run", all_connections, all_variables, **settings) as running:
            running.rest().ready(ALL)
            yield Stage(place, running)
