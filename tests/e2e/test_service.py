"""The service style without Docker, as its user starts it: a file, an account for SFTP alone in a chroot, a bucket, and time."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import tree
from lab.accounts import account
from lab.airflow import REPOSITORY, USER
from lab.processes import MARK, command, free_port, marked, start, stop, until
from lab.rest import FINAL, Rest
from lab.servers import S3, Sshd, s3, sshd
from tests.e2e.secrets_search import command_lines, database, files, hits

QUICK, FULL = "fs_sync_service_quick", "fs_sync_service_full"
PASSWORD = 'it\'s #1 "$HOME" \\o/ '
MINUTE = 60

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make an account with a password and a chroot")


@dataclass
class World:
    """A server, a store, and the folder of one service; the file says how to get from the one to the other."""

    server: Sshd
    store: S3
    outbox: Path
    base: Path
    password: str

    @property
    def file(self) -> Path:
        return self.base / "my service.env"

    @property
    def place(self) -> Path:
        return self.base / "kept"

    @property
    def log(self) -> Path:
        return self.base / "service.log"

    def write(self, **other: str | None) -> None:
        """Write the file as its user does; None leaves a name out."""
        values = {
            "SFTP_HOST": self.server.host,
            "SFTP_PORT": str(self.server.port),
            "SFTP_USER": self.server.user,
            "SFTP_PASS": '"' + self.password.replace("\\", "\\\\").replace('"', '\\"') + '"',
            "SFTP_HOST_KEY": self.server.host_key,
            "SFTP_FOLDER_NAME": "/outbox",
            "S3_ENDPOINT": self.store.endpoint,
            "S3_SERVICE": "s3",
            "S3_BUCKET_NAME": "backup",
            "S3_FOLDER_NAME": "in",
            "S3_REGION": "us-east-1",
            "S3_ACCESS_KEY_ID": self.store.access_key,
            "S3_SECRET_ACCESS_KEY": self.store.secret_key,
        }
        self.file.touch(mode=0o600)
        self.file.write_text("".join(f"{name}={value}\n" for name, value in (values | other).items() if value is not None))

    def start(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "lab.service", self.file, self.place]
        return start(argv, self.log, {**os.environ, "PYTHONPATH": str(REPOSITORY)}, cwd=REPOSITORY, mark=self.base)

    def refused(self) -> str:
        """Start it with a file that can't be used; return what it says."""
        argv = [sys.executable, "-m", "lab.service", self.file, self.place]
        done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, timeout=MINUTE, check=False)
        assert done.returncode == 1
        assert done.stdout == ""
        assert not self.place.exists()
        return done.stderr

    @contextlib.contextmanager
    def running(self) -> Iterator[Rest]:
        """The service, until a Ctrl-C, which leaves nothing behind."""
        self.log.write_bytes(b"")
        process = self.start()
        try:

            def told() -> re.Match[str] | None:
                assert process.poll() is None, self.log.read_text()
                return re.search(rf"(http\S+) +login {USER} +its password is in (\S+)", self.log.read_text())

            found = until(told, "the service", timeout=3 * MINUTE, every=0.2)
            assert found is not None
            yield Rest(found[1], USER, json.loads(Path(found[2]).read_text())[USER])
            process.send_signal(signal.SIGINT)
            assert process.wait(MINUTE) == 0, self.log.read_text()
            assert marked(f"{MARK}={self.place / 'run'}\0") == []
        finally:
            stop(process, patience=MINUTE)

    def arrived(self) -> dict[bytes, str]:
        return tree.checksums(self.store.root / "backup" / "in")

    def texts(self) -> Iterator[tuple[str, bytes]]:
        """All that others could see, and all that is written."""
        yield from command_lines()
        yield str(self.log), self.log.read_bytes()
        run = self.place / "run"
        yield from ((name, text) for name, text in files(run) if not name.endswith(("airflow.db", "airflow.db-wal", "airflow.db-shm")))
        yield from database(run / "airflow" / "airflow.db")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with contextlib.ExitStack() as stack:
        person = stack.enter_context(account(shell="/usr/sbin/nologin", password=PASSWORD.strip() + secrets.token_hex(8)))
        # sshd wants each step to a chroot to be root's alone, which those to the temporary directories are not.
        root = Path(tempfile.mkdtemp(prefix="fslab-", dir="/run"))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        root.chmod(0o755)
        outbox = root / "outbox"
        outbox.mkdir()
        only_sftp = [f"ChrootDirectory {root}", "ForceCommand internal-sftp", "PubkeyAuthentication no"]
        server = stack.enter_context(sshd(tmp_path / "server", person, only_sftp))
        store = stack.enter_context(s3(tmp_path / "store"))
        store.bucket("backup")
        tree.make_tree(outbox, 20, awkward=False)
        for path in outbox.rglob("*"):
            os.chown(path, person.uid, person.gid)
        yield World(server, store, outbox, tmp_path, person.password)


