"""What somebody got wrong at the target or the store: one error that names it, nothing copied, the source as it was."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fs_sync import errors, keys
from lab import tree
from lab.accounts import Account, account
from lab.processes import free_port
from lab.servers import Sshd, rsync_only, sftp_only, sshd
from tests.integration.driver import End, needs_root
from tests.integration.refusals import SSH, a_tree, changed, numbers, on, refused, root, to


@pytest.fixture
def source(ends: dict[str, End]) -> Path:
    """A small tree at the source."""
    return a_tree(ends["rsync"].place.source.root / f"bad-{next(numbers)}")


def permanent(code: int) -> bool:
    return not errors.retry_helps(errors.from_exit(code, ""))


def test_which_codes_are_worth_a_retry() -> None:
    assert [code for code in sorted(errors.EXIT) if permanent(code)] == [75, 101, 102, 103, 105, 106, 107, 108, 112, 114]


# Who the target is


@pytest.mark.parametrize("name", SSH)
def test_without_a_host_key_the_offered_one_is_printed(ends: dict[str, End], source: Path, name: str) -> None:
    end = changed(ends[name], extra={"host_key": None})
    key = end.server.host_key
    said = refused(
        end, source, 103, "connection target has no host_key", key, keys.fingerprint(key), "put it into the connection's extra as host_key"
    )
    pasted = said.partition("offers  ")[2].partition("  (")[0]
    assert changed(end, extra={"host_key": pasted}).copy(source, end.fresh()[0], dry_run=True).good().counts["new"] == 2


@pytest.mark.parametrize("name", SSH)
def test_another_host_key_is_refused_and_the_offered_one_printed(ends: dict[str, End], source: Path, tmp_path: Path, name: str) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    end = changed(ends[name], extra={"host_key": (tmp_path / "key.pub").read_text()})
    key = end.server.host_key
    refused(end, source, 103, "does not show the host_key of connection target", key, keys.fingerprint(key), "correct host_key")


def test_any_key_of_the_target_is_enough(ends: dict[str, End], source: Path, tmp_path: Path) -> None:
    with sshd(tmp_path / "keys", host_keys=("rsa", "ecdsa", "ed25519")) as server:
        for name, kind in (("rsync", "ssh-ed25519"), ("rclone", "ecdsa-sha2-nistp256"), ("rsync", "ssh-rsa")):
            key = next(key for key in server.host_keys if key.startswith(kind))
            end = changed(to(ends[name], server), extra={"host_key": key})
            assert end.copy(source, end.fresh()[0], dry_run=True).good().counts["new"] == 2


# Logging in


@pytest.mark.parametrize("name", SSH)
def test_a_wrong_key_is_refused(ends: dict[str, End], source: Path, tmp_path: Path, name: str) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    end = changed(ends[name], extra={"private_key": (tmp_path / "key").read_text()})
    refused(end, source, 102, "refused the login of connection target", "its private key", end.server.user)


@pytest.fixture(scope="module")
def person() -> Iterator[Account]:
    with account() as made:
        yield made


@pytest.fixture(scope="module")
def login(person: Account, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A target whose login is an ordinary account with a password."""
    with sshd(tmp_path_factory.mktemp("login"), person) as server:
        yield server


@needs_root
@root
@pytest.mark.parametrize("name", SSH)
def test_a_wrong_password_is_refused(ends: dict[str, End], source: Path, login: Sshd, person: Account, name: str) -> None:
    end = to(ends[name], login, password="Wr0ng $one")
    refused(end, source, 102, "refused the login of connection target", "its password", person.name)
    assert changed(end, password=person.password).copy(source, end.fresh()[0]).good().equal


@pytest.mark.parametrize("name", ["rsync"])
def test_the_host_s_own_key_is_refused_by_its_name(ends: dict[str, End], source: Path, name: str) -> None:
    refused(
        ends[name],
        source,
        102,
        "refused the login of connection target",
        "the source host's own key",
        "target_auth is host",
        target_auth="host",
    )


