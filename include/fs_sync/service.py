"""The service style: one file of NAME=value lines, as the two connections and the one route that it stands for."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from fs_sync import credentials, keys, places
from fs_sync.credentials import PlainConnection
from fs_sync.errors import ConfigError, FsSyncError
from fs_sync.faults import guess, shown
from fs_sync.options import Endpoint

VARIABLE = "fs_sync_service"
QUICK, FULL = "fs_sync_service_quick", "fs_sync_service_full"
SFTP, S3 = "service_sftp", "service_s3"
KEY = "SFTP_HOST_KEY"
# Names that begin so are meant for us: one that is none of ours is a slip of the pen.
OURS = ("SFTP_", "S3_")
LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)", re.DOTALL)
# A secret of so many characters may stand in a name by chance.
SHORT = 7
# Rights of others than the file's owner.
OTHERS = 0o077

Offered = Callable[[PlainConnection], str]


@dataclass(frozen=True)
class Setting:
    """One of the names: what it is, an example, and a check that returns a value's normal form or raises ValueError with the rule."""

    what: str
    example: str
    check: Callable[[str], str]
    default: str | None = None  # None: it must be there
    may_be_empty: bool = False
    secret: bool = False


@dataclass(frozen=True)
class Service:
    """What the file stands for: the connections of both ends, and the text of the Variable `fs_sync_service`."""

    connections: tuple[PlainConnection, PlainConnection]
    variable: str


def read(content: bytes, mode: int | None, offered: Offered) -> Service:
    """
    Given the file's bytes and its mode (None where modes tell nothing), return the Service.

    Raise ConfigError with all faults, a line each, none of which quotes a secret. Where SFTP_HOST_KEY is missing, `offered`
    is asked for the key of the server's, to be shown.
    """
    values, faults, told = _lines(content)
    secrets = [values[name] for name, setting in SETTINGS.items() if setting.secret and len(values.get(name, "")) > SHORT]

    def tells(value: str) -> bool:
        """Whether a value may hold a secret that is not its own: an address with more in it, or what stands in another line."""
        return credentials.holds_more(value) or any(f"{name}=" in value for name in SETTINGS) or any(one in value for one in secrets)

    settled: dict[str, str] = {}
    for name, setting in SETTINGS.items():
        value = values.get(name, "")
        if name in told:
            continue
        if value:
            try:
                settled[name] = setting.check(value)
            except ConfigError as error:
                faults.append(f"{name} is no host key; write {setting.what}" if tells(value) else str(error))
                told.add(name)
            except ValueError as error:
                faults.append(f"{name} {error}" if setting.secret or tells(value) else f"{name}: {shown(value)} {error}")
        elif setting.default is not None or (setting.may_be_empty and name in values):
            settled[name] = setting.default or ""
        elif name != KEY:
            faults.append(f"{name} is {'empty' if name in values else 'missing'}; write {setting.what}, as {name}={setting.example}")
    if not settled.get(KEY) and KEY not in told:
        faults.append(_offer(settled, offered))
    if mode is not None and mode & OTHERS and any(values.get(name) for name, setting in SETTINGS.items() if setting.secret):
        faults.append(f"the file holds secrets, and others may read or change it (mode {mode & 0o777:04o}); chmod it to 0600")
    if faults:
        raise ConfigError("\n".join(faults))
    return _service(settled)


def _lines(content: bytes) -> tuple[dict[str, str], list[str], set[str]]:
    """The values by their names, what is wrong with single lines, and of which names that is said already."""
    values: dict[str, str] = {}
    faults: list[str] = []
    told: set[str] = set()
    seen: dict[str, int] = {}
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"line {number} is not UTF-8; save the file as UTF-8") from None
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found = LINE.fullmatch(line.removesuffix("\r"))
        if not found:
            faults.append(f"line {number} is no NAME=value; write one, or put a # before it")
            continue
        name = found[1]
        if name not in SETTINGS:
            if name.startswith(OURS):
                faults.append(f"{name} (line {number}) is read by nothing; {guess(name, SETTINGS)}")
            continue
        if name in seen:
            faults.append(f"{name} stands on lines {seen[name]} and {number}, and only one can count; delete the other")
        seen[name] = number
        try:
            values[name] = _value(found[2])
        except ValueError as error:
            faults.append(f"{name} (line {number}) {error}")
            told.add(name)
    return values, faults, told


def _value(text: str) -> str:
    """
    What stands behind the =, as it is; one pair of quotes around it is taken off.

    What the programs that read such files take in different ways is refused: nobody shall log in with half a password.
    """
    bare = text.strip(" \t")
    if bare[:1] == "'":
        found = re.fullmatch(r"'([^']*)'(?:\s+#.*)?", bare, re.DOTALL)
        if not found:
            raise ValueError("begins with a ' and has more behind the next one; put it in double quotes")
        return found[1]
    if bare[:1] == '"':
        found = re.fullmatch(r'"((?:[^"\\]|\\["\\])*)"(?:\s+#.*)?', bare, re.DOTALL)
        if not found:
            raise ValueError('begins with a " and has another or a backslash in it; put it in single quotes, or a backslash before each')
        return re.sub(r"\\(.)", r"\1", found[1])
    if re.search(r"\s#", text):
        raise ValueError("has a # behind a space: put the value in single quotes, or the comment on a line of its own")
    return bare


