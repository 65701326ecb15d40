"""A host over SSH for the worker: run a text, start a job, watch it, kill it, within a time and with every byte counted."""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import paramiko

from fs_sync import job as jobs
from fs_sync import logins
from fs_sync.credentials import LOCAL
from fs_sync.errors import ConnectionFailed, FsSyncError, SourceError, ToolFailed
from fs_sync.records import printable

if TYPE_CHECKING:
    from fs_sync.credentials import PlainConnection

ANSWER = 60.0  # seconds in which a command of ours has to end, or a watch to answer
LINGER = 5.0  # seconds that the output of an ended command may still come
PROBE = 5.0
BLOCK = 65536
# Said by sh before anything else; a login shell's own greeting comes first, and may not end its line.
BEGIN = b"\nfs-sync begin\n"
PREFACE = b"printf '\\nfs-sync begin\\n'\n"
SHELL = "exec sh"
# The first packets of SFTP, version 3: what an account forced to it answers, whatever command it is given.
SFTP_HELLO = b"\0\0\0\5\1\0\0\0\3"
SFTP_ANSWER = re.compile(rb"\x00\x00..\x02\x00\x00\x00", re.DOTALL)  # so long, its kind, version 3 or less


@contextlib.contextmanager
def connect(conn: PlainConnection, patience: float = logins.DROPPED_FOR) -> Iterator[Host]:
    """Given an ssh Connection, log in and give the Host until the end of the block; for the worker's own, what needs no login."""
    if conn.conn_type == LOCAL:
        yield Here()
        return
    client = logins.login(conn, patience)
    try:
        yield Host(client, f"connection {conn.conn_id!r}, {conn.host}:{conn.port or 22}")
    finally:
        _leave(client)


def _leave(client: paramiko.SSHClient) -> None:
    """Log out. A socket that is closed while an answer is on its way would be an error in the host's own log."""
    transport = client.get_transport()
    if transport is not None and transport.is_active() and isinstance(transport.sock, socket.socket):
        with contextlib.suppress(OSError):
            transport.sock.shutdown(socket.SHUT_WR)
            transport.join(PROBE)
    client.close()


@dataclass(frozen=True)
class Ran:
    """What a command said and how it ended; what the login shell said before it is apart."""

    code: int
    out: bytes
    err: bytes
    banner: bytes = b""


class Host:
    """A host that is logged in to; `bytes` is all that went over its channels, both ways."""

    def __init__(self, client: paramiko.SSHClient, name: str) -> None:
        self.client = client
        self.name = name
        self.bytes = 0

    def launch(self, job: jobs.Job, script: str, secrets: Mapping[str, str], timeout: float = ANSWER) -> jobs.Launched:
        """Start the job, or find it running or done. Raise what its launcher says."""
        return jobs.parse_launch(self.feed(jobs.launcher(job, script, secrets), timeout).out)

    def kill(self, job: jobs.Job, timeout: float = ANSWER) -> str:
        """End the job and return what was done. Raise ToolFailed if a process of it still lives."""
        ran = self.feed(jobs.killer(job), timeout)
        said = printable(ran.out.strip())
        if ran.code != 0:
            raise ToolFailed(f"{self.name}: {said or printable(ran.err.strip())}")
        return said

    @contextlib.contextmanager
    def watch(self) -> Iterator[Watch]:
        """A watch over jobs of this host until the end of the block; one exec, any number of looks."""
        with self.open(jobs.watch_command()) as channel:
            yield Watch(self, channel)

    def sh(self, text: str, timeout: float = ANSWER) -> tuple[int, bytes, bytes]:
        """Run a text by sh, whatever the login shell is, and return its exit code, output and errors. No secrets in it."""
        # One group, so that of a text which was cut off nothing runs, and no command in it eats the rest.
        ran = self.feed(b"{\n" + text.encode("utf-8", "surrogateescape") + b"\n} </dev/null\n", timeout)
        return ran.code, ran.out, ran.err

    def feed(self, stdin: bytes, timeout: float = ANSWER) -> Ran:
        """Run `exec sh` with these bytes on its stdin. Raise SourceError if the login gives no shell."""
        with self.open(SHELL) as channel:
            # A login that closes at once is known by how it ended, which is read all the same.
            with contextlib.suppress(OSError):
                self.send(channel, PREFACE + stdin)
                channel.shutdown_write()
            code, out, err = self._drain(channel, timeout)
        banner, mark, rest = out.partition(BEGIN)
        if not mark:
            raise self._no_shell(code, out, err)
        return Ran(code, rest, err, banner)

    @contextlib.contextmanager
    def open(self, command: str) -> Iterator[Any]:
        """A channel, or what serves as one, that runs a command. Raise ConnectionFailed if the host gives none."""
        channel = None
        try:
            transport = self.client.get_transport()
            if transport is None:
                raise EOFError("the connection is closed")
            channel = transport.open_session(timeout=ANSWER)
            channel.settimeout(ANSWER)
            channel.exec_command(command)
            self.bytes += len(command)
        except (paramiko.SSHException, OSError, EOFError) as error:
            if channel is not None:
                channel.close()
            raise ConnectionFailed(
                f"{self.name}: the host opens no session ({error or 'the connection broke'}); it is tried again"
            ) from None
        try:
            yield channel
        finally:
            channel.close()

    def send(self, channel: Any, data: bytes) -> None:
        """Send all of it, counted."""
        self.bytes += len(data)
        channel.sendall(data)

    def _drain(self, channel: paramiko.Channel, timeout: float) -> tuple[int, bytes, bytes]:
        """All that a command says until it has ended. Raise ConnectionFailed if it does not end in time."""
        out, err = bytearray(), bytearray()
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(channel, selectors.EVENT_READ)
            while True:
                if channel.recv_ready():
                    out += channel.recv(BLOCK)
                elif channel.recv_stderr_ready():
                    err += channel.recv_stderr(BLOCK)
                elif channel.closed or (channel.eof_received and channel.exit_status_ready()):
                    break
                elif time.monotonic() > deadline:
                    if channel.exit_status_ready():
                        break  # something that outlives the command holds its output open
                    raise ConnectionFailed(f"{self.name}: the host did not answer within {timeout:.0f} s; it is tried again")
                elif channel.exit_status_ready():
                    deadline = min(deadline, time.monotonic() + LINGER)
                    selector.select(0.05)
                elif channel.eof_received:
                    channel.status_event.wait(0.5)  # the descriptor stays ready after the end of the output
                else:
                    selector.select(min(1.0, max(0.0, deadline - time.monotonic())))
        self.bytes += len(out) + len(err)
        return (channel.recv_exit_status() if channel.exit_status_ready() else -1), bytes(out), bytes(err)

    def _no_shell(self, code: int, out: bytes, err: bytes) -> FsSyncError:
        """The error for a login that did not run our `sh`."""
        transport = self.client.get_transport()
        if code == -1 and (transport is None or not transport.is_active()):
            return ConnectionFailed(f"{self.name}: the connection broke before the host answered; it is tried again")
        mend = (
            "fs-sync runs its scripts there, so this login needs a shell: give it one, or name a login that has one; "
            "an account for SFTP alone can be the target of fs_sync_rclone, and either end of fs_sync_rclone_worker, "
            "by which the bytes pass the worker"
        )
        if b"sftp connections only" in out + err or self._speaks_sftp():
            return SourceError(f"{self.name}: the login serves SFTP only; {mend}")
        said = printable((err.strip() or out.strip())[-300:]) or "nothing"
        return SourceError(f"{self.name}: the login did not run `{SHELL}`: it ended with exit code {code} and said {said!r}; {mend}")

    def _speaks_sftp(self) -> bool:
        """Whether a command of this login is answered by an SFTP server."""
        try:
            with self.open(SHELL) as channel:
                channel.settimeout(PROBE)
                self.send(channel, SFTP_HELLO)
                return SFTP_ANSWER.match(channel.recv(64)) is not None
        except (OSError, FsSyncError):
            return False