def runs(rest: Rest, dag_id: str) -> list[dict[str, str]]:
    return [run for run in rest.runs(dag_id) if run["state"] in FINAL]


def test_a_file_is_all_that_it_takes(world: World) -> None:
    """The first full run at once, what is new within two minutes, no secret anywhere, and a restart that goes on."""
    keys = {"the password": world.password, "the secret key": world.store.secret_key}

    world.write(S3_REGION=None, SFTP_HOST_KEY=None, SFTP_PORT=str(world.server.port))
    world.file.chmod(0o644)
    said = world.refused()
    assert "S3_REGION is missing" in said
    assert "chmod it to 0600" in said
    assert said.splitlines()[-2].endswith(f"SFTP_HOST_KEY={world.server.host_key}")
    assert hits([("what it said", said.encode())], keys) == []
    world.file.chmod(0o600)
    world.write(SFTP_PORT=str(free_port()), SFTP_HOST_KEY=None)
    assert "the server can't be asked" in world.refused()

    world.write()
    with world.running() as rest:
        # At an even hour another one follows.
        first = until(lambda: runs(rest, FULL), "the first full run", timeout=2 * MINUTE, every=0.5)[-1]
        assert first["state"] == "success", world.log.read_text()
        assert world.arrived() == tree.checksums(world.outbox)
        assert len(world.arrived()) == 20
        tree.write(world.outbox / "new" / "it's new.txt", b"new\n", mtime_ns=None)
        until(lambda: world.arrived() == tree.checksums(world.outbox), "the new file", timeout=3 * MINUTE, every=0.5)
        until(lambda: not rest.unfinished(QUICK), "the end of the quick run", timeout=MINUTE, every=0.5)
        assert {run["state"] for run in runs(rest, QUICK)} == {"success"}
        reports = [rest.xcom(QUICK, run["dag_run_id"], "route.finish", 0) or {} for run in runs(rest, QUICK)]
        assert "quick" in {report.get("scan") for report in reports}
        # One of Airflow's processes that ends is started again.
        scheduler = min(pid for pid in marked(f"{MARK}={world.place / 'run'}\0") if b"scheduler" in command(pid))
        os.kill(scheduler, signal.SIGKILL)
        until(lambda: "scheduler ended with -9" in world.log.read_text(), "a word on it", timeout=MINUTE)
        tree.write(world.outbox / "after.txt", b"after\n", mtime_ns=None)
        until(lambda: world.arrived() == tree.checksums(world.outbox), "the file after it", timeout=4 * MINUTE, every=0.5)
        # What has nothing to copy was not switched on.
        assert rest.runs("fs_sync_rsync") == []
        assert hits(world.texts(), keys) == []
        assert (world.place.stat().st_mode & 0o777) == 0o700
        known = {run["dag_run_id"] for run in runs(rest, QUICK)}

    tree.write(world.outbox / "newer.txt", b"newer\n", mtime_ns=None)
    with world.running() as rest:
        assert known <= {run["dag_run_id"] for run in runs(rest, QUICK)}
        assert first["dag_run_id"] in {run["dag_run_id"] for run in runs(rest, FULL)}
        run_id = rest.trigger(QUICK)
        assert rest.wait(QUICK, run_id) == "success"
        until(lambda: world.arrived() == tree.checksums(world.outbox), "the newer file", timeout=MINUTE, every=0.5)
        assert hits(world.texts(), keys) == []
