"""The file of the service style: what it stands for, and all that is wrong with it at once, no secret told."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from fs_sync import credentials, service
from fs_sync.credentials import PlainConnection
from fs_sync.errors import ConfigError, ConnectionFailed
from fs_sync.form import Run
from fs_sync.route import Kind, parse

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "service.env.example"
COMING_FROM = REPOSITORY / "docs" / "coming-from.md"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFBKYU68xOuLsYsUw2qcWy6IRv9ml4oY06Ur0OlFbv7k"
SECRETS = {"SFTP_PASS": "pa-ss-w0rd", "S3_ACCESS_KEY_ID": "AKEYOFMINE", "S3_SECRET_ACCESS_KEY": "s3cr3t/of+mine"}
RIGHT = {
    "SFTP_HOST": "files.example.com",
    "SFTP_PORT": "2222",
    "SFTP_USER": "replica",
    "SFTP_HOST_KEY": HOST_KEY,
    "SFTP_FOLDER_NAME": "/outbox",
    "S3_ENDPOINT": "https://s3.example.com:9000",
    "S3_SERVICE": "s3",
    "S3_BUCKET_NAME": "backup",
    "S3_FOLDER_NAME": "in/box",
    "S3_REGION": "us-east-1",
    **SECRETS,
}
REQUIRED = [name for name in RIGHT if name not in ("SFTP_PORT", "S3_SERVICE")]
ODD = [
    "plain",
    "with#hash",
    "#first",
    "do$llar ${HOME} $(id)",
    "it's",
    'dou"ble',
    "back\\slash\\n",
    "a b  c",
    "a #b",
    "'quoted'",
    "\"both' of them",
    "=equals=",
    "größe✓",
    "`tick`;&|<>*?!~%^",
]


def never(conn: PlainConnection) -> str:
    raise AssertionError("nobody is to be asked")


def text(values: dict[str, str]) -> bytes:
    return "".join(f"{name}={value}\n" for name, value in values.items()).encode()


def read(values: dict[str, str], mode: int | None = 0o600) -> service.Service:
    return service.read(text(values), mode, never)


def faults(content: bytes, mode: int | None = 0o600, offered: service.Offered = never) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        service.read(content, mode, offered)
    said = str(caught.value)
    assert [name for name, secret in SECRETS.items() if secret in said] == []
    return said.splitlines()


def without(*names: str, **more: str) -> bytes:
    return text({name: value for name, value in RIGHT.items() if name not in names} | more)


def route(found: service.Service) -> dict[str, dict[str, str]]:
    (one,) = parse(found.variable, {}, Kind("rclone", "any", "any", "worker"), Run(), "n")
    assert one.faults == ()
    assert one.route is not None
    return {end: getattr(one.route, end).model_dump() for end in ("source", "target")}


def test_a_right_file_is_two_connections_and_a_route_that_the_dags_take() -> None:
    found = read(RIGHT)
    assert route(found) == {
        "source": {"conn": "service_sftp", "path": "/outbox", "bucket": ""},
        "target": {"conn": "service_s3", "path": "in/box", "bucket": "backup"},
    }
    sftp, s3 = (credentials.from_connection(conn, "any", "connection") for conn in found.connections)
    assert (sftp.address, sftp.password, sftp.host_keys) == ("replica@files.example.com:2222", SECRETS["SFTP_PASS"], (HOST_KEY,))
    assert (s3.address, s3.region, s3.provider) == ("https://s3.example.com:9000", "us-east-1", "Other")
    assert (s3.access_key, s3.secret_key) == (SECRETS["S3_ACCESS_KEY_ID"], SECRETS["S3_SECRET_ACCESS_KEY"])
    assert not [name for name in ("SFTP_PASS", "S3_SECRET_ACCESS_KEY") if SECRETS[name] in repr(found)]


def test_what_may_be_left_out() -> None:
    found = service.read(without("SFTP_PORT", "S3_SERVICE", S3_FOLDER_NAME=""), 0o600, never)
    assert found.connections[0].port == 22
    assert route(found)["target"] == {"conn": "service_s3", "path": "", "bucket": "backup"}


@pytest.mark.parametrize("name", REQUIRED)
def test_each_missing_one_is_named(name: str) -> None:
    (said,) = faults(without(name), offered=lambda _: HOST_KEY)
    assert said.startswith(f"{name} is missing")
    if name != "S3_FOLDER_NAME":
        (said,) = faults(without(**{name: ""}), offered=lambda _: HOST_KEY)
        assert said.startswith(f"{name} is ")


def test_all_of_them_are_named_at_once() -> None:
    assert [line.partition(" ")[0] for line in faults(b"")] == [
        *(name for name in service.SETTINGS if name in REQUIRED and name != "SFTP_HOST_KEY"),
        "SFTP_HOST_KEY",
    ]


@pytest.mark.parametrize("password", ODD)
@pytest.mark.parametrize("write", ["bare", "single", "double"])
def test_odd_passwords_survive(password: str, write: str) -> None:
    """In every way of writing that can hold them; one that can't is refused, never cut."""
    escaped = password.replace("\\", "\\\\").replace('"', '\\"')
    written = {"bare": password, "single": f"'{password}'", "double": f'"{escaped}"'}[write]
    impossible = {"bare": " #" in password or password[0] in "'\"", "single": "'" in password, "double": False}[write]
    for line in (f"SFTP_PASS={written}", f"export SFTP_PASS={written}\r", f"  SFTP_PASS ={written}  "):
        content = without("SFTP_PASS") + line.encode()
        if impossible and not (write == "bare" and password == "'quoted'"):
            (said,) = faults(content)
            assert said.startswith("SFTP_PASS (line 13) ")
            assert password not in said
        else:
            wanted = "quoted" if impossible else password
            assert service.read(content, 0o600, never).connections[0].password == wanted


