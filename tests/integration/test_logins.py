"""Logging in to real servers: every way that fails has one clear error."""

import asyncio
import contextlib
import json
import socket
import subprocess
import threading
from dataclasses import replace

import asyncssh
import pytest

from fs_sync import hooks, hosts, keys, logins
from fs_sync.errors import AuthenticationError, ConfigError, ConnectionFailed, HostKeyError, Permanent, Transient
from lab.accounts import account
from lab.place import ssh_connection
from lab.processes import free_port, until
from lab.servers import sshd
from tests.integration.driver import login as plain
from tests.integration.driver import needs_root


def without(conn, *names, **more):
    return replace(conn, extra={name: value for name, value in {**conn.extra, **more}.items() if name not in names})


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with sshd(tmp_path_factory.mktemp("server"), host_keys=("rsa", "ecdsa", "ed25519")) as server:
        yield server


@pytest.fixture
def conn(server):
    return plain(server)


def ed25519(server):
    return next(key for key in server.host_keys if key.startswith("ssh-ed25519 "))


def fails(conn, kind, *texts, patience=0.0):
    with pytest.raises(kind) as caught, hosts.connect(conn, patience=patience):
        pass
    said = str(caught.value)
    for text in ("'here'", *texts):
        assert text in said, said
    for secret in (conn.password, str(conn.extra.get("private_key", ""))[80:140]):
        assert not secret or secret not in said
    return said


def test_a_text_runs_and_all_bytes_are_counted(conn):
    with hosts.connect(conn) as host:
        code, out, err = host.sh("echo out; echo err >&2; cat; exit 7")
        assert (code, out, err) == (7, b"out\n", b"err\n")
        before = host.bytes
        code, out, err = host.sh("head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2")
        assert (code, len(out), len(err)) == (0, 3000000, 3000000)
        assert 6000000 < host.bytes - before < 6001000


def test_a_command_that_does_not_end_is_given_up(conn):
    with hosts.connect(conn) as host:
        with pytest.raises(ConnectionFailed, match="did not answer within 1 s"):
            host.sh("sleep 30", timeout=1)
        assert host.sh("sleep 30 & echo left", timeout=3)[:2] == (0, b"left\n")


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
def test_any_key_of_the_server_is_enough(server, conn, kind):
    key = next(key for key in server.host_keys if key.startswith(kind))
    for text in (key, f"[{server.host}]:{server.port} {key} comment", key.split()[1]):
        with hosts.connect(without(conn, host_key=text)) as host:
            assert host.sh("echo here")[1] == b"here\n"


def test_without_a_host_key_the_offered_one_is_printed_ready_to_paste(server, conn):
    key = ed25519(server)
    said = fails(without(conn, "host_key"), HostKeyError, f"{key} {keys.fingerprint(key)}")
    paste = said.splitlines()[-1]
    with hosts.connect(without(conn, **json.loads(paste))) as host:
        assert host.sh("echo here")[0] == 0


def test_without_a_host_key_nothing_is_logged_in_to(server, conn):
    before = server.log.read_text().count("Accepted")
    fails(without(conn, "host_key"), HostKeyError)
    assert server.log.read_text().count("Accepted") == before


def test_another_host_key_is_refused_with_both_fingerprints(tmp_path, server, conn, monkeypatch):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    other = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    # The worker's own known_hosts has the right one: the connection's word is what counts.
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "known_hosts").write_text(f"[{server.host}]:{server.port} {ed25519(server)}\n")
    fails(without(conn, host_key=other), HostKeyError, keys.fingerprint(other), keys.fingerprint(ed25519(server)))


@pytest.mark.parametrize("name", ["no_host_key_check", "ignore_hostkey_verification", "allow_host_key_change"])
def test_host_keys_are_always_checked(conn, name):
    fails(without(conn, **{name: True}), ConfigError, name, "always checks host keys")


