"""Make what the stack needs in Airflow: its tables, the admin, the pool; for the demo a bucket, connections and Variables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from airflow.models import Connection, Pool, Variable
from airflow.utils.session import create_session
from sqlalchemy import select

SECRETS = Path("/secrets")
DEMO = Path("/secrets-demo")
STORE, STORE_USER, BUCKET = "http://minio:9000", "fs-sync", "replica"
SOURCE = {"conn": "sftp_source_conn", "path": "~/outbox"}
TARGETS = {
    "fs_sync_rsync": {"conn": "sftp_target_conn", "path": "~/inbox/rsync"},
    "fs_sync_rclone": {"conn": "sftp_target_conn", "path": "~/inbox/rclone"},
    "fs_sync_rclone_minio": {"conn": "s3_target_conn", "bucket": BUCKET, "path": "outbox"},
    "fs_sync_rclone_worker": {"conn": "sftp_target_conn", "path": "~/inbox/worker"},
    "fs_sync_rclone_from_minio": {"conn": "sftp_target_conn", "path": "~/inbox/from_minio"},
}
# The bucket as a whole, which is there before anything has been copied into it.
SOURCES = {"fs_sync_rclone_from_minio": {"conn": "s3_source_conn", "bucket": BUCKET}}


def airflow() -> None:
    """Bring the database to this version, and add the admin and the pool where they are not there yet."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
    from airflow.utils.db import upgradedb

    upgradedb()
    with get_application_builder() as builder:
        users = builder.sm
        if users.find_user("admin") is None:
            password = (SECRETS / "admin_password").read_text(encoding="ascii")
            if not users.add_user("admin", "fs-sync", "Admin", "admin@localhost", users.find_role("Admin"), password):
                raise SystemExit("fs-sync: Airflow refused to add the user admin; the lines above say why")
            print("fs-sync: the user admin was added; `make password` prints the password")
    with create_session() as session:
        for pool, slots in (("fs_sync_small", 8), ("fs_sync_large", 2)):
            if session.scalar(select(Pool).where(Pool.pool == pool)) is None:
                session.add(Pool(pool=pool, slots=slots, description="Transfers of much data", include_deferred=True))
                print(f"fs-sync: the pool {pool} was added")


def demo() -> None:
    """Make the demo's bucket, and add its connections and Variables where they are not there yet: an edited one stays as it is."""
    password = (DEMO / "minio_password").read_text(encoding="ascii")
    remote = {"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": STORE, "ACCESS_KEY_ID": STORE_USER, "SECRET_ACCESS_KEY": password}
    environment = {f"RCLONE_CONFIG_STORE_{key}": value for key, value in remote.items()}
    subprocess.run(["rclone", "mkdir", f"store:{BUCKET}"], env={**os.environ, "RCLONE_CONFIG": "", **environment}, check=True)

    connections: dict[str, dict[str, Any]] = {f"sftp_{host}_conn": _ssh(host) for host in ("source", "target")}
    extra = {"endpoint_url": STORE, "region_name": "us-east-1"}
    for conn_id in ("s3_source_conn", "s3_target_conn"):
        connections[conn_id] = {"conn_type": "generic", "login": STORE_USER, "password": password, "extra": json.dumps(extra)}
    routes = {dag_id: {"name": "demo", "source": SOURCES.get(dag_id, SOURCE), "target": target} for dag_id, target in TARGETS.items()}
    variables = {dag_id: {"routes": [route]} for dag_id, route in routes.items()}
    with create_session() as session:
        for conn_id, fields in connections.items():
            if session.scalar(select(Connection).where(Connection.conn_id == conn_id)) is None:
                session.add(Connection(conn_id=conn_id, **fields))
                print(f"fs-sync: the connection {conn_id} was added")
        for key, value in variables.items():
            if session.scalar(select(Variable).where(Variable.key == key)) is None:
                session.add(Variable(key=key, val=json.dumps(value, indent=2)))  # type: ignore[no-untyped-call]
                print(f"fs-sync: the Variable {key} was added")


def _ssh(host: str) -> dict[str, Any]:
    # A host key file ends with a comment, which is no part of the key.
    host_key = " ".join((DEMO / f"{host}_host_key.pub").read_text(encoding="ascii").split()[:2])
    extra = {"private_key": (DEMO / f"{host}_key").read_text(encoding="ascii"), "host_key": host_key}
    return {"conn_type": "ssh", "host": host, "port": 2222, "login": "files", "extra": json.dumps(extra)}


if __name__ == "__main__":
    {"airflow": airflow, "demo": demo}[sys.argv[1]]()
