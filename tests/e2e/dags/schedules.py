"""Further Airflow DAGs of a backend: a line for each. These differ in where a job is watched, and retry soon."""

from datetime import timedelta

from fs_sync.dag import replicate

SOON = timedelta(seconds=1)
replicate("fs_sync_rsync_worker", backend="rsync", target="ssh", schedule=None, retry_delay=SOON, defer_after=600)
replicate("fs_sync_rsync_triggerer", backend="rsync", target="ssh", schedule=None, retry_delay=SOON, defer_after=1)
replicate("fs_sync_rclone_carried", backend="rclone", source="any", target="any", runner="worker", schedule=None, retry_delay=SOON)
# Two rhythms of the same routes, as dags/fs_sync_rsync_quick.py and its other half.
for scan in ("quick", "full"):
    replicate(
        f"fs_sync_rsync_pair_{scan}",
        backend="rsync",
        target="ssh",
        schedule=None,
        retry_delay=SOON,
        variable="fs_sync_rsync_pair",
        scan=scan,
    )
for name in ("flat", "text", "ten", "form", "dry", "told"):
    replicate(f"fs_sync_rsync_{name}", backend="rsync", target="ssh", schedule=None, retry_delay=SOON)
# A name of which nobody can tell by its beginning that it is ours.
replicate("nightly_copy", backend="rsync", target="ssh", schedule=None, retry_delay=SOON)