def test_comments_blank_lines_and_names_of_others_are_passed_over() -> None:
    content = b"\xef\xbb\xbf# a comment\n\n   # another\nTZ=UTC\nPATH_TO=x #y\n" + text(RIGHT) + b"SFTP_LIKE\n"
    assert faults(content) == ["line 19 is no NAME=value; write one, or put a # before it"]
    assert service.read(content.replace(b"SFTP_LIKE\n", b""), 0o600, never)
    assert service.read(without("S3_REGION", S3_REGION="'us-east-1'  # a comment"), 0o600, never)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"SFTP_HOST": "sftp://files.example.com/x"}, ("SFTP_HOST: 'sftp://files.example.com/x' is no host name", "no scheme")),
        ({"SFTP_HOST": "replica:pa-ss-w0rd@files"}, ("SFTP_HOST is no host name",)),
        ({"SFTP_PORT": "ssh"}, ("SFTP_PORT: 'ssh' is no port", "1 to 65535")),
        ({"SFTP_PORT": "65536"}, ("SFTP_PORT: '65536' is no port",)),
        ({"SFTP_USER": "two words"}, ("SFTP_USER: 'two words' is no login name",)),
        ({"SFTP_PASS": "' pa-ss-w0rd'"}, ("SFTP_PASS begins or ends with a space",)),
        ({"SFTP_HOST_KEY": "AAAA"}, ("SFTP_HOST_KEY: 'AAAA' is not a host key", "ssh-ed25519 AAAA…")),
        ({"SFTP_FOLDER_NAME": "/a/../b"}, ("SFTP_FOLDER_NAME: '/a/../b' has a step \"..\"",)),
        ({"SFTP_FOLDER_NAME": "~other/x"}, ("SFTP_FOLDER_NAME: '~other/x' is a relative path",)),
        ({"S3_ENDPOINT": "s3.example.com:9000"}, ("S3_ENDPOINT: 's3.example.com:9000' is no address; the form is https://host:port",)),
        ({"S3_ENDPOINT": "https://k:s3cr3t/of+mine@s3.example.com"}, ("S3_ENDPOINT ", "no address")),
        ({"S3_ENDPOINT": "https://s3.example.com/?k=s3cr3t/of+mine"}, ("S3_ENDPOINT holds more than an address",)),
        ({"S3_BUCKET_NAME": "My_Bucket"}, ("S3_BUCKET_NAME: 'My_Bucket' is not a bucket's name",)),
        ({"S3_FOLDER_NAME": "a/../b"}, ("S3_FOLDER_NAME: 'a/../b' has a step",)),
        ({"S3_REGION": "us east"}, ("S3_REGION: 'us east' is none",)),
        (
            {"S3_SECRET_ACCESS_KEY": "s3cr3t/of+mine\t\x07"},
            ("S3_SECRET_ACCESS_KEY begins or ends with a space, or has a control character",),
        ),
        ({"SFTP_PASSWORD": "pa-ss-w0rd"}, ("SFTP_PASSWORD (line 14) is read by nothing; did you mean SFTP_PASS?",)),
        ({"S3_BUCKET": "x"}, ("S3_BUCKET (line 14) is read by nothing; did you mean S3_BUCKET_NAME?",)),
    ],
)
def test_a_wrong_value_is_named_with_its_rule(wrong: dict[str, str], words: tuple[str, ...]) -> None:
    (said,) = faults(text(RIGHT | wrong))
    assert [word for word in words if word not in said] == [], said


def test_a_folder_that_is_not_from_the_root_is_below_the_home() -> None:
    wanted = {"outbox": "~/outbox", "./outbox/": "~/outbox", ".": "~", "~": "~", "~/a//b/": "~/a/b", "/": "/", "//a/": "/a"}
    assert {folder: route(read(RIGHT | {"SFTP_FOLDER_NAME": folder}))["source"]["path"] for folder in wanted} == wanted
    wanted = {"/in/": "in", "in": "in", "/": "", "a b/c#d": "a b/c#d"}
    assert {folder: route(read(RIGHT | {"S3_FOLDER_NAME": folder}))["target"]["path"] for folder in wanted} == wanted


