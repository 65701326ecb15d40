"""An Airflow DAG: the routes of fs_sync_rsync every two hours, comparing both ends. Unpause it with fs_sync_rsync_quick."""

from fs_sync.dag import replicate

replicate("fs_sync_rsync_full", backend="rsync", target="ssh", variable="fs_sync_rsync", scan="full", schedule="0 */2 * * *", paused=True)