class Here(Host):
    """The worker as a host: the same scripts and the same answers, by its own `sh` and over no network."""

    def __init__(self) -> None:
        self.name = f"the worker {socket.gethostname()}"
        self.bytes = 0

    def send(self, channel: Any, data: bytes) -> None:
        channel.sendall(data)

    def feed(self, stdin: bytes, timeout: float = ANSWER) -> Ran:
        """Run `sh` with these bytes on its stdin."""
        try:
            done = subprocess.run(["sh"], input=stdin, capture_output=True, timeout=timeout, env=_environment(), cwd="/", check=False)
        except subprocess.TimeoutExpired:
            raise ConnectionFailed(f"{self.name} did not answer within {timeout:.0f} s; it is tried again") from None
        return Ran(done.returncode, done.stdout, done.stderr)

    @contextlib.contextmanager
    def open(self, command: str) -> Iterator[Any]:
        """A socket to a shell that runs a command."""
        ours, its = socket.socketpair()
        with ours, its:
            process = subprocess.Popen(
                ["sh", "-c", command], stdin=its.fileno(), stdout=its.fileno(), stderr=subprocess.DEVNULL, env=_environment(), cwd="/"
            )
            its.close()
            try:
                yield ours
            finally:
                ours.close()
                process.terminate()
                process.wait()


def _environment() -> dict[str, str]:
    """What a job on the worker gets of the worker's own environment: none of Airflow's settings and secrets."""
    own = {name: os.environ[name] for name in ("HOME", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR") if name in os.environ}
    # The environment's programs, rclone among them, come first.
    return {**own, "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"}


class Watch:
    """One exec on a host that answers looks at jobs."""

    def __init__(self, host: Host, channel: Any) -> None:
        self.host = host
        self.channel = channel
        self.answers = jobs.Answers()
        self.asked = 0

    def ask(self, job: jobs.Job, offset: int, timeout: float = ANSWER) -> jobs.Answer:
        """Look at a job: its state, and its log from `offset` on. Raise ConnectionFailed if no answer comes."""
        self.asked += 1
        deadline = time.monotonic() + timeout
        try:
            self.host.send(self.channel, jobs.request(self.asked, job, offset))
            while True:
                self.channel.settimeout(max(0.01, deadline - time.monotonic()))
                data = self.channel.recv(BLOCK)
                if not data:
                    raise EOFError("it ended")
                self.host.bytes += len(data)
                for answer in self.answers.feed(data):
                    if answer.id == str(self.asked):
                        return answer
        except TimeoutError:
            raise ConnectionFailed(f"{self.host.name}: the watch did not answer within {timeout:.0f} s; it is tried again") from None
        except (OSError, EOFError) as error:
            raise ConnectionFailed(f"{self.host.name}: the watch broke ({error}); it is tried again") from None
