"""What runs behind a login: every login shell runs a job through its banner, and an account without a shell is no source."""

from dataclasses import replace

import pytest

from fs_sync import hosts, job
from fs_sync.errors import ConnectionFailed, SourceError
from lab.accounts import account
from lab.processes import until
from lab.servers import sftp_only, sshd
from tests.integration.driver import login as plain
from tests.integration.driver import needs_root


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with sshd(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def conn(server):
    return plain(server)


@pytest.mark.parametrize("command", [None, "/usr/lib/openssh/sftp-server"])
def test_an_account_for_sftp_alone_is_no_source(tmp_path, command):
    forced = sshd(tmp_path / "sftp", options=[f"ForceCommand {command}"]) if command else sftp_only(tmp_path / "sftp")
    with forced as server, hosts.connect(plain(server)) as host:
        with pytest.raises(SourceError, match=r"serves SFTP only; .* needs a shell"):
            host.sh("echo here")
        with pytest.raises(SourceError, match="serves SFTP only"):
            host.launch(_job(), "exit 0", {})


@pytest.mark.parametrize("command", ["/bin/false", "echo no shell for you", "exec true"])
def test_a_login_that_closes_at_once_is_told_apart(tmp_path, command):
    refused = pytest.raises(SourceError, match=r"did not run `exec sh`.*needs a shell")
    with sshd(tmp_path / "closed", options=[f"ForceCommand {command}"]) as server, hosts.connect(plain(server)) as host, refused:
        host.launch(_job(), "exit 0\n" + "# long\n" * 100_000, {})


def _job(route="r", run="run"):
    return job.name_job("dag", run, "nonce", "plan", route, 0, "target")


def test_a_job_is_launched_watched_and_killed(conn):
    one, other = _job("one"), _job("other")
    with hosts.connect(conn) as host, host.watch() as watch:
        assert watch.ask(one, 0).state == "missing"
        assert host.launch(one, "echo hello; put() { :; }; exit 0", {"FS_SYNC_PASSWORD": "x"}) == "started"
        answer = until(lambda: (found := watch.ask(one, 0)).ended and found, "the end of the job")
        assert (answer.state, answer.exit) == ("done", 0)
        assert b"hello" in answer.log
        assert host.launch(one, "echo hello; put() { :; }; exit 0", {}) == "attached done"
        assert host.launch(replace(other, frame=replace(other.frame, key="k2")), "sleep 60", {}) == "started"
        assert "stopped" in host.kill(other)
        assert "does not run" in host.kill(other)


def test_a_watch_that_breaks_says_so(tmp_path):
    with sshd(tmp_path / "cut") as server, hosts.connect(plain(server)) as host, host.watch() as watch:
        assert watch.ask(_job(), 0).state == "missing"
        server.drop()
        with pytest.raises(ConnectionFailed):
            until(lambda: watch.ask(_job(), 0) and None, "the watch to break", timeout=10)
        with pytest.raises(ConnectionFailed):
            host.sh("exit 0")


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("shell", ["/bin/bash", "/bin/dash", "/bin/csh", "/bin/tcsh", "/usr/bin/fish"])
def test_every_login_shell_runs_a_job_through_its_banner(tmp_path, shell):
    with account(shell) as person, sshd(tmp_path / "server", account=person) as server:
        greet = "echo 'fs-sync? welcome'; echo fs-sync begins; printf 'no end of line'\n"
        config = person.home / ".config" / "fish"
        config.mkdir(parents=True)
        for path in (person.home / ".bashrc", person.home / ".cshrc", config / "config.fish"):
            path.write_text(greet)
        with hosts.connect(plain(server)) as host, host.watch() as watch:
            assert host.sh("echo here; exit 4")[:2] == (4, b"here\n")
            assert host.launch(_job(), "echo hello; exit 0", {}) == "started"
            answer = until(lambda: (found := watch.ask(_job(), 0)).ended and found, "the end of the job")
            assert (answer.state, answer.exit) == ("done", 0)
            assert "does not run" in host.kill(_job())


@needs_root
@pytest.mark.root
@pytest.mark.parametrize("shell", ["/usr/sbin/nologin", "/bin/false"])
def test_an_account_without_a_shell_is_no_source(tmp_path, shell):
    refused = pytest.raises(SourceError, match=r"exit code 1 .*needs a shell")
    with account(shell) as person, sshd(tmp_path / "server", account=person) as server, hosts.connect(plain(server)) as host, refused:
        host.sh("echo here")