@pytest.mark.parametrize("name", ["rsync"])
def test_nobody_listens_on_the_port(ends: dict[str, End], source: Path, name: str) -> None:
    end = changed(ends[name], port=free_port())
    locks = end.place.source.home / ".fs-sync" / "locks"
    before = {path.name for path in locks.glob("*.owner")}
    refused(end, source, 104, f":{end.connection.port}", "connection target", "can't be reached", "refused", "fs_sync_rclone_worker")
    # A plan that failed gives the route back, though it is tried again: no other run has to wait for that.
    assert {path.name for path in locks.glob("*.owner")} == before


@pytest.mark.parametrize("name", ["rclone"])
def test_a_host_name_that_is_unknown(ends: dict[str, End], source: Path, name: str) -> None:
    refused(changed(ends[name], host="no-such-host.invalid"), source, 104, "no-such-host.invalid", "connection target", "resolve")


@pytest.mark.parametrize("name", ["rsync"])
def test_something_else_than_ssh_on_the_port(ends: dict[str, End], source: Path, name: str) -> None:
    refused(changed(ends[name], port=ends[name].place.s3.port), source, 104, "connection target", "SSH")


# Paths


@pytest.mark.parametrize("name", ["rsync", "minio"])
def test_a_source_path_that_is_missing(ends: dict[str, End], source: Path, name: str) -> None:
    refused(ends[name], source / "gone", 101, str(source / "gone"), "does not exist", "source.path")


@pytest.mark.parametrize("name", ["rclone", "minio"])
def test_a_marker_that_is_missing(ends: dict[str, End], source: Path, name: str) -> None:
    refused(ends[name], source, 101, f"{source}/.mounted", "require", "mount", require=".mounted")


@pytest.mark.parametrize("name", ["rclone"])
def test_a_target_path_that_is_a_file(ends: dict[str, End], source: Path, name: str) -> None:
    target, where = ends[name].fresh()
    where.write_text("mine")
    refused(ends[name], source, 105, target, "is a file", "target.path", target=target)
    assert where.read_text() == "mine"
    # Mended, another run is not kept waiting by the one that failed.
    where.unlink()
    assert ends[name].copy(source, target).good().equal


@needs_root
@root
@pytest.mark.parametrize("name", SSH)
@pytest.mark.parametrize("below", ["", "/below"])
def test_a_target_that_may_not_be_written(ends: dict[str, End], source: Path, login: Sshd, tmp_path: Path, name: str, below: str) -> None:
    closed = closed_directory(login)
    refused(
        to(ends[name], login),
        source,
        105,
        "may not write",
        "connection target",
        str(closed),
        "give it the right",
        target=f"{closed}{below}",
    )
    assert not os.listdir(closed)


def closed_directory(login: Sshd) -> Path:
    """A directory that root owns and others may only look into."""
    path = login.root / f"closed-{next(numbers)}"
    path.mkdir(mode=0o755)
    return path


@needs_root
@root
@pytest.mark.parametrize("kind, name", [(sftp_only, "rclone-sftp"), (rsync_only, "rsync-only")])
def test_a_target_without_a_shell_that_may_not_be_written(ends: dict[str, End], source: Path, tmp_path: Path, kind: Any, name: str) -> None:
    # An account of its own: a server gives an account its own key.
    with account() as other, kind(tmp_path / "server", other) as server:
        end = to(ends[name], server)
        for below in ("", "/below"):
            closed = closed_directory(server)
            made = end.copy(source, f"{closed}{below}")
            assert made.exit == 105, f"{made.exit} {made.error}\n{made.log}"
            for text in ("may not write", "connection target", f"{closed}{below}", "ive it the right"):
                assert text in made.error
            assert not os.listdir(closed)