def test_a_wrong_key_is_refused_for_good(tmp_path, server, conn):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    before = server.log.read_text().count("Connection from")
    fails(
        without(conn, look_for_keys="false", private_key=(tmp_path / "key").read_text()),
        AuthenticationError,
        f"login {conn.login!r}",
        "key",
    )
    assert server.log.read_text().count("Connection from") == before + 1
    assert issubclass(AuthenticationError, Permanent)


def test_a_connection_without_any_secret(conn, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    fails(without(conn, "private_key"), AuthenticationError, "neither a password nor a key")


def test_key_files_and_passphrases(tmp_path, server, conn):
    with hosts.connect(without(conn, "private_key", key_file=str(server.client_key))) as host:
        assert host.sh("exit 0")[0] == 0
    locked = tmp_path / "locked"
    locked.write_text(server.private_key)
    locked.chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-f", locked], check=True)
    for extra in ({"key_file": str(locked)}, {"private_key": locked.read_text().replace("\n", "\r\n")}):
        with hosts.connect(without(conn, *({"private_key"} - set(extra)), private_key_passphrase="open sesame", **extra)) as host:
            assert host.sh("exit 0")[0] == 0
    fails(without(conn, private_key=locked.read_text()), ConfigError, "`private_key_passphrase`")
    fails(without(conn, "private_key", key_file=str(locked)), AuthenticationError, "`private_key_passphrase`")
    fails(without(conn, "private_key", key_file="/not/there"), ConfigError, "/not/there", "`key_file`")


def test_nobody_listens(conn):
    port = free_port()
    fails(replace(conn, port=port), ConnectionFailed, f"127.0.0.1:{port}", "refused")
    fails(without(replace(conn, port=port), "host_key"), ConnectionFailed, f"127.0.0.1:{port}", "refused")
    assert issubclass(ConnectionFailed, Transient)


def test_an_unknown_name(conn):
    fails(replace(conn, host="no-such-host.invalid"), ConnectionFailed, "no-such-host.invalid", "name is unknown")


def test_a_server_that_says_nothing(conn):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        fails(without(replace(conn, port=port), conn_timeout=1), ConnectionFailed, f"127.0.0.1:{port}")


def test_a_server_that_drops_connections_is_tried_again(tmp_path, conn):
    with sshd(tmp_path / "busy", options=["MaxStartups 1:100:1", "LoginGraceTime 60"]) as busy:
        target = plain(busy)
        # The one place may still be taken by the connection that saw the server start.
        with until(lambda: _served(busy), "a place at the server") as blocker:
            fails(target, logins.Dropped, "MaxStartups")
            threading.Timer(1.0, blocker.close).start()
            with hosts.connect(target, patience=20) as host:
                assert host.sh("exit 3")[0] == 3


def _served(server):
    """A connection that the server has greeted and now waits for, or None if it had no place for it."""
    held = socket.create_connection((server.host, server.port))
    with contextlib.suppress(OSError):
        if held.recv(4) == b"SSH-":
            return held
    held.close()
    return None


def test_something_that_is_no_sshd(conn):
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer():
            with contextlib.suppress(OSError), other.accept()[0] as peer:
                peer.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        fails(replace(conn, port=other.getsockname()[1]), ConnectionFailed, "before a login")


def test_a_proxy_command_is_gone_through_and_never_deferred(tmp_path, server, conn, monkeypatch):
    (tmp_path / ".ssh").mkdir()
    pipe = "import os,socket,sys,threading as t;s=socket.create_connection((sys.argv[1],int(sys.argv[2])));"
    pipe += "t.Thread(target=lambda:[s.sendall(d) for d in iter(lambda:os.read(0,65536),b'')],daemon=True).start();"
    pipe += "[os.write(1,d) for d in iter(lambda:s.recv(65536),b'')]"
    (tmp_path / "pipe.py").write_text(pipe.replace(";", "\n"))
    lines = f"Host behind\n  ProxyCommand python3 {tmp_path}/pipe.py {server.host} {server.port}\nHost broken\n  ProxyCommand false\n"
    (tmp_path / ".ssh" / "config").write_text(lines)
    monkeypatch.setenv("HOME", str(tmp_path))
    behind = replace(conn, host="behind")
    with hosts.connect(behind) as host:
        assert host.sh("echo through")[1] == b"through\n"
    assert hooks.deferrable(conn)
    assert not hooks.deferrable(behind)
    fails(replace(conn, host="broken"), ConnectionFailed)
    assert not hooks.deferrable(without(conn, ciphers=["aes128-ctr"]))


def test_options_of_the_provider_work(server, conn):
    with hosts.connect(without(conn, ciphers=["aes256-ctr"], compress="false", conn_timeout="5", look_for_keys="false")) as host:
        transport = host.client.get_transport()
        assert transport.remote_cipher == "aes256-ctr"
        assert transport.remote_compression == "none"


def test_wrong_connections_are_configuration_errors(conn):
    fails(replace(conn, conn_type="http"), ConfigError, "'http'")
    fails(replace(conn, host=""), ConfigError, "no host")
    fails(without(conn, host_key="nonsense"), ConfigError, "is not a host key")
    fails(without(conn, conn_timeout="soon"), ConfigError, "soon")


def test_a_connection_is_read_from_airflow(server, monkeypatch):
    made = ssh_connection(server)
    monkeypatch.setenv("AIRFLOW_CONN_HERE", json.dumps(made))
    monkeypatch.setenv("AIRFLOW_CONN_TORN", json.dumps({**made, "extra": '{"host_key": '}))
    monkeypatch.setenv("AIRFLOW_CONN_LIST", json.dumps({**made, "extra": '["host_key"]'}))
    read = hooks.connection("here")
    assert (read.host, read.port, read.login, dict(read.extra)) == (made["host"], made["port"], made["login"], made["extra"])
    assert server.private_key not in repr(read)
    assert asyncio.run(hooks.connection_async("here")) == read
    with hosts.connect(read) as host:
        assert host.sh("exit 0")[0] == 0
    for name in ("torn", "list"):
        with pytest.raises(ConfigError, match=f"connection '{name}': its extra is not a JSON object"):
            hooks.connection(name)


def test_a_connection_that_is_not_there_says_how_to_make_it():
    for read in (hooks.connection, lambda name: asyncio.run(hooks.connection_async(name))):
        with pytest.raises(ConfigError, match="there is no connection 'gone'; make it under Admin > Connections"):
            read("gone")


def test_the_triggerer_logs_in_likewise(server, conn):
    async def run(connection):
        async with await hooks.connect_async(connection) as session:
            return (await session.run("echo here")).stdout

    assert asyncio.run(run(conn)) == "here\n"
    for key in server.host_keys:
        assert asyncio.run(run(without(conn, host_key=key))) == "here\n"
    assert asyncio.run(run(without(conn, "private_key", key_file=str(server.client_key)))) == "here\n"
    with pytest.raises(ConfigError, match="no `host_key`"):
        asyncio.run(run(without(conn, "host_key")))
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        asyncio.run(run(without(conn, host_key=keys.host_keys(_other_key(server), "x")[0])))


def _other_key(server):
    path = server.directory / "other_key"
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path.with_name("other_key.pub").read_text()


@needs_root
@pytest.mark.root
def test_a_password(tmp_path):
    with account("/bin/sh") as person, sshd(tmp_path / "server", account=person) as server:
        conn = plain(server, **ssh_connection(server, password=person.password))
        with hosts.connect(conn) as host:
            assert host.sh("id -un")[1].decode().strip() == person.name
        fails(replace(conn, password="Wr0ng-one"), AuthenticationError, f"login {person.name!r}", "password")
        fails(replace(conn, login="nobody-here"), AuthenticationError, "'nobody-here'")
