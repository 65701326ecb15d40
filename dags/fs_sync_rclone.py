"""An Airflow DAG: replicate with rclone, run on the source, to another server over SFTP."""

from fs_sync.dag import replicate

replicate("fs_sync_rclone", backend="rclone", target="ssh")
