"""The image of source and target: who may log in, what a login finds there, and what the image never holds."""

from __future__ import annotations

import contextlib
import io
import json
import re
import secrets
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko
import pytest

from lab.processes import until
from tests.e2e.stack.compose import HOST_IMAGE, docker, run

KEY, LOGINS, PASSWORD_FILE = "/secrets/ssh_host_ed25519_key", "/secrets/authorized_keys", "/secrets/password"
TOOLS = ("rsync", "rclone", "ssh", "inotifywait", "flock", "setsid", "sha256sum", "getfacl", "getfattr", "openssl")
# What a host can do without: the stack may take it away.
HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+(?:[A-Za-z0-9+/=]{20,}\s+)")


@dataclass(frozen=True)
class Host:
    """A running container of the image, its host key known."""

    name: str
    port: int
    known_hosts: Path
    key: Path

    def ssh(self, command: str, user: str = "files", key: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command as a client would, with a key and nothing else."""
        options = {"IdentitiesOnly": "yes", "BatchMode": "yes", "StrictHostKeyChecking": "yes", "UserKnownHostsFile": self.known_hosts}
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        where = ("-p", str(self.port), f"{user}@127.0.0.1", command)
        return run("ssh", "-F", "/dev/null", "-i", str(key or self.key), *words, *where, check=False, timeout=60)

    def sh(self, command: str) -> str:
        """Run a command that must succeed in a session of its own, and return what it printed."""
        done = self.ssh(command)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @contextlib.contextmanager
    def transport(self) -> Iterator[paramiko.Transport]:
        """A connection of the library that the worker has, before any login."""
        with contextlib.closing(paramiko.Transport(("127.0.0.1", self.port))) as transport:
            transport.start_client(timeout=20)
            yield transport

    def exec(self, *argv: str) -> str:
        return docker("exec", self.name, *argv)

    def processes(self) -> list[list[str]]:
        """Each process but this look at them: whose it is, its state, and its program."""
        lines = docker("exec", "--user", "1000", self.name, "ps", "-eo", "uid=,stat=,comm=").splitlines()
        return [words for words in map(str.split, lines) if words[2] != "ps"]

    def programs(self) -> set[str]:
        return {program for _, _, program in self.processes()}

    def log(self) -> str:
        done = run("docker", "logs", self.name)
        return done.stdout + done.stderr


@dataclass(frozen=True)
class Bench:
    """What the containers of these tests share: a network, the client's keys, and a prefix for all names."""

    prefix: str
    directory: Path

    @property
    def key(self) -> Path:
        return self.directory / "client"

    def volume(self) -> str:
        return docker("volume", "create", "--label", self.prefix, f"{self.prefix}-{secrets.token_hex(4)}").strip()

    def secrets(self, script: str = ":") -> str:
        """A volume as the stack's service `secrets` makes it, and then a script over it as root."""
        volume = self.volume()
        whole = f"cd /secrets && tar x && chown 1000:1000 * && chmod 0400 * && chmod 0444 authorized_keys && {script}"
        self.fill(volume, "/secrets", whole, {Path(KEY).name: self.directory / "host", Path(LOGINS).name: self.directory / "client.pub"})
        return volume

    def fill(self, volume: str, at: str, script: str, files: dict[str, Path] | None = None) -> None:
        """Run a script as root over a volume, with a tar of files as its standard input."""
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            for name, path in (files or {}).items():
                tar.add(path, name)
        argv = [
            "docker",
            "run",
            "--rm",
            "-i",
            "--user",
            "root",
            "--network",
            "none",
            "-v",
            f"{volume}:{at}",
            HOST_IMAGE,
            "sh",
            "-euc",
            script,
        ]
        # 125 is the engine's own word, that it could not start the container: seen once in hundreds, and no matter of the image.
        for _ in range(2):
            done = subprocess.run(argv, input=data.getvalue(), check=False, capture_output=True, timeout=120)
            if done.returncode != 125:
                break
        assert done.returncode == 0, done.stderr

    def options(self, volume: str | None, *options: str) -> tuple[str, ...]:
        mount = ("-v", f"{volume}:/secrets:ro") if volume else ()
        return ("--label", self.prefix, "--network", self.prefix, *mount, *options)

    @contextlib.contextmanager
    def host(self, volume: str, *options: str) -> Iterator[Host]:
        """A running host, until the end of the block."""
        name = f"{self.prefix}-{secrets.token_hex(4)}"
        docker("run", "-d", "--name", name, "-p", "127.0.0.1::2222", *self.options(volume, *options), HOST_IMAGE)
        try:
            yield self.reach(name)
        finally:
            docker("rm", "-f", "-v", name)

    def reach(self, name: str) -> Host:
        """A host that has just been started, once it answers."""
        ports = json.loads(docker("inspect", "--format", "{{json .NetworkSettings.Ports}}", name))
        assert ports, docker("logs", name)
        port = int(ports["2222/tcp"][0]["HostPort"])

        def greets() -> bool:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
                return connection.recv(4) == b"SSH-"
            return False

        until(greets, f"sshd of {name}", timeout=30)
        known_hosts = self.directory / f"known_hosts-{name}-{port}"
        known_hosts.write_text(f"[127.0.0.1]:{port} {(self.directory / 'host.pub').read_text()}")
        return Host(name, port, known_hosts, self.key)

    def refusal(self, volume: str | None, *options: str) -> str:
        """What a host says that does not start: one line, on standard error alone."""
        done = run("docker", "run", "--rm", *self.options(volume, *options), HOST_IMAGE, check=False, timeout=60)
        assert done.returncode == 1, done
        assert not done.stdout
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr


@pytest.fixture(scope="module")
def bench(images: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(f"fs-sync-host-test-{secrets.token_hex(4)}", tmp_path_factory.mktemp("host"))
    for name in ("client", "stranger", "host"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(bench.directory / name))
    docker("network", "create", "--label", bench.prefix, bench.prefix)
    try:
        yield bench
    finally:
        label = f"label={bench.prefix}"
        for container in docker("ps", "-aq", "--filter", label).split():
            docker("rm", "-f", "-v", container)
        for volume in docker("volume", "ls", "-q", "--filter", label).split():
            docker("volume", "rm", "-f", volume)
        docker("network", "rm", bench.prefix)


@pytest.fixture(scope="module")
def host(bench: Bench) -> Iterator[Host]:
    """A host as the stack has it, with nothing that it can do without."""
    with bench.host(bench.secrets(), *HARDENED, "-v", f"{bench.volume()}:/home/files", "-e", "DEMO_FILES=1") as host:
        yield host


@pytest.fixture(scope="module")
def by_password(bench: Bench) -> Iterator[tuple[Host, str]]:
    """A host that was asked for a password, and the password."""
    password = f" it's a:{secrets.token_hex(8)} "
    volume = bench.secrets("cat >/dev/null; :")
    file = bench.directory / "password"
    file.write_text(f"{password}\n")
    bench.fill(volume, "/secrets", "cd /secrets && tar x && chown root:root password && chmod 0400 password", {"password": file})
    with bench.host(volume, "--user", "root", "-e", f"HOST_PASSWORD_FILE={PASSWORD_FILE}") as host:
        yield host, password


# Who may log in


def test_a_login_by_key_is_the_user_files_with_a_sane_environment(host: Host) -> None:
    printed = host.sh('id -un; id -u; id -g; pwd; echo "$HOME"; echo "$PATH"; umask; touch ~/mine; stat -c %u:%g:%a ~/mine').splitlines()
    assert printed[:5] == ["files", "1000", "1000", "/home/files", "/home/files"]
    assert {"/usr/local/bin", "/usr/bin", "/bin"} <= set(printed[5].split(":"))
    assert printed[6:] == ["0022", "1000:1000:644"]


def test_a_login_finds_every_tool_of_a_job(host: Host) -> None:
    assert len(host.sh(f"command -v {' '.join(TOOLS)}").splitlines()) == len(TOOLS)
    assert "rclone v1." in host.sh("rclone version")


def test_sftp_works(host: Host) -> None:
    with host.transport() as transport:
        transport.auth_publickey("files", paramiko.Ed25519Key.from_private_key_file(str(host.key)))
        sftp = paramiko.SFTPClient.from_transport(transport)
        assert sftp is not None
        sftp.putfo(io.BytesIO(b"text"), "by-sftp")
        assert sftp.normalize(".") == "/home/files"
        assert sftp.stat("by-sftp").st_mode == 0o100644
    assert host.sh("cat by-sftp") == "text"


def test_a_password_is_not_even_asked_for(host: Host) -> None:
    with host.transport() as transport, pytest.raises(paramiko.BadAuthenticationType) as refused:
        transport.auth_password("files", "files", fallback=False)
    assert refused.value.allowed_types == ["publickey"]


def test_a_wrong_key_is_refused_and_does_not_lock_out_the_right_one(bench: Bench, host: Host) -> None:
    for _ in range(6):
        refused = host.ssh("true", key=bench.directory / "stranger")
        assert refused.returncode == 255
        assert "Permission denied (publickey)" in refused.stderr
    assert host.sh("echo in") == "in"


def test_root_is_refused(host: Host, by_password: tuple[Host, str]) -> None:
    for server in (host, by_password[0]):
        refused = server.ssh("true", user="root")
        assert refused.returncode == 255
        assert "Permission denied" in refused.stderr
        # Whatever key or password it had brought.
        assert re.search("User root from .* not allowed because not listed in AllowUsers", server.log())
    server, password = by_password
    with server.transport() as transport, pytest.raises(paramiko.AuthenticationException):
        transport.auth_password("root", password, fallback=False)


def test_a_password_works_where_it_was_asked_for(by_password: tuple[Host, str]) -> None:
    host, password = by_password
    with host.transport() as transport:
        transport.auth_password("files", password, fallback=False)
        channel = transport.open_session()
        channel.exec_command("id -u; umask; command -v rclone")
        assert channel.makefile().read().split() == [b"1000", b"0022", b"/usr/local/bin/rclone"]
    for wrong in (password.strip(), "", "files"):
        with host.transport() as transport, pytest.raises(paramiko.AuthenticationException):
            transport.auth_password("files", wrong, fallback=False)
    assert host.sh("id -u") == "1000"


def test_a_password_stands_nowhere(by_password: tuple[Host, str]) -> None:
    host, password = by_password
    seen = (docker("inspect", host.name), host.log(), host.exec("sh", "-c", "cat /proc/*/cmdline /proc/*/environ; cat /etc/shadow"))
    assert not [text for text in seen if password.strip() in text]


# What runs


def test_nothing_runs_as_root(bench: Bench, host: Host) -> None:
    """Neither by default nor where the container is started as root without need."""
    with bench.host(bench.secrets(), "--user", "root") as other:
        for server in (host, other):
            with server.transport():
                processes = server.processes()
            assert {program for _, _, program in processes} >= {"tini", "sshd", "sshd-session"}
            assert {uid for uid, _, _ in processes} == {"1000"}
        assert other.sh("id -un; pwd; umask").split() == ["files", "/home/files", "0022"]


def test_a_detached_process_outlives_its_session(host: Host) -> None:
    pid = host.sh(
        "setsid -f sh -c 'echo $$ >~/detached; exec sleep 1000' </dev/null >/dev/null 2>&1; until [ -s ~/detached ]; do sleep 0.1; done; cat ~/detached"
    )
    until(lambda: "sshd-session" not in host.programs(), "the end of the session")
    assert host.sh(f"ps -o ppid=,comm= -p {pid}").split() == ["1", "sleep"]
    host.sh(f"kill {pid}")


def test_what_a_job_leaves_is_reaped(host: Host) -> None:
    """The parents of these processes end before they do, and nobody but the container's init is left to wait for them."""
    host.sh("for i in 1 2 3 4 5; do setsid -f sh -c 'sleep 0.3 & exec sleep 0.1' </dev/null >/dev/null 2>&1; done")
    until(lambda: "sleep" not in host.programs(), "the end of the processes", timeout=10)
    assert not [process for process in host.processes() if process[1].startswith("Z")]


def test_the_health_check_tells_a_host_that_listens(bench: Bench, host: Host) -> None:
    check = json.loads(docker("inspect", "--format", "{{json .Config.Healthcheck.Test}}", HOST_IMAGE))
    assert check[0] == "CMD"
    before = host.log()
    host.exec(*check[1:])
    assert host.log() == before
    argv = ("docker", "run", "--rm", "--network", "none", "--entrypoint", check[1], HOST_IMAGE)
    assert run(*argv, check=False).returncode != 0


def test_it_stops_at_once_and_starts_again(bench: Bench) -> None:
    with bench.host(bench.secrets()) as host:
        host.sh("setsid -f sleep 1000 </dev/null >/dev/null 2>&1")
        began = time.monotonic()
        docker("stop", "-t", "20", host.name)
        assert time.monotonic() - began < 8
        docker("start", host.name)
        assert bench.reach(host.name).sh("echo up") == "up"


# What is missing


@pytest.mark.parametrize(
    "script, said",
    [
        (f"rm {KEY}", f"{KEY} is missing: mount the volume"),
        (f"rm {LOGINS}", f"{LOGINS} is missing: mount the volume"),
        (f": >{LOGINS}", f"{LOGINS} is not a file, or is empty"),
        (f"chown root {KEY}", f"{KEY} can't be read by the user files: chown it to 1000:1000"),
        (f"chmod 0644 {KEY}", f"{KEY} can be read by others than its owner: chmod it to 0400"),
        (f"echo nonsense >{KEY}", f"{KEY} is no private key without a passphrase"),
        (f"rm {KEY}; ssh-keygen -q -t ecdsa -N '' -f {KEY}; chown 1000 {KEY}", f"{KEY} is ecdsa-sha2-nistp256, but must be Ed25519"),
        (f"chmod 0666 {LOGINS}", f"{LOGINS} can be changed by others"),
        ("chmod 0700 /secrets", "/secrets can't be entered by the user files: chmod it to 0755"),
        ("chown 1234 /secrets", "/secrets can be changed by others"),
    ],
)
def test_a_secret_that_is_not_right_is_one_line(bench: Bench, script: str, said: str) -> None:
    assert bench.refusal(bench.secrets(script)).startswith(f"fs-sync-host: {said}")


@pytest.mark.parametrize(
    "options, said",
    [
        (
            ("--user", "root", "-e", f"HOST_PASSWORD_FILE={PASSWORD_FILE}"),
            f"HOST_PASSWORD_FILE={PASSWORD_FILE} is no file that can be read",
        ),
        (("--user", "root", "-e", f"HOST_PASSWORD_FILE={LOGINS}", "--read-only"), "the password of HOST_PASSWORD_FILE can't be set"),
        (("--user", "root", "-e", "HOST_PASSWORD_FILE=/etc/passwd"), "HOST_PASSWORD_FILE=/etc/passwd must hold the password in one line"),
        (("-e", f"HOST_PASSWORD_FILE={LOGINS}"), "HOST_PASSWORD_FILE is set, but only root can check a password"),
        (("--user", "4711"), "the container runs as uid 4711"),
        (("--tmpfs", "/home/files:mode=0755,uid=0"), "/home/files can't be written by the user files"),
        (("--tmpfs", "/home/files:size=1m,uid=1000", "-e", "DEMO_FILES=1"), "the sample tree can't be made"),
    ],
)
def test_a_host_that_is_set_up_wrongly_is_one_line(bench: Bench, options: tuple[str, ...], said: str) -> None:
    assert bench.refusal(bench.secrets(), *options).startswith(f"fs-sync-host: {said}")


def test_another_command_runs_in_the_home(images: None) -> None:
    assert docker("run", "--rm", "--network", "none", HOST_IMAGE, "sh", "-c", "pwd; id -u").split() == ["/home/files", "1000"]


def test_no_volume_at_all_is_one_line(bench: Bench) -> None:
    assert bench.refusal(None).startswith(f"fs-sync-host: {KEY} is missing")


# The sample tree


def test_the_sample_tree_is_made_once_and_is_the_users_from_then_on(bench: Bench) -> None:
    home, volume = bench.volume(), bench.secrets()
    # What a start that was cut off left.
    bench.fill(home, "/home/files", "cd ~files && mkdir .outbox.new && touch .outbox.new/half && chown -R files: .outbox.new")
    listing = (
        "cd ~/outbox && find . -printf '%y %s %T@ %p\\n' | LC_ALL=C sort && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum"
    )
    options = ("-v", f"{home}:/home/files", "-e", "DEMO_FILES=1")
    with bench.host(volume, *options) as host:
        first = host.sh(listing)
        kinds = [line[0] for line in first.splitlines()]
        assert 25 <= int(host.sh("find ~/outbox -type f | wc -l")) <= 40
        assert kinds.count("l") == 1
        assert int(host.sh("find ~/outbox -type f -size +18M | wc -l")) == 1
        assert host.sh("find ~/outbox -type d -empty") == "/home/files/outbox/empty"
        for awkward in ("it's a quote.txt", 'say "hi".txt', "/-rf", "東京.txt", "café.txt", "$(date).txt", "read me.txt", "back\\slash"):
            assert awkward in first
        assert "half" not in host.sh("ls -A ~ ~/outbox")
        assert ".outbox.new" not in host.sh("ls -A ~")
        host.sh("cd ~/outbox && echo mine >'read me.txt' && rm big.bin && mkdir new")
        changed = host.sh(listing)
        docker("restart", "-t", "5", host.name)
        assert bench.reach(host.name).sh(listing) == changed != first
    with bench.host(volume, *options) as host:
        assert host.sh(listing) == changed
        host.sh("rm -r ~/outbox && ln -s nowhere ~/outbox")
        docker("restart", "-t", "5", host.name)
        host = bench.reach(host.name)
        assert host.sh("readlink ~/outbox; rm ~/outbox") == "nowhere"
        docker("restart", "-t", "5", host.name)
        assert bench.reach(host.name).sh(listing) == first
    with bench.host(volume, "-v", f"{bench.volume()}:/home/files") as host:
        assert "outbox" not in host.sh("ls -A ~")


# What the image holds


def test_no_layer_holds_a_secret(images: None, tmp_path: Path) -> None:
    archive = tmp_path / "image.tar"
    docker("save", "-o", str(archive), HOST_IMAGE)
    keys, hashes, lists = [], [], []
    with tarfile.open(archive) as image:
        manifest = json.load(image.extractfile("manifest.json") or io.BytesIO())
        for layer in manifest[0]["Layers"]:
            with tarfile.open(fileobj=image.extractfile(layer)) as files:
                for member in files:
                    name = member.name.removeprefix("./")
                    if re.search(r"(^|/)(ssh_host_\w*key|authorized_keys|id_(rsa|ecdsa|ed25519)|known_hosts)(\.pub)?$", name):
                        keys.append(name)
                    if name.startswith("var/lib/apt/lists/") and member.isfile() and member.size:
                        lists.append(name)
                    content = files.extractfile(member) if member.isfile() else None
                    if content is None:
                        continue
                    text = content.read()
                    if PRIVATE_KEY.search(text):
                        keys.append(name)
                    if re.fullmatch(r"etc/g?shadow-?", name):
                        hashes += [line for line in text.splitlines() if line.split(b":")[1] not in (b"", b"*", b"!", b"!*")]
    assert (keys, hashes, lists) == ([], [], [])


def test_its_history_and_its_configuration_hold_no_secret(images: None) -> None:
    shown = docker("history", "--no-trunc", HOST_IMAGE) + docker("inspect", HOST_IMAGE)
    assert not re.search(r"PRIVATE KEY|ssh-ed25519 AAAA|passw(or)?d=|://[^/\s]*@", shown, re.I)
    config = json.loads(docker("inspect", "--format", "{{json .Config}}", HOST_IMAGE))
    assert [line.partition("=")[0] for line in config["Env"]] == ["PATH"]
    assert config["User"] == "1000:1000"
    assert not config.get("Volumes")
