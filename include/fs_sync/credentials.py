"""What a job needs to log in to its target: read from a Connection, checked, and kept apart from all that is printed."""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, urlsplit

from fs_sync import keys, places
from fs_sync.errors import ConfigError
from fs_sync.options import Endpoint, Route

SSH_TYPES = ("ssh", "sftp")
# The id, and the type, of what stands for the worker itself.
LOCAL = "local"
S3_TYPES = ("aws", "generic", "s3", "minio")
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*|\[?[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9_.-]+)?\]?")
UNCHECKED = ("no_host_key_check", "ignore_hostkey_verification", "allow_host_key_change")


@dataclass(frozen=True)
class PlainConnection:
    """An Airflow Connection as plain values."""

    conn_id: str
    conn_type: str
    host: str = ""
    port: int | None = None
    login: str = ""
    password: str = field(default="", repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Target:
    """The address of an end that a job logs in to, the target as a rule, and its secrets; scripts use `public` only."""

    kind: str
    conn_id: str
    auth: str
    host: str = ""
    port: int = 22
    login: str = ""
    host_keys: tuple[str, ...] = ()
    endpoint: str = ""
    region: str = ""
    provider: str = ""
    password: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)

    @property
    def public(self) -> dict[str, Any]:
        """Everything but the secrets; `auth` says which of them the job is handed."""
        names = ("kind", "conn_id", "auth", "host", "port", "login", "host_keys", "endpoint", "region", "provider")
        return {name: getattr(self, name) for name in names}

    @property
    def address(self) -> str:
        """The place as people write it."""
        if self.kind == "s3":
            return self.endpoint or f"s3.{self.region}.amazonaws.com"
        return f"{self.login}@{self.host}" + (f":{self.port}" if self.port != 22 else "")


def from_connection(conn: PlainConnection, kind: str, target_auth: str) -> Target:
    """
    Given an end's Connection, its kind (see Kind) and `target_auth`, return the Target. Raise ConfigError, naming the mend.

    A missing `host_key` is no fault here: the job finds out which key the server offers and prints it.
    """
    if kind == "any":
        found = {**dict.fromkeys(SSH_TYPES, "ssh"), **dict.fromkeys(S3_TYPES, "s3"), LOCAL: "host"}.get(conn.conn_type)
        if found is None:
            raise ConfigError(f"{_name(conn)} is of type {conn.conn_type!r}; an end is of type {', '.join((*SSH_TYPES, *S3_TYPES))}")
        kind = found
    if kind == "host":
        return Target("host", conn.conn_id, "host", conn.host, conn.port or 22, conn.login)
    types = SSH_TYPES if kind == "ssh" else S3_TYPES
    if conn.conn_type not in types:
        raise ConfigError(f"{_name(conn)} is of type {conn.conn_type!r}; this target needs one of type {' or '.join(types)}")
    return _ssh(conn, target_auth) if kind == "ssh" else _s3(conn, target_auth)


def from_source(conn: PlainConnection, kind: str, auth: str) -> Target | None:
    """The same for a source; None where the files are those of the host that runs the tool."""
    found = None if kind == "host" else from_connection(conn, kind, auth)
    return None if found is None or found.kind == "host" else found


def refuse_ends(route: Route, source: Target | None, target: Target) -> None:
    """Raise ConfigError where an end names a bucket and its Connection is no store, or the other way round."""
    for word, place, kind in (("source", route.source, source.kind if source else "host"), ("target", route.target, target.kind)):
        if (kind == "s3") != bool(place.bucket):
            raise ConfigError(
                f"{word}.bucket: connection {place.conn!r} is an object store's; name the bucket"
                if kind == "s3"
                else f"{word}.bucket: connection {place.conn!r} is no object store's; take the bucket out, or name another connection"
            )
    if source is not None and source.kind == target.kind and _root(route.source, source)[0] == _root(route.target, target)[0]:
        one, other = _root(route.source, source)[1], _root(route.target, target)[1]
        if places.inside(one, other) or places.inside(other, one):
            raise ConfigError(f"target.path: {other!r} is the source {one!r}, or one lies inside the other, on one server; name another")


def _root(place: Endpoint, login: Target) -> tuple[tuple[object, ...], str]:
    """Which server or bucket, and where there, as far as it can be told from here."""
    if login.kind == "s3":
        return (login.address, place.bucket), f"/{place.path.strip('/')}"
    return (login.host, login.port, login.login if place.path.startswith("~") else ""), place.path


