"""Logging in to a host as its Connection says; every way that can fail has its own error, and none of them names a secret."""

from __future__ import annotations

import logging
import random
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import paramiko

from fs_sync import credentials, keys
from fs_sync.errors import AuthenticationError, ConfigError, ConnectionFailed, FsSyncError, HostKeyError
from fs_sync.hooks import ssh_hook

if TYPE_CHECKING:
    from fs_sync.credentials import PlainConnection
    from fs_sync.hooks import HostHook

T = TypeVar("T")
AUTH_TIMEOUT = 30
DROPPED_FOR = 30.0  # seconds that a server which drops new connections is tried again
LOGGER = "fs_sync.ssh"


class Dropped(ConnectionFailed):
    """The server took the connection and closed it before a login, as sshd does beyond its MaxStartups."""


class Pinned(paramiko.MissingHostKeyPolicy):
    """Lets a server's key pass only if it is one of those in the Connection; the worker's own known_hosts does not count."""

    def __init__(self, hook: HostHook, known: tuple[str, ...]) -> None:
        self.hook = hook
        self.known = known

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Raise HostKeyError if the key is none of those."""
        offered = _text(key)
        if offered in self.known:
            return
        expected = " or ".join(f"{keys.key_type(one)} {keys.fingerprint(one)}" for one in self.known)
        raise HostKeyError(
            f"{_where(self.hook)}: the server is not the one of the connection's `host_key`: "
            f"expected {expected}, offered {keys.key_type(offered)} {keys.fingerprint(offered)}. "
            f"Another server may be in its place; log in only if its own `{keys.own_fingerprint(offered)}` shows the offered one, "
            f"and then write into the extra: {keys.ready_to_paste(offered)}"
        )


def login(conn: PlainConnection, patience: float = DROPPED_FOR) -> paramiko.SSHClient:
    """
    Given an ssh Connection, return a paramiko client that is logged in, its host key checked against the Connection's alone.

    A server that drops connections because many come at once is tried again for `patience` seconds.
    """
    hook = ssh_hook(conn)
    known = credentials.host_keys_of(conn)
    if not known:
        key = offered(conn, patience)
        raise HostKeyError(
            f"{_where(hook)}: the connection has no `host_key`, so the server can't be told from another one. It offers\n"
            f"{key} {keys.fingerprint(key)}\n"
            f"Compare that with the server's own (`{keys.own_fingerprint(key)}` there), then add to the extra:\n"
            f"{keys.ready_to_paste(key)}"
        )
    return _patiently(lambda: _client(hook, known), hook, patience)


def offered(conn: PlainConnection, patience: float = DROPPED_FOR) -> str:
    """Given an ssh Connection, return the host key that its server offers, as "type base64"; nobody logs in for that."""
    hook = ssh_hook(conn)
    return _patiently(lambda: _offered(hook), hook, patience)


def _patiently(attempt: Callable[[], T], hook: HostHook, patience: float) -> T:
    deadline = time.monotonic() + patience
    pause = 0.2
    while True:
        try:
            return attempt()
        except (paramiko.SSHException, OSError, EOFError, ValueError) as error:
            meant = _meaning(error, hook)
            if not isinstance(meant, Dropped) or time.monotonic() + pause > deadline:
                raise meant from None
        time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # so that many tasks don't come back together
        pause = min(pause * 2, 5.0)


def _client(hook: HostHook, known: tuple[str, ...]) -> paramiko.SSHClient:
    """A client by the provider's options; made here since the hook's own `get_conn` trusts the worker's known_hosts before them."""
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(Pinned(hook, known))
    options: dict[str, Any] = {
        "hostname": hook.remote_host,
        "port": hook.port,
        "username": hook.username,
        "timeout": hook.conn_timeout,
        "banner_timeout": hook.banner_timeout,
        "auth_timeout": hook.auth_timeout or AUTH_TIMEOUT,
        "channel_timeout": AUTH_TIMEOUT,
        "compress": hook.compress,
        "look_for_keys": hook.look_for_keys,
        "disabled_algorithms": hook.disabled_algorithms,
        "sock": _proxy(hook),
        "transport_factory": lambda sock, **given: _transport(hook, known, sock, **given),
    }
    if hook.password:
        options["password"] = hook.password.strip()
    if hook.pkey:
        options["pkey"] = hook.pkey
    if hook.key_file:
        options["key_filename"] = hook.key_file
    try:
        client.connect(**options)
    except BaseException:
        client.close()
        raise
    transport = client.get_transport()
    if transport is not None and hook.keepalive_interval:
        transport.set_keepalive(hook.keepalive_interval)
    return client


def _offered(hook: HostHook) -> str:
    """The host key that the server offers, had without logging in; Ed25519 where the server has one."""
    sock = _proxy(hook) or socket.create_connection((hook.remote_host, hook.port or 22), timeout=hook.conn_timeout)
    transport = _transport(hook, ("ssh-ed25519",), sock, disabled_algorithms=hook.disabled_algorithms)
    transport.banner_timeout = hook.banner_timeout
    try:
        transport.start_client(timeout=hook.conn_timeout)
        return _text(transport.get_remote_server_key())
    finally:
        transport.close()


