"""What docs/coming-from.md says of an earlier system's copy as the target, of its Connections, and of the first run."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from airflow.providers.ssh.hooks.ssh import SSHHook
from airflow.sdk.timezone import utcnow
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction

from fs_sync import hooks
from fs_sync.dag import replicate
from fs_sync.errors import ConfigError
from lab.place import ssh_connection
from tests.integration.driver import End, on

SIZE = 1024**2
MADE = 1_600_000_000


def left(source: Path, there: Path) -> Path:
    """The same file at both ends, at the target with the time at which it was put there; return that one."""
    content = random.Random(7).randbytes(SIZE)
    for directory in (source, there):
        directory.mkdir(exist_ok=True)
        (directory / "film.mp4").write_bytes(content)
    os.utime(source / "film.mp4", (MADE, MADE))
    return there / "film.mp4"


@on("rsync", "rclone-sftp", "minio")
def test_a_copy_whose_times_were_not_kept_is_made_once_more_or_left(end: End, source: Path) -> None:
    target, there = end.fresh()
    film = left(source, there)
    put = film.stat().st_mtime
    assert end.copy(source, target, overwrite="never").good().counts["changed"] == 0
    assert film.stat().st_mtime == put
    tried = end.copy(source, target, dry_run=True).good()
    done = end.copy(source, target).good()
    if end.name == "minio":
        # Here the content decides, by the store's MD5.
        assert tried.counts["changed"] == 0
        assert done.records.nothing
        return
    assert (tried.counts["changed"], tried.records.bytes["todo"]) == (1, SIZE)
    assert done.counts["moved"] == 1
    assert film.stat().st_mtime == MADE
    # rsync sends what differs, here nothing but sums; rclone sends the file.
    assert done.records.bytes["wire"] < SIZE / 10 if end.name == "rsync" else done.records.bytes["wire"] >= SIZE
    assert end.copy(source, target).good().records.nothing


def test_a_connection_can_not_have_a_host_key_and_leave_it_unchecked(ends: dict[str, End], monkeypatch: pytest.MonkeyPatch) -> None:
    made = ssh_connection(ends["rsync"].place.target)
    assert made["extra"]["host_key"]
    monkeypatch.setenv("AIRFLOW_CONN_OLD", json.dumps({**made, "extra": {**made["extra"], "no_host_key_check": "true"}}))
    with pytest.raises(ValueError, match="Must check host key when provided"):
        SSHHook("old")
    with pytest.raises(ConfigError, match="fs-sync always checks host keys"):
        hooks.ssh_hook(hooks.connection("old"))


def test_a_dag_with_a_schedule_is_due_as_soon_as_it_is_unpaused_and_one_without_never() -> None:
    for schedule in ("@hourly", "0 3 * * *", None):
        dag = DagSerialization.from_dict(
            DagSerialization.to_dict(replicate("fs_sync_trial", backend="rsync", target="ssh", schedule=schedule))
        )
        never_ran = TimeRestriction(earliest=dag.start_date, latest=None, catchup=dag.catchup)
        due = dag.timetable.next_dagrun_info(last_automated_data_interval=None, restriction=never_ran)
        assert (due is not None and due.run_after <= utcnow()) == (schedule is not None)