def environment(target: Target, source: Target | None = None) -> dict[str, str]:
    """The secrets that the job is handed, by the names of its environment; empty with `target_auth: host`."""
    named = {
        **(_of_source(source) if source else {}),
        "FS_SYNC_PASSWORD": target.password,
        "FS_SYNC_KEY": target.key,
        "RCLONE_CONFIG_TARGET_ACCESS_KEY_ID": target.access_key,
        "RCLONE_CONFIG_TARGET_SECRET_ACCESS_KEY": target.secret_key,
        "RCLONE_CONFIG_TARGET_SESSION_TOKEN": target.session_token,
    }
    return {name: value for name, value in named.items() if value}


def _of_source(source: Target) -> dict[str, str | None]:
    return {
        "FS_SYNC_SOURCE_PASSWORD": source.password,
        # As one line, which base64 makes of it.
        "FS_SYNC_SOURCE_KEY": base64.b64encode(f"{source.key.rstrip()}\n".encode()).decode() if source.key else None,
        "RCLONE_CONFIG_SOURCE_ACCESS_KEY_ID": source.access_key,
        "RCLONE_CONFIG_SOURCE_SECRET_ACCESS_KEY": source.secret_key,
        "RCLONE_CONFIG_SOURCE_SESSION_TOKEN": source.session_token,
    }


def secret_forms(secret: str) -> tuple[str, ...]:
    """All forms in which a secret might show up in a text, longest first, for Airflow's masker."""
    if not secret:
        return ()
    forms = {secret, secret.strip()}
    lines = [line for line in secret.splitlines() if len(line) >= 16 and not line.startswith("-----")]
    if len(secret.splitlines()) > 1:
        forms.update(lines)  # logs are masked line by line, so a key must be known by its lines
    for plain in (secret, secret.strip()):
        raw = plain.encode("utf-8", "surrogateescape")
        forms.update((shlex.quote(plain), json.dumps(plain)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1]))
        forms.update((quote(raw, safe=""), quote(raw), quote_plus(raw)))
        for encoded in (base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()):
            forms.update((encoded, encoded.rstrip("=")))
    return tuple(sorted((form for form in forms if form), key=lambda form: (-len(form), form)))


def refuse_unchecked(conn: PlainConnection) -> None:
    """Raise ConfigError if the Connection asks for host keys not to be checked."""
    for name in UNCHECKED:
        if str(conn.extra.get(name, "false")).lower() == "true":
            raise ConfigError(
                f"{_name(conn)} has `{name}: true`; fs-sync always checks host keys: "
                "take it out of the extra and add the server's `host_key` (without one, the error shows the key that is offered)"
            )


def host_keys_of(conn: PlainConnection) -> tuple[str, ...]:
    """The host keys of an ssh Connection as "type base64"."""
    return keys.host_keys(conn.extra.get("host_key"), f"{_name(conn)}, `host_key` in its extra")


def private_key_of(conn: PlainConnection) -> str | None:
    """The private key of an ssh Connection as OpenSSH text without a passphrase, or None if it has none."""
    text = conn.extra.get("private_key")
    path = conn.extra.get("key_file")
    if text and path:
        raise ConfigError(f"{_name(conn)} has `private_key` and `key_file` in its extra; keep one of them")
    passphrase = conn.extra.get("private_key_passphrase") or conn.extra.get("passphrase")
    what = f"{_name(conn)}, `private_key` in its extra"
    if not text and path:
        what = f"{_name(conn)}, `key_file` {path!r} on the worker"
        try:
            text = Path(str(path)).expanduser().read_text()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise ConfigError(f"{what} can't be read: {reason}; put it there, or put the key into the extra as `private_key`") from None
    return keys.private_key(str(text), str(passphrase) if passphrase else None, what) if text else None


def address_of(conn: PlainConnection) -> tuple[str, int]:
    """The host and port of an ssh Connection. Raise ConfigError if they can't be an address."""
    host = conn.host.strip()
    if not host:
        raise ConfigError(f"{_name(conn)} has no host; fill in its host")
    if broken := host_fault(host):
        raise ConfigError(f"{_name(conn)}: host {host[:80]!r} {broken}")
    port = 22 if conn.port is None else conn.port
    if not 0 < port < 65536:
        raise ConfigError(f"{_name(conn)}: port {port} is not between 1 and 65535")
    return host.strip("[]"), port


def host_fault(host: str) -> str | None:
    """Given a server's name or address, return the rule that it breaks, or None."""
    bare = (host[1:-1] if host[:1] + host[-1:] == "[]" else host).partition("%")[0]
    good = HOST.fullmatch(host) and (":" not in bare or _is_ipv6(bare))
    return None if good else "is no host name or IP address; no scheme, port or path goes there"


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def login_fault(login: str) -> str | None:
    """The same for a login."""
    wrong = login.startswith("-") or not login.isprintable() or " " in login
    return "is no login name; no spaces, control characters or leading dash" if wrong else None


