"""An Airflow DAG: replicate with rclone, run on the source, into a bucket of an object store."""

from fs_sync.dag import replicate

replicate("fs_sync_rclone_minio", backend="rclone", target="s3")
