"""The place of a demo or a test: a source, a target and a store, and the Airflow connections to them."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.servers import S3, AnyKeys, Sshd, s3, sshd

BUCKET = "replica"
SOURCE = "sftp_source_conn"
TARGET = "sftp_target_conn"
STORE = "s3_target_conn"
SOURCE_STORE = "s3_source_conn"

Connection = dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Two hosts and a store, each with its own directory."""

    source: Sshd
    target: Sshd
    s3: S3
    directory: Path


@contextlib.contextmanager
def laboratory(directory: Path) -> Iterator[Place]:
    """Run a source, a target and a store until the end of the block."""
    directory.mkdir(parents=True, exist_ok=True)
    with sshd(directory / "source") as source, sshd(directory / "target") as target, s3(directory / "s3") as store:
        store.bucket(BUCKET)
        yield Place(source, target, store, directory)


def connections(place: Place) -> dict[str, Connection]:
    """Return the Airflow connections of a place, by id."""
    stores = {STORE: s3_connection(place.s3), SOURCE_STORE: s3_connection(place.s3)}
    return {SOURCE: ssh_connection(place.source), TARGET: ssh_connection(place.target), **stores}


def ssh_connection(server: Sshd, password: str | None = None, **extra: Any) -> Connection:
    """Return the connection to a host: by its client's key, or by password."""
    more: dict[str, Any] = {"host_key": server.host_key, "conn_timeout": 15}
    if password is None:
        more["private_key"] = server.private_key
    else:
        # Keys of the person's own agent and home have no business here.
        more["look_for_keys"] = "false"
    return {
        "conn_type": "ssh",
        "host": server.host,
        "port": server.port,
        "login": server.user,
        "password": password,
        "extra": {key: value for key, value in {**more, **extra}.items() if value is not None},
    }


def s3_connection(store: S3 | AnyKeys, **extra: Any) -> Connection:
    """Return the connection to a store, of the type that needs no provider."""
    return {
        "conn_type": "generic",
        "login": store.access_key,
        "password": store.secret_key,
        "extra": {"endpoint_url": store.endpoint, "region_name": "us-east-1", **extra},
    }


@contextlib.contextmanager
def small_disk(directory: Path, size: str = "4m") -> Iterator[Path]:
    """Mount a file system of a given size until the end of the block. Root only."""
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "fs-sync-lab", directory], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


@contextlib.contextmanager
def read_only(directory: Path, mount: Path) -> Iterator[Path]:
    """Show a directory at another place, where nobody can write to it, until the end of the block. Root only."""
    mount.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "--bind", directory, mount], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", mount], check=True)
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", mount], check=True)
