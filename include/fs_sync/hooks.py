"""Airflow Connections as plain values, and the provider's SSH hook made from them."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.ssh.hooks.ssh import SSHHook
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException

from fs_sync import credentials, keys
from fs_sync.credentials import PlainConnection as PlainConnection
from fs_sync.errors import ConfigError

if TYPE_CHECKING:
    import asyncssh

# What stands for the worker itself, as the host of a job or as an end with files of its own.
HERE = PlainConnection(conn_id=credentials.LOCAL, conn_type=credentials.LOCAL)
CONNECT_TIMEOUT = 15
KEEPALIVE = 30


class HostHook(SSHHook):
    """The provider's hook over a Connection that was read already, put into the one form that the provider understands."""

    def __init__(self, conn: PlainConnection) -> None:
        self.plain = conn
        # Only what passes by itself is tried again, and by us: three wrong logins in a row lock an account on some hosts.
        super().__init__(ssh_conn_id=conn.conn_id, conn_retry_attempts=1)
        self.conn_timeout = self.conn_timeout or CONNECT_TIMEOUT

    def get_connection(self, conn_id: str) -> Connection:  # type: ignore[override]
        """The Connection, its key without passphrase or odd line ends and its first host key alone."""
        conn = self.plain
        extra = dict(conn.extra)
        if extra.get("private_key") or (extra.get("key_file") and extra.get("private_key_passphrase")):
            extra["private_key"] = credentials.private_key_of(conn)
            extra.pop("key_file", None)
            extra.pop("private_key_passphrase", None)
        known = credentials.host_keys_of(conn)
        extra.pop("host_key", None)
        if known:
            extra["host_key"] = known[0]
        return Connection(
            conn_id=conn_id,
            conn_type="ssh",
            host=conn.host.strip("[] "),
            port=conn.port,
            login=conn.login or None,
            password=conn.password or None,
            extra=json.dumps(extra),
        )


def connection(conn_id: str, *, worker: bool = False) -> PlainConnection:
    """Given a Connection's id, return it as plain values; for a `worker` one id stands for itself. Raise ConfigError if there is none."""
    if worker and conn_id == credentials.LOCAL:
        return HERE
    try:
        found = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise missing(conn_id) from None
    return plain(found, found.extra_dejson)


async def connection_async(conn_id: str) -> PlainConnection:
    """The same in an event loop, where the other would block it."""
    try:
        found = await get_async_connection(conn_id)
    except AirflowNotFoundException:
        raise missing(conn_id) from None
    return plain(found, await get_async_extra_dejson(found))


def missing(conn_id: str) -> ConfigError:
    """The error for a Connection that is not there."""
    return ConfigError(
        f"there is no connection {conn_id!r}; make it under Admin > Connections, or with `airflow connections add {shlex.quote(conn_id)} "
        '--conn-type ssh --conn-host HOST --conn-login LOGIN --conn-extra \'{"host_key": "…", "private_key": "…"}\'`, '
        "or name another one in the route"
    )


def plain(conn: Connection, extra: object) -> PlainConnection:
    """Given an Airflow Connection and its parsed extra, return plain values. Raise ConfigError if the extra is no JSON object."""
    if conn.extra and not (isinstance(extra, dict) and (extra or conn.extra.strip() in ("{}", ""))):
        raise ConfigError(f'connection {conn.conn_id!r}: its extra is not a JSON object; the form is {{"host_key": "…"}}')
    return PlainConnection(
        conn_id=conn.conn_id,
        conn_type=conn.conn_type or "",
        host=conn.host or "",
        port=conn.port,
        login=conn.login or "",
        password=conn.password or "",
        extra=extra if isinstance(extra, dict) else {},
    )


def ssh_hook(conn: PlainConnection) -> HostHook:
    """Given an ssh Connection, return the provider's hook for it. Raise ConfigError if something in it can't be."""
    if conn.conn_type not in credentials.SSH_TYPES:
        kinds = " or ".join(credentials.SSH_TYPES)
        raise ConfigError(f"connection {conn.conn_id!r} is of type {conn.conn_type!r}; a host is logged in to with one of type {kinds}")
    credentials.refuse_unchecked(conn)
    credentials.address_of(conn)
    try:
        return HostHook(conn)
    except ConfigError:
        raise
    except (AirflowException, ValueError, TypeError, OSError) as error:
        raise ConfigError(f"connection {conn.conn_id!r}: {error}") from None


def deferrable(conn: PlainConnection) -> bool:
    """
    Whether the triggerer can log in as the worker does.

    Not where a proxy command of the worker's ~/.ssh/config is in between, or where algorithms are chosen by paramiko's names.
    """
    if conn.conn_type == credentials.LOCAL:
        return False
    hook = ssh_hook(conn)
    return not (hook.host_proxy_cmd or hook.disabled_algorithms or hook.ciphers)


def async_arguments(conn: PlainConnection) -> dict[str, Any]:
    """
    Given an ssh Connection, return the arguments of `asyncssh.connect` that log in as the provider's hook does.

    The provider's own async hook reads the Connection anew and knows fewer of its options. Raise ConfigError without a `host_key`.
    """
    import asyncssh

    hook = ssh_hook(conn)
    known = credentials.host_keys_of(conn)
    if not known:
        raise ConfigError(f'connection {conn.conn_id!r} has no `host_key`; add {{"host_key": "…"}} to its extra')
    arguments: dict[str, Any] = {
        "host": hook.remote_host,
        "port": hook.port,
        "username": hook.username,
        "known_hosts": ([asyncssh.import_public_key(key) for key in known], [], []),
        "server_host_key_algs": _algorithms(known),
        "config": None,  # else ~/.ssh/config would change what the Connection says
        "connect_timeout": hook.conn_timeout,
        "login_timeout": hook.auth_timeout or 30,
        "keepalive_interval": hook.keepalive_interval or KEEPALIVE,
    }
    if hook.password:
        arguments["password"] = hook.password.strip()
    if hook.pkey:
        arguments["client_keys"] = [asyncssh.import_private_key(str(credentials.private_key_of(conn)))]
    elif hook.key_file:
        arguments["client_keys"] = [hook.key_file]
    elif not hook.look_for_keys:
        arguments["client_keys"] = None
    if not hook.compress:
        arguments["compression_algs"] = ["none"]
    return arguments


async def connect_async(conn: PlainConnection) -> asyncssh.SSHClientConnection:
    """An asyncssh connection of the caller's own, for the triggerer; asyncssh's errors are the caller's too."""
    import asyncssh

    return await asyncssh.connect(**async_arguments(conn))


def _algorithms(known: tuple[str, ...]) -> list[str]:
    """The host key algorithms to ask for: those of the known keys, so that a server with several keys shows one of them."""
    wanted: list[str] = []
    for key in known:
        kind = keys.key_type(key)
        wanted += ["rsa-sha2-512", "rsa-sha2-256"] if kind == "ssh-rsa" else [kind]
    return list(dict.fromkeys(wanted))
