"""An Airflow DAG: replicate with rclone, run on the target, from a bucket of an object store."""

from fs_sync.dag import replicate

replicate("fs_sync_rclone_from_minio", backend="rclone", source="s3", target="host", runner="target")
