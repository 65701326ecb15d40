"""Real servers on 127.0.0.1: OpenSSH in three kinds, and an S3 store."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.accounts import Account
from lab.processes import MARK, descendants, free_port, kill, start, stop, sweep, until

HOST = "127.0.0.1"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The default exchange of keys, which withstands quantum computers, costs 0.2 s of a processor at each login.
CONFIG = """\
ListenAddress {host}
Port {port}
{host_keys}
PidFile none
AuthorizedKeysFile {authorized_keys}
StrictModes no
UsePAM no
PasswordAuthentication {password}
KbdInteractiveAuthentication no
PubkeyAuthentication yes
PermitRootLogin yes
AllowUsers {user}
UseDNS no
KexAlgorithms curve25519-sha256,curve25519-sha256@libssh.org
PrintMotd no
X11Forwarding no
AllowTcpForwarding no
LogLevel VERBOSE
Subsystem sftp internal-sftp -d {sftp_root}
SetEnv {environment}
"""


@dataclass(frozen=True)
class Sshd:
    """A running OpenSSH server: where it listens, who may log in, and its own directories."""

    host: str
    port: int
    user: str
    host_key: str
    client_key: Path
    home: Path
    root: Path
    pid: int
    log: Path
    directory: Path
    bin: Path

    @property
    def private_key(self) -> str:
        """Return the client's private key as OpenSSH text."""
        return self.client_key.read_text()

    @property
    def known_hosts(self) -> Path:
        """Return a file with the server's host key, as ssh reads it."""
        return self.directory / "known_hosts"

    @property
    def host_keys(self) -> tuple[str, ...]:
        """Return all host keys of the server, the first one first."""
        return tuple(" ".join(path.read_text().split()[:2]) for path in sorted(self.directory.glob("host_*.pub")))

    def options(self) -> list[str]:
        """Return the options for ssh or sftp that log in here with the client's key."""
        return [
            *("-F", "/dev/null", "-i", str(self.client_key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"),
            *("-o", f"UserKnownHostsFile={_word(str(self.known_hosts))}", "-o", "StrictHostKeyChecking=yes"),
        ]

    def run(self, command: str, stdin: bytes = b"", timeout: float = 60) -> subprocess.CompletedProcess[bytes]:
        """Run a command over ssh as a client would and return what came of it."""
        argv = ["ssh", *self.options(), "-p", str(self.port), f"{self.user}@{self.host}", command]
        return subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout, check=False)

    def sessions(self) -> list[int]:
        """Return the processes of the sessions that are open now."""
        return descendants(self.pid)

    def drop(self) -> None:
        """Cut all open sessions, as a network that fails does."""
        kill(*self.sessions())


@dataclass(frozen=True)
class S3:
    """A running S3 store: its address, its key, and the directory whose folders are the buckets."""

    endpoint: str
    access_key: str
    secret_key: str
    root: Path
    port: int
    pid: int
    log: Path

    def bucket(self, name: str) -> Path:
        """Make a bucket and return its directory."""
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        return path


@dataclass(frozen=True)
class AnyKeys:
    """A running S3 store that knows no files: its address and its key."""

    endpoint: str
    access_key: str
    secret_key: str

    def put(self, bucket: str, objects: Mapping[str, bytes]) -> None:
        """Make a bucket with these objects, the keys as they are given."""
        import boto3
        from botocore.config import Config

        client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}),
        )
        client.create_bucket(Bucket=bucket)
        for key, body in objects.items():
            client.put_object(Bucket=bucket, Key=key, Body=body)


@contextlib.contextmanager
def sshd(
    directory: Path,
    account: Account | None = None,
    options: Sequence[str] = (),
    host_keys: Sequence[str] = ("ed25519",),
    tools: Sequence[str] = ("rclone",),
    port: int | None = None,
) -> Iterator[Sshd]:
    """Run an OpenSSH server until the end of the block.

    Without an account it is the caller's own login, but HOME is a directory of the server's; with one, it is the account's.
    Options are lines of sshd_config. Tools are programs of the environment that the host has beside the system's.
    """
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    private = account.directory if account else directory
    home = account.home if account else directory / "home"
    root = private / "data"
    bin_directory = private / "bin"
    for path in (home, root, bin_directory):
        path.mkdir(exist_ok=True)
        if account:
            os.chown(path, account.uid, account.gid)
    for tool in tools:
        link = bin_directory / tool
        if not link.is_symlink():
            link.symlink_to(Path(sys.executable).parent / tool)
    user = account.name if account else getpass.getuser()
    environment = [f"{MARK}={directory}", f"PATH={bin_directory}:{PATH}"]
    if not account:
        # sshd starts a command in the home of the passwd file: bash, which reads this file under sshd, is led to ours.
        bashrc = home / ".bashrc"
        if not bashrc.exists():
            bashrc.write_text('cd "$HOME" || exit\n')
        environment.append(f"HOME={home}")
    key_files = [_key(directory / f"host_{number}_{kind}", kind) for number, kind in enumerate(host_keys)]
    client_key = _key(directory / "client_key", "ed25519")
    authorized_keys = private / "authorized_keys"
    shutil.copyfile(f"{client_key}.pub", authorized_keys)
    authorized_keys.chmod(0o644)
    public = " ".join(Path(f"{key_files[0]}.pub").read_text().split()[:2])
    log = directory / "sshd.log"
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:{PATH}") or "/usr/sbin/sshd"

    def launch(number: int) -> subprocess.Popen[bytes]:
        text = CONFIG.format(
            host=HOST,
            port=number,
            host_keys="\n".join(f"HostKey {_word(str(path))}" for path in key_files),
            authorized_keys=_word(str(authorized_keys)),
            password="yes" if account and account.password else "no",
            user=user,
            sftp_root=_word(str(home)),
            environment=" ".join(_word(pair) for pair in environment),
        )
        config = directory / "sshd_config"
        config.write_text("".join(f"{line}\n" for line in options) + text)
        return start([program, "-D", "-e", "-f", config], log, mark=directory)

    process, number = _listening(launch, log, port)
    (directory / "known_hosts").write_text(f"[{HOST}]:{number} {public}\n")
    try:
        yield Sshd(HOST, number, user, public, client_key, home, root, process.pid, log, directory, bin_directory)
    finally:
        stop(process)
        sweep(directory)