def word_fault(word: str) -> str | None:
    """The same for a region and the like."""
    return None if re.fullmatch(r"[A-Za-z0-9._-]*", word) else "is none; only letters, digits, dots and dashes"


def endpoint_fault(endpoint: str) -> str | None:
    """The same for the address of a store."""
    try:
        parts = urlsplit(endpoint)
        right = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        right = False
    return None if right and endpoint.isprintable() and " " not in endpoint else "is no address; the form is https://host:port"


def holds_more(endpoint: str) -> bool:
    """Whether an address of a store holds what is none, a secret perhaps; it is not to be shown then."""
    return any(character in endpoint for character in "@?#")


def _ssh(conn: PlainConnection, target_auth: str) -> Target:
    refuse_unchecked(conn)
    host, port = address_of(conn)
    _login(conn)
    known = host_keys_of(conn)
    if target_auth == "host":
        return Target("ssh", conn.conn_id, "host", host, port, conn.login, known)
    key = private_key_of(conn)
    password = conn.password.strip() or None  # the provider's hook strips it too
    if password and ("\n" in password or "\0" in password):
        raise ConfigError(
            f"{_name(conn)}: its password has a line end in it; a password is one line (a key goes into the extra as `private_key`)"
        )
    if not key and not password:
        raise ConfigError(
            f"{_name(conn)} has neither a password nor a key; add one (`private_key` in the extra), "
            "or set `target_auth: host` if the source host logs in with a key of its own"
        )
    return Target("ssh", conn.conn_id, "key" if key else "password", host, port, conn.login, known, password=password, key=key)


def _login(conn: PlainConnection) -> None:
    if not conn.login:
        raise ConfigError(f"{_name(conn)} has no login; fill in its login")
    if broken := login_fault(conn.login):
        raise ConfigError(f"{_name(conn)}: login {conn.login!r} {broken}")


def _s3(conn: PlainConnection, target_auth: str) -> Target:
    extra = conn.extra
    endpoint = _endpoint(conn)
    region = str(extra.get("region_name") or extra.get("region") or ("us-east-1" if not endpoint else ""))
    aws = not endpoint or (urlsplit(endpoint).hostname or "").endswith(".amazonaws.com")
    provider = str(extra.get("provider") or ("AWS" if aws else "Minio" if conn.conn_type == "minio" else "Other"))
    for name, value in (("region_name", region), ("provider", provider)):
        if broken := word_fault(value):
            raise ConfigError(f"{_name(conn)}: `{name}` {value!r} {broken}")
    if target_auth == "host":
        return Target("s3", conn.conn_id, "host", endpoint=endpoint, region=region, provider=provider)
    access = str(conn.login or extra.get("aws_access_key_id") or "").strip()
    secret = str(conn.password or extra.get("aws_secret_access_key") or "").strip()
    if not access or not secret:
        missing = (
            "access key (login or `aws_access_key_id` in the extra)" if not access else "secret key (password or `aws_secret_access_key`)"
        )
        raise ConfigError(
            f"{_name(conn)} has no {missing}; add it, or set `target_auth: host` if the source host has credentials of its own"
        )
    if not (access + secret).isprintable():
        raise ConfigError(f"{_name(conn)}: its access key or secret key holds a control character; copy it again")
    token = str(extra.get("aws_session_token") or "").strip() or None
    return Target(
        "s3",
        conn.conn_id,
        "key",
        endpoint=endpoint,
        region=region,
        provider=provider,
        access_key=access,
        secret_key=secret,
        session_token=token,
    )


def _endpoint(conn: PlainConnection) -> str:
    service = conn.extra.get("service_config")
    of_s3 = service.get("s3") if isinstance(service, Mapping) else None
    given = (of_s3.get("endpoint_url") if isinstance(of_s3, Mapping) else None) or conn.extra.get("endpoint_url")
    if not given and conn.host.startswith(("http://", "https://")):
        given = conn.host if conn.port is None else f"{conn.host.rstrip('/')}:{conn.port}"
    if not given:
        if conn.conn_type == "aws" and not conn.host:
            return ""
        raise ConfigError(f'{_name(conn)} has no endpoint; add {{"endpoint_url": "https://host:port"}} to its extra')
    endpoint = str(given).strip()
    if holds_more(endpoint):
        raise ConfigError(f"{_name(conn)}: `endpoint_url` holds more than an address; the keys go into login and password")
    if broken := endpoint_fault(endpoint):
        raise ConfigError(f"{_name(conn)}: `endpoint_url` {endpoint[:80]!r} {broken}")
    return endpoint.rstrip("/")


def _name(conn: PlainConnection) -> str:
    return f"connection {conn.conn_id!r}"