def _offer(settled: Mapping[str, str], offered: Offered) -> str:
    """What to say where there is no host key: the one that the server offers, if it can be asked."""
    missing = f"{KEY} is missing"
    if not all(settled.get(name) for name in ("SFTP_HOST", "SFTP_PORT", "SFTP_USER")):
        return f"{missing}; once SFTP_HOST and SFTP_USER are right, the key that the server offers is shown here"
    try:
        key = offered(_sftp(settled, ""))
    except FsSyncError as error:
        return f"{missing}, and the server can't be asked for the one that it offers: {' '.join(str(error).split())}"
    return (
        f"{missing}. {settled['SFTP_HOST']}:{settled['SFTP_PORT']} offers one with the fingerprint {keys.fingerprint(key)}; compare that "
        f"with the server's own (`{keys.own_fingerprint(key)}` there), then write: {KEY}={key}"
    )


def _service(settled: Mapping[str, str]) -> Service:
    s3 = PlainConnection(
        conn_id=S3,
        conn_type="generic",
        login=settled["S3_ACCESS_KEY_ID"],
        password=settled["S3_SECRET_ACCESS_KEY"],
        extra={"endpoint_url": settled["S3_ENDPOINT"], "region_name": settled["S3_REGION"]},
    )
    route = {
        "name": "service",
        "source": {"conn": SFTP, "path": settled["SFTP_FOLDER_NAME"]},
        "target": {"conn": S3, "bucket": settled["S3_BUCKET_NAME"], "path": settled["S3_FOLDER_NAME"]},
    }
    return Service((_sftp(settled, settled["SFTP_PASS"]), s3), json.dumps({"routes": [route]}, indent=2))


def _sftp(settled: Mapping[str, str], password: str) -> PlainConnection:
    return PlainConnection(
        conn_id=SFTP,
        conn_type="sftp",
        host=settled["SFTP_HOST"],
        port=int(settled["SFTP_PORT"]),
        login=settled["SFTP_USER"],
        password=password,
        extra={"host_key": settled.get(KEY, "")},
    )


def _by(fault: Callable[[str], str | None]) -> Callable[[str], str]:
    """The check by a function that returns what is wrong."""

    def check(value: str) -> str:
        if broken := fault(value):
            raise ValueError(broken)
        return value

    return check


def _port(value: str) -> str:
    if not re.fullmatch(r"[0-9]{1,5}", value) or not 0 < int(value) < 65536:
        raise ValueError("is no port; write a number from 1 to 65535")
    return str(int(value))


def _host_key(value: str) -> str:
    return "\n".join(keys.host_keys(value, KEY))


def _folder(value: str) -> str:
    # What is neither from the root nor from the login's home is from the home as well, as SFTP itself has it.
    path = _of_end("path")(value if value.startswith(("/", "~")) else f"~/{value}")
    if broken := places.rooted_fault(path):
        raise ValueError(broken)
    return path


def _prefix(value: str) -> str:
    return _of_end("path")(value).lstrip("/")


def _of_end(name: str) -> Callable[[str], str]:
    """The check of one option of an endpoint."""

    def check(value: str) -> str:
        try:
            return str(getattr(Endpoint.model_validate({"conn": S3, name: value}), name))
        except ValidationError as error:
            raise ValueError(str(error.errors()[0]["ctx"]["error"])) from None

    return check


def _endpoint(value: str) -> str:
    if broken := credentials.endpoint_fault(value):
        raise ValueError(broken)
    if credentials.holds_more(value):
        raise ValueError("holds more than an address; the keys have names of their own")
    return value.rstrip("/")


def _password(value: str) -> str:
    if value != value.strip() or any(one in value for one in "\0\r\n"):
        raise ValueError("begins or ends with a space, or has a line end or a NUL in it, which would not arrive; take another password")
    return value


def _key(value: str) -> str:
    if value != value.strip() or not value.isprintable():
        raise ValueError("begins or ends with a space, or has a control character in it; copy it again")
    return value


SETTINGS: dict[str, Setting] = {
    "SFTP_HOST": Setting("the server's name or address", "files.example.com", _by(credentials.host_fault)),
    "SFTP_PORT": Setting("its port", "22", _port, default="22"),
    "SFTP_USER": Setting("the login", "replica", _by(credentials.login_fault)),
    "SFTP_PASS": Setting("the password of that login", "…", _password, secret=True),
    KEY: Setting("the server's public key", keys.MAY_FOLLOW, _host_key),
    "SFTP_FOLDER_NAME": Setting("the folder there, from the root or from the login's home", "/outbox", _folder),
    "S3_ENDPOINT": Setting("the store's address", "https://s3.example.com", _endpoint),
    "S3_SERVICE": Setting("anything", "s3", str, default=""),
    "S3_BUCKET_NAME": Setting("the bucket", "backup", _of_end("bucket")),
    "S3_FOLDER_NAME": Setting("the folder in the bucket, or nothing for the whole of it", "outbox", _prefix, may_be_empty=True),
    "S3_REGION": Setting("the store's region", "us-east-1", _by(credentials.word_fault)),
    "S3_ACCESS_KEY_ID": Setting("the access key", "…", _key, secret=True),
    "S3_SECRET_ACCESS_KEY": Setting("its secret key", "…", _key, secret=True),
}