def test_many_faults_are_told_together() -> None:
    values = {name: value for name, value in RIGHT.items() if name not in ("SFTP_USER", "S3_REGION")}
    content = text(values | {"SFTP_PORT": "x", "SFTP_PASWORD": "pa-ss-w0rd"}) + b"SFTP_PASS=pa-ss-w0rd\nS3_ACCESS_KEY_ID AKEYOFMINE\n"
    said = faults(content, 0o644)
    assert [line.partition(" ")[0].rstrip(":") for line in said] == [
        *("SFTP_PASWORD", "SFTP_PASS", "line", "SFTP_PORT", "SFTP_USER", "S3_REGION", "the"),
    ]
    assert "stands on lines" in said[1]


def test_a_file_with_secrets_is_its_owners_alone() -> None:
    for mode in (0o644, 0o640, 0o604, 0o620, 0o100777):
        (said,) = faults(text(RIGHT), mode)
        assert "chmod it to 0600" in said
        assert f"mode {mode & 0o777:04o}" in said
    assert read(RIGHT, 0o100400) == read(RIGHT, None) == read(RIGHT)
    assert not [line for line in faults(without(*SECRETS), 0o644) if "chmod" in line]


def test_the_key_that_the_server_offers_is_ready_to_paste() -> None:
    asked: list[PlainConnection] = []

    def offered(conn: PlainConnection) -> str:
        asked.append(conn)
        return HOST_KEY

    (said,) = faults(without("SFTP_HOST_KEY"), offered=offered)
    assert (asked[0].host, asked[0].port, asked[0].password) == ("files.example.com", 2222, "")
    assert "files.example.com:2222 offers" in said
    assert "SHA256:" in said
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in said
    name, _, value = said.rpartition(": ")[2].partition("=")
    assert read(RIGHT | {name: value}) == read(RIGHT)
    # Nobody is asked where it is not known whom.
    said = faults(without("SFTP_HOST_KEY", "SFTP_HOST"))[-1]
    assert said.startswith("SFTP_HOST_KEY is missing; once SFTP_HOST")


def test_a_server_that_can_not_be_asked_is_said_too() -> None:
    def refused(conn: PlainConnection) -> str:
        raise ConnectionFailed(f"connection {conn.conn_id!r}: refused;\ncheck host and port")

    (said,) = faults(without("SFTP_HOST_KEY"), offered=refused)
    assert said.startswith("SFTP_HOST_KEY is missing, and the server can't be asked")
    assert said.endswith("refused; check host and port")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("S3_REGION", "us-east-1 S3_ACCESS_KEY_ID=AKEY-of-mine"),
        ("S3_ENDPOINT", f"s3://key:{SECRETS['S3_SECRET_ACCESS_KEY']}/backup"),
        ("SFTP_HOST_KEY", SECRETS["SFTP_PASS"]),
        ("SFTP_HOST", f"files {SECRETS['SFTP_PASS']}"),
    ],
)
def test_a_secret_at_the_wrong_place_is_not_shown(name: str, value: str) -> None:
    (said,) = faults(text(RIGHT | {name: f"'{value}'" if "'" not in value else f'"{value}"'}))
    assert name in said
    assert "AKEY-of-mine" not in said


@pytest.mark.parametrize("host", ["10.0.0.5:2222", "dead.be:22", "22:", "::::", "[::1"])
def test_an_address_with_a_port_is_none(host: str) -> None:
    (said,) = faults(text(RIGHT | {"SFTP_HOST": host}))
    assert "no scheme, port or path goes there" in said


@pytest.mark.parametrize("host", ["::1", "[::1]", "fe80::1%eth0", "10.0.0.5", "files_1.example.com"])
def test_an_address_is_one(host: str) -> None:
    assert read(RIGHT | {"SFTP_HOST": host}).connections[0].host == host


def test_a_password_is_taken_as_it_is_or_not_at_all() -> None:
    (said,) = faults(text(RIGHT | {"SFTP_PASS": "'ab\rcd'"}))
    assert "line end" in said
    (said,) = faults(text(RIGHT | {"SFTP_PASS": "abc\u00a0"}))
    assert "begins or ends with a space" in said


def test_what_is_no_text_is_refused() -> None:
    (said,) = faults(text(RIGHT).replace(b"replica", b"repl\xff"))
    assert said == "line 3 is not UTF-8; save the file as UTF-8"


def test_the_file_of_the_documents_is_right() -> None:
    blocks = re.findall(r"^```ini\n(.*?)^```$", COMING_FROM.read_text(), re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if "SFTP_HOST_KEY=" in block]
    assert route(service.read(block.encode(), 0o600, never))["source"]["path"] == "~/inbox"


def test_the_example_lacks_the_secrets_alone() -> None:
    said = faults(EXAMPLE.read_bytes(), 0o644, lambda _: HOST_KEY)
    assert [line.partition(" ")[0] for line in said] == [*SECRETS, "SFTP_HOST_KEY"]
    filled = EXAMPLE.read_text()
    for name, value in {**SECRETS, "SFTP_HOST_KEY": HOST_KEY}.items():
        filled = filled.replace(f"\n{name}=\n", f"\n{name}={value}\n")
    assert json.loads(service.read(filled.encode(), 0o600, never).variable)
    assert {line.partition("=")[0] for line in filled.splitlines() if line and line[0] != "#"} == set(service.SETTINGS)