def _transport(hook: HostHook, known: tuple[str, ...], sock: Any, **given: Any) -> paramiko.Transport:
    """A quiet transport that asks for a host key of a known kind first, so that a server with several shows that one."""
    transport = paramiko.Transport(sock, **given)
    logging.getLogger(LOGGER).setLevel(logging.CRITICAL)  # its errors are raised as well, and ours say more than its tracebacks
    transport.set_log_channel(LOGGER)
    options = transport.get_security_options()
    if hook.ciphers:
        options.ciphers = hook.ciphers
    kinds = [keys.key_type(key) for key in known]
    wanted = [one for kind in kinds for one in (("rsa-sha2-512", "rsa-sha2-256") if kind == "ssh-rsa" else (kind,))]
    ours = tuple(options.key_types)
    options.key_types = [one for one in wanted if one in ours] + [one for one in ours if one not in wanted]
    return transport


def _proxy(hook: HostHook) -> Any:
    """A proxy command for one attempt: the hook's own is made once only."""
    return paramiko.ProxyCommand(hook.host_proxy_cmd) if hook.host_proxy_cmd else None


def _meaning(error: Exception, hook: HostHook) -> FsSyncError:
    """The error of ours for one of paramiko's or of the system's."""
    where = _where(hook)
    if isinstance(error, FsSyncError):
        return error
    if isinstance(error, paramiko.PasswordRequiredException):
        return AuthenticationError(f"{where}: the key in `key_file` has a passphrase; add it to the extra as `private_key_passphrase`")
    if isinstance(error, paramiko.BadAuthenticationType):
        return AuthenticationError(
            f"{where}: the server takes login {hook.username!r} by {' or '.join(error.allowed_types)} only; add that to the connection"
        )
    if isinstance(error, paramiko.AuthenticationException):
        if "timeout" in str(error).lower() or "EOF" in str(error):
            return Dropped(f"{where}: the server ended the login half way; if this stays, look into its log")
        tried = _means(hook)
        return AuthenticationError(
            f"{where}: the server refused login {hook.username!r} with its {tried}; correct the connection's login and {tried}"
        )
    if isinstance(error, paramiko.ssh_exception.NoValidConnectionsError | ConnectionRefusedError):
        return ConnectionFailed(
            f"{where}: refused; nothing listens there, or a firewall is in between: check host and port, and that sshd runs"
        )
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        return ConfigError(
            f"{where}: no algorithm in common ({error}); check `ciphers` and `disabled_algorithms` in the extra, or upgrade the server"
        )
    if isinstance(error, paramiko.ProxyCommandFailure):
        return ConnectionFailed(f"{where}: the proxy command of the worker's ~/.ssh/config failed; run it by hand on the worker")
    if isinstance(error, socket.gaierror):
        return ConnectionFailed(f"{where}: the host name is unknown on the worker; correct the host, or the worker's name service")
    if isinstance(error, TimeoutError):
        return ConnectionFailed(
            f"{where}: no answer within {hook.conn_timeout} s; check host, port and firewall, or raise `conn_timeout` in the extra"
        )
    return _meaning_by_words(error, hook)


def _meaning_by_words(error: Exception, hook: HostHook) -> FsSyncError:
    """The same for what paramiko tells apart by its words alone."""
    where, said = _where(hook), " ".join(str(error).split())[:300]
    if isinstance(error, OSError) and error.filename is not None:
        return ConfigError(f"{where}: {error.filename!r} on the worker can't be read: {error.strerror}; correct `key_file` in the extra")
    if "No authentication methods" in said:
        return AuthenticationError(f"{where}: the connection has neither a password nor a key; add one (`private_key` in the extra)")
    if isinstance(error, ValueError) or "not a valid" in said or "private key file" in said:
        return AuthenticationError(
            f"{where}: the key in `key_file` can't be read ({said}); it must be an RSA, ECDSA or Ed25519 private key"
        )
    if "banner" in said or "No existing session" in said or isinstance(error, EOFError | ConnectionError) or not said:
        return Dropped(
            f"{where}: the server closed the connection before a login; if many tasks log in to it at once, raise its MaxStartups"
            f" (sshd_config); else check that this is the port of sshd"
        )
    return ConnectionFailed(f"{where}: {said}; it is tried again by itself")


def _means(hook: HostHook) -> str:
    given = [name for name, there in (("key", hook.pkey or hook.key_file), ("password", hook.password)) if there]
    return " and ".join(given) or "keys of the worker"


def _where(hook: HostHook) -> str:
    return f"connection {hook.plain.conn_id!r}, {hook.remote_host}:{hook.port}"


def _text(key: paramiko.PKey) -> str:
    return f"{key.get_name()} {key.get_base64()}"
