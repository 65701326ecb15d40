"""An Airflow DAG: the routes of fs_sync_rsync each minute, looking only at what changed. Unpause it with fs_sync_rsync_full."""

from fs_sync.dag import replicate

replicate("fs_sync_rsync_quick", backend="rsync", target="ssh", variable="fs_sync_rsync", scan="quick", schedule="* * * * *", paused=True)
