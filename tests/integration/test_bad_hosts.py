"""Hosts that lack a tool, or whose login shell is no plain sh: one error that says the mend, or a copy all the same."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab import servers, tree
from lab.accounts import account
from lab.servers import Sshd, sshd
from tests.integration.driver import End, needs_root
from tests.integration.refusals import ALL, SSH, a_tree, numbers, on, refused, root, to


@pytest.fixture
def source(ends: dict[str, End]) -> Path:
    """A small tree at the source."""
    return a_tree(ends["rsync"].place.source.root / f"bad-{next(numbers)}")


# Tools


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A host with all that a host has, but for rsync and rclone; what a test puts into its bin directory it has too."""
    directory = tmp_path_factory.mktemp("bare").resolve()
    system = directory / "system"
    system.mkdir()
    for place in reversed(servers.PATH.split(":")):
        for tool in Path(place).glob("*"):
            link = system / tool.name
            link.unlink(missing_ok=True)
            if tool.name not in ("rsync", "rclone"):
                link.symlink_to(tool)
    pairs = (f"{servers.MARK}={directory}", f"PATH={directory}/bin:{system}", f"HOME={directory}/home")
    with sshd(directory, options=[f"SetEnv {' '.join(pairs)}"], tools=()) as server:
        yield server


@pytest.fixture
def fake(bare: Sshd) -> Iterator[Callable[[str, str], None]]:
    """Give the bare host a tool that only tells its version."""
    made = []

    def tool(name: str, version: str) -> None:
        path = bare.bin / name
        path.write_text(f"#!/bin/sh\necho '{version}'\n")
        path.chmod(0o755)
        made.append(path)

    yield tool
    for path in made:
        path.unlink(missing_ok=True)


def test_a_source_without_the_tool(ends: dict[str, End], source: Path, bare: Sshd) -> None:
    for name, tool, needed in (("rsync", "rsync", "3.2.3"), ("rclone", "rclone", "1.75.1"), ("minio", "rclone", "1.75.1")):
        refused(
            on(ends[name], bare), source, 106, f"{tool} is not installed on the source host {os.uname().nodename}", "install it", needed
        )


OLD = [
    ("rsync", "rsync  version 3.1.3  protocol version 31", "3.1.3"),
    ("rclone", "rclone v1.60.1-DEV", "1.60.1"),
    ("minio", "rclone v1.75.0", "1.75.0"),
    ("rclone", "what?", "unknown version"),
]


def test_a_source_whose_tool_is_too_old(ends: dict[str, End], source: Path, bare: Sshd, fake: Callable[[str, str], None]) -> None:
    for name, version, told in OLD:
        tool = "rsync" if name == "rsync" else "rclone"
        fake(tool, version)
        refused(on(ends[name], bare), source, 106, f"{tool} on the source host", told, "or later", "upgrade")


def test_a_target_without_rsync(ends: dict[str, End], source: Path, bare: Sshd, fake: Callable[[str, str], None]) -> None:
    end = to(ends["rsync"], bare)
    refused(end, source, 106, f"rsync is not installed on the target {bare.user}@127.0.0.1:{bare.port}", "install", "fs_sync_rclone")
    fake("rsync", "rsync  version 3.1.3  protocol version 31")
    refused(end, source, 106, f"rsync on the target {bare.user}@127.0.0.1:{bare.port} is 3.1.3", "3.2.3 or later", "upgrade")
    rclone = to(ends["rclone"], bare)
    assert rclone.copy(source, rclone.fresh()[0]).good().equal


def test_a_target_for_sftp_alone_is_no_target_for_rsync(ends: dict[str, End], source: Path) -> None:
    end = replace(ends["rclone-sftp"], kind=ends["rsync"].kind)
    refused(end, source, 105, "connection", "no shell and no rsync", "fs_sync_rclone")


def test_a_target_for_rsync_alone_is_no_target_for_rclone(ends: dict[str, End], source: Path) -> None:
    end = replace(ends["rsync-only"], kind=ends["rclone"].kind)
    refused(end, source, 105, "no shell and no SFTP", "fs_sync_rsync")


# Login shells


@pytest.fixture(scope="module")
def talkative(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A host whose login shell says something before it does what it is told."""
    directory = tmp_path_factory.mktemp("talkative")
    (directory / "home").mkdir()
    (directory / "home" / ".bashrc").write_text('cd "$HOME"\necho "Welcome to fs-sync shell"\necho; echo "state dir"; echo "tool x"\n')
    with sshd(directory) as server:
        yield server


def test_a_target_with_a_banner(ends: dict[str, End], source: Path, talkative: Sshd) -> None:
    refused(to(ends["rsync"], talkative), source, 105, "login shell", "prints", "fs_sync_rclone")
    end = to(ends["rclone"], talkative)
    made = end.copy(source, end.fresh()[0]).good()
    assert made.equal
    assert made.records.kind == "shell"


@pytest.mark.parametrize("name", ALL)
def test_a_source_with_a_banner(ends: dict[str, End], source: Path, talkative: Sshd, name: str) -> None:
    end = on(ends[name], talkative)
    assert end.copy(source, end.fresh()[0]).good().equal


@needs_root
@root
@pytest.mark.parametrize("shell", ["/bin/tcsh", "/usr/bin/fish"])
def test_a_login_shell_that_is_no_sh(ends: dict[str, End], tmp_path: Path, shell: str) -> None:
    with account(shell) as person, sshd(tmp_path / "server", person) as server:
        source = a_tree(server.root / "the source")
        tree.write(source / 'it\'s $(touch x) `y` !! {{ 7*7 }} \\ "z"', b"odd\n")
        for number, name in enumerate(SSH):
            # The same account at both ends, so that one login serves for the two.
            end = on(to(ends[name], server, password=person.password if number else None), server)
            target = server.root / f'{name} it\'s $HOME !x "q" \\ {{a,b}} ~ #;&'
            made = end.copy(source, str(target)).good()
            assert made.equal
            assert tree.digest(target) == tree.digest(source)
            assert not [entry for entry in os.listdir(person.home) if not entry.startswith(".")]


@root
@needs_root
def test_a_target_directory_of_another_login_gets_the_files_and_a_note(ends: dict[str, End], source: Path, tmp_path: Path) -> None:
    """Its time can't be set by who may only write there; the files are whole, so the route is green."""
    with account() as other, sshd(tmp_path / "host", account=other) as server:
        target = other.directory / "shared"
        target.mkdir()
        target.chmod(0o777)
        made = to(ends["rsync"], server).copy(source, str(target)).good()
        assert tree.checksums(target) == tree.checksums(source)
    assert "belong to another login" in "\n".join(made.records.notes)
