"""An Airflow DAG: replicate with rclone, run on the worker, between servers and buckets that can't see each other."""

from fs_sync.dag import replicate

replicate("fs_sync_rclone_worker", backend="rclone", source="any", target="any", runner="worker")
