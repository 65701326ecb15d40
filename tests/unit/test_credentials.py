"""What a target's Connection may say, and that its secrets show up nowhere."""

import base64
import json
import shlex
import subprocess
from dataclasses import replace
from urllib.parse import quote

import pytest

from fs_sync import credentials
from fs_sync.credentials import PlainConnection
from fs_sync.errors import ConfigError

PASSWORD = "pa$$ 'w\"ord/é"


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    path = tmp_path_factory.mktemp("key") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


@pytest.fixture
def ssh(key):
    extra = {"host_key": " ".join(key.with_suffix(".pub").read_text().split()[:2])}
    return PlainConnection("t", "sftp", "host.example", 2222, "me", PASSWORD, extra)


@pytest.fixture
def s3():
    return PlainConnection("s", "aws", login="ACCESSKEY", password="SECRETKEY", extra={"endpoint_url": "http://127.0.0.1:9000/"})


def test_an_ssh_target(ssh, key):
    target = credentials.from_connection(ssh, "ssh", "connection")
    assert (target.auth, target.host, target.port, target.login) == ("password", "host.example", 2222, "me")
    assert target.host_keys == (ssh.extra["host_key"],)
    assert target.address == "me@host.example:2222"
    assert credentials.environment(target) == {"FS_SYNC_PASSWORD": PASSWORD}
    by_key = replace(ssh, password="", port=None, extra={"private_key": key.read_text().replace("\n", "\r\n")})
    target = credentials.from_connection(by_key, "ssh", "connection")
    assert (target.auth, target.port, target.host_keys) == ("key", 22, ())
    assert credentials.environment(target)["FS_SYNC_KEY"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    by_file = replace(by_key, extra={"key_file": str(key)})
    assert credentials.from_connection(by_file, "ssh", "connection").key == target.key


def test_nothing_is_handed_over_where_the_host_has_its_own(ssh, s3):
    for conn, kind in ((ssh, "ssh"), (replace(ssh, password=""), "ssh"), (s3, "s3"), (replace(s3, login="", password=""), "s3")):
        target = credentials.from_connection(conn, kind, "host")
        assert target.auth == "host"
        assert credentials.environment(target) == {}


def test_an_s3_target(s3):
    target = credentials.from_connection(s3, "s3", "connection")
    assert (target.endpoint, target.region, target.provider) == ("http://127.0.0.1:9000", "", "Other")
    assert credentials.environment(target) == {
        "RCLONE_CONFIG_TARGET_ACCESS_KEY_ID": "ACCESSKEY",
        "RCLONE_CONFIG_TARGET_SECRET_ACCESS_KEY": "SECRETKEY",
    }
    in_extra = {"aws_access_key_id": "A", "aws_secret_access_key": "S", "aws_session_token": "T", "region_name": "eu-west-1"}
    target = credentials.from_connection(PlainConnection("s", "aws", extra=in_extra), "s3", "connection")
    assert (target.provider, target.region, target.address) == ("AWS", "eu-west-1", "s3.eu-west-1.amazonaws.com")
    assert credentials.environment(target)["RCLONE_CONFIG_TARGET_SESSION_TOKEN"] == "T"
    for conn_type in ("generic", "s3", "minio"):
        conn = PlainConnection("s", conn_type, "https://store.example", 9000, "A", "S")
        assert credentials.from_connection(conn, "s3", "connection").endpoint == "https://store.example:9000"
    nested = replace(s3, extra={"service_config": {"s3": {"endpoint_url": "https://a.example"}}})
    assert credentials.from_connection(nested, "s3", "connection").endpoint == "https://a.example"


def test_no_secret_in_what_is_printed(ssh, s3, key):
    ssh = replace(ssh, extra={**ssh.extra, "private_key": key.read_text()})
    for conn, kind in ((ssh, "ssh"), (s3, "s3")):
        target = credentials.from_connection(conn, kind, "connection")
        shown = repr(conn) + repr(target) + repr(target.public)
        assert not [name for name, secret in credentials.environment(target).items() if secret in shown and "KEY_ID" not in name]
        assert "PRIVATE KEY" not in shown
        assert json.dumps(target.public)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"conn_type": "http"}, "of type 'http'; this target needs one of type ssh or sftp"),
        ({"host": ""}, "has no host"),
        ({"host": "ssh://host"}, "no host name"),
        ({"host": "-oProxyCommand=x"}, "no host name"),
        ({"host": "a b"}, "no host name"),
        ({"port": 70000}, "not between 1 and 65535"),
        ({"login": ""}, "has no login"),
        ({"login": "-x"}, "is no login name"),
        ({"login": "a\nb"}, "is no login name"),
        ({"password": ""}, "neither a password nor a key"),
        ({"password": "a\nb"}, "is one line"),
        ({"extra": {"private_key": "x"}}, "is not a private key"),
        ({"extra": {"private_key": "x", "key_file": "y"}}, "keep one of them"),
        ({"extra": {"key_file": "/not/there"}}, "'/not/there' on the worker can't be read: No such file"),
        ({"extra": {"host_key": "x"}}, "is not a host key"),
        ({"extra": {"no_host_key_check": True}}, "always checks host keys"),
        ({"extra": {"no_host_key_check": "true"}}, "always checks host keys"),
        ({"extra": {"allow_host_key_change": "True"}}, "always checks host keys"),
    ],
)
def test_a_wrong_ssh_connection_is_named_with_the_rule(ssh, change, rule):
    with pytest.raises(ConfigError, match=rule) as caught:
        credentials.from_connection(replace(ssh, **change), "ssh", "connection")
    assert "connection 't'" in str(caught.value)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"conn_type": "ssh"}, "needs one of type aws or generic or s3 or minio"),
        ({"login": ""}, "has no access key"),
        ({"password": ""}, "has no secret key"),
        ({"password": "a\nb"}, "control character"),
        ({"conn_type": "generic", "extra": {}}, "has no endpoint"),
        ({"extra": {"endpoint_url": "127.0.0.1:9000"}}, "is no address"),
        ({"extra": {"endpoint_url": "ftp://x"}}, "is no address"),
        ({"extra": {"endpoint_url": "http://x:99999"}}, "is no address"),
        ({"extra": {"endpoint_url": "http://[x"}}, "is no address"),
        ({"extra": {"endpoint_url": "http://A:SECRETKEY@x"}}, "more than an address"),
        ({"extra": {"endpoint_url": "http://x", "region_name": "a b"}}, "`region_name` 'a b'"),
    ],
)
def test_a_wrong_s3_connection_is_named_with_the_rule(s3, change, rule):
    with pytest.raises(ConfigError, match=rule) as caught:
        credentials.from_connection(replace(s3, **change), "s3", "connection")
    assert "connection 's'" in str(caught.value)
    assert "SECRETKEY" not in str(caught.value)


def test_the_forms_of_a_secret():
    forms = credentials.secret_forms(PASSWORD)
    raw = PASSWORD.encode()
    wanted = (PASSWORD, shlex.quote(PASSWORD), json.dumps(PASSWORD)[1:-1], quote(raw, safe=""), base64.b64encode(raw).decode())
    assert set(wanted) <= set(forms)
    assert list(forms) == sorted(forms, key=lambda form: (-len(form), form))
    assert credentials.secret_forms("") == ()


def test_a_key_is_known_by_its_lines(key):
    text = key.read_text()
    lines = [line for line in text.splitlines() if not line.startswith("-") and len(line) >= 16]
    assert set(lines) <= set(credentials.secret_forms(text))
    assert "-----BEGIN OPENSSH PRIVATE KEY-----" not in credentials.secret_forms(text)
