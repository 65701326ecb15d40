"""Further Airflow DAGs of a backend: a line for each. These differ in where a job is watched, and retry soon."""

from datetime import timedelta

from fs_sync.dag import replicate

SOON = timedelta(seconds=1)
replicate("fs_sync_rsync_worker", backend="rsync", target="ssh", schedule=None, retry_delay=SOON, defer_after=600)
replicate("fs_sync_rsync_triggerer", backend="rsync", target="ssh", schedule=None, retry_delay=SOON, defer_after=1)
for name in ("flat", "text", "ten", "form", "dry"):
    replicate(f"fs_sync_rsync_{name}", backend="rsync", target="ssh", schedule=None, retry_delay=SOON)