@contextlib.contextmanager
def sftp_only(directory: Path, account: Account | None = None, options: Sequence[str] = ()) -> Iterator[Sshd]:
    """Run an OpenSSH server whose only service is SFTP."""
    home = account.home if account else directory.resolve() / "home"
    with sshd(directory, account, [f"ForceCommand internal-sftp -d {_word(str(home))}", *options]) as server:
        yield server


@contextlib.contextmanager
def rsync_only(directory: Path, account: Account | None = None, options: Sequence[str] = ()) -> Iterator[Sshd]:
    """Run an OpenSSH server whose only service is the far end of rsync."""
    directory.mkdir(parents=True, exist_ok=True)
    # An account may not be able to read the checkout, but its own directory.
    script = (account.directory if account else directory.resolve()) / "rsync_only.sh"
    script.write_bytes(Path(__file__).with_name("rsync_only.sh").read_bytes())
    with sshd(directory, account, [f"ForceCommand {shlex.join(['sh', str(script)])}", *options]) as server:
        yield server


@contextlib.contextmanager
def s3(directory: Path, port: int | None = None) -> Iterator[S3]:
    """Run an S3 store until the end of the block; a folder of its root is a bucket."""
    directory = directory.resolve()
    root = directory / "buckets"
    root.mkdir(parents=True, exist_ok=True)
    access_key, secret_key = f"LAB{secrets.token_hex(8).upper()}", secrets.token_hex(20)
    log = directory / "s3.log"
    rclone = Path(sys.executable).parent / "rclone"
    # The key goes by the environment, since a command line can be read by everyone.
    keys = {"RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"', "RCLONE_CONFIG": "", "HOME": str(directory), "PATH": PATH}
    # Files that a test puts into a bucket's folder itself are seen after this time; 0s makes listings hang.
    arguments = ["--dir-cache-time", "1s", "--no-unicode-normalization", "--log-level", "INFO"]

    def launch(number: int) -> subprocess.Popen[bytes]:
        # Without this encoding rclone would list a key's control characters as others than it was given.
        return start(
            [rclone, "serve", "s3", f":local,encoding=Raw:{root}", "--addr", f"{HOST}:{number}", *arguments], log, env=keys, mark=directory
        )

    process, number = _listening(launch, log, port, banner=False)
    try:
        yield S3(f"http://{HOST}:{number}", access_key, secret_key, root, number, process.pid, log)
    finally:
        stop(process)
        sweep(directory)


@contextlib.contextmanager
def s3_any_keys(directory: Path) -> Iterator[AnyKeys]:
    """Run a store whose keys may be anything, also what no file can be called, until the end of the block."""
    log = directory / "s3.log"
    program = Path(sys.executable).parent / "moto_server"

    def launch(number: int) -> subprocess.Popen[bytes]:
        return start([program, "-H", HOST, "-p", str(number)], log, env={"HOME": str(directory), "PATH": PATH}, mark=directory)

    process, number = _listening(launch, log, None, banner=False)
    try:
        yield AnyKeys(f"http://{HOST}:{number}", "any", "any-secret-key")
    finally:
        stop(process)
        sweep(directory)


def _listening(
    launch: Callable[[int], subprocess.Popen[bytes]], log: Path, port: int | None, banner: bool = True
) -> tuple[subprocess.Popen[bytes], int]:
    """Launch a server until it listens on a port of its own; another program may take a free port first."""
    for _ in range(5):
        number = port or free_port()
        process = launch(number)

        def ready(process: subprocess.Popen[bytes] = process, number: int = number) -> bool:
            return process.poll() is not None or _answers(number, banner)

        until(ready, f"server of {log}", timeout=20, every=0.02)
        if process.poll() is None:
            return process, number
    raise RuntimeError(f"the server did not start: {log.read_text(errors='replace')[-2000:]}")


def _answers(port: int, banner: bool) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=2) as connection:
        return not banner or connection.recv(4) == b"SSH-"
    return False


def _key(path: Path, kind: str) -> Path:
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", path], check=True, stdin=subprocess.DEVNULL)
    return path


def _word(text: str) -> str:
    """Quote a word for sshd_config, which knows double quotes."""
    return f'"{text}"' if any(character in text for character in " \t#") else text
