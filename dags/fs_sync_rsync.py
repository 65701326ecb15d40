"""An Airflow DAG: replicate with rsync, run on the source, to another server over SSH."""

from fs_sync.dag import replicate

replicate("fs_sync_rsync", backend="rsync", target="ssh")
