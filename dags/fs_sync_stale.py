"""An Airflow DAG: tells of routes that had no green run for their `stale_after`; it copies nothing."""

from fs_sync.stale import watch

watch("fs_sync_stale")