@needs_root
@root
@pytest.mark.parametrize("name", SSH)
def test_a_file_that_may_not_be_read_is_told_though_others_are_mended(ends: dict[str, End], login: Sshd, name: str) -> None:
    source = a_tree(login.root / f"unreadable-{next(numbers)}")
    tree.write(source / "secret", b"secret\n", mode=0o600)
    end = on(ends[name], login)
    target, where = end.fresh()
    tree.write(where / "one", b"ONE\n")
    made = end.copy(source, target, verify="all")
    assert made.exit == 101, f"{made.exit} {made.error}\n{made.log}"
    assert "1 names could not be copied: secret (Permission-denied-(sender))" in made.error
    assert "right to read" in made.error
    assert made.records.failed == (("Permission-denied-(sender)", "secret"),)
    assert tree.checksums(where) == {name: digest for name, digest in tree.checksums(source).items() if name != b"secret"}


@pytest.mark.parametrize("name", SSH)
def test_a_target_inside_the_source_or_around_it(ends: dict[str, End], source: Path, tmp_path: Path, name: str) -> None:
    end = ends[name]
    (tmp_path / "link").symlink_to(source)
    for target in (source, source / "below", source / "new" / "deep", tmp_path / "link", tmp_path / "link" / "new"):
        refused(end, source, 105, "target path", "the source path", "another target.path", target=str(target))
    inner = a_tree(source / "deep" / "inner")
    for target in (source / "deep", source):
        refused(end, inner, 105, "source path lies inside the target path", "another target.path", target=str(target))


# The store


def test_a_bucket_that_is_missing(ends: dict[str, End], source: Path) -> None:
    end = ends["minio"]
    route = end.route(source, "here")
    route = route.model_copy(update={"target": route.target.model_copy(update={"bucket": "no-such-bucket"})})
    done = end.step("plan", route, "run-no-bucket")
    assert done.exit == 105
    for text in ("bucket no-such-bucket does not exist", end.place.s3.endpoint, "target.bucket"):
        assert text in done.error
    assert not (end.place.s3.root / "no-such-bucket").exists()


@pytest.mark.parametrize("wrong", [{"password": "wr0ng" * 8}, {"login": "NOBODY"}])
def test_keys_that_the_store_refuses(ends: dict[str, End], source: Path, wrong: dict[str, str]) -> None:
    end = ends["minio"]
    refused(changed(end, **wrong), source, 102, end.place.s3.endpoint, "refused the keys of connection store", "correct")


def test_a_store_that_the_source_does_not_see(ends: dict[str, End], source: Path) -> None:
    end = changed(ends["minio"], extra={"endpoint_url": f"http://127.0.0.1:{free_port()}"})
    refused(
        end,
        source,
        104,
        end.connection.extra["endpoint_url"],
        "connection store",
        "can't be reached from the source host",
        "refused",
        "worker",
    )


def test_a_store_with_an_unknown_name(ends: dict[str, End], source: Path) -> None:
    end = changed(ends["minio"], extra={"endpoint_url": "http://no-such-host.invalid:9000"})
    refused(end, source, 104, "no-such-host.invalid", "connection store", "can't be reached from the source host", "fs_sync_rclone_worker")


@pytest.mark.parametrize("wild", ["a*", "a[b]"])
def test_a_target_path_that_rsync_takes_for_a_pattern(ends: dict[str, End], source: Path, wild: str) -> None:
    _, where = ends["rsync"].fresh()
    tree.write(where / "ab" / "mine", b"mine\n")
    refused(ends["rsync"], source, 105, str(where / wild), "pattern", "fs_sync_rclone", target=str(where / wild))
    assert ends["rclone"].copy(source, str(where / wild)).good().equal
    assert tree.digest(where / wild) == tree.digest(source)
    assert os.listdir(where / "ab") == ["mine"]


def test_a_store_that_is_none(ends: dict[str, End], source: Path) -> None:
    for port, scheme in ((ends["rsync"].server.port, "http"), (ends["minio"].place.s3.port, "https")):
        end = changed(ends["minio"], extra={"endpoint_url": f"{scheme}://127.0.0.1:{port}"})
        refused(end, source, 105, f"{scheme}://127.0.0.1:{port}", "connection store")
