"""An Airflow DAG: the service style's quick look at what changed, every minute; docs/service.md says how it is switched on."""

from fs_sync.dag import replicate

ENDS = {"source": "any", "target": "any", "runner": "worker", "variable": "fs_sync_service"}
replicate("fs_sync_service_quick", backend="rclone", **ENDS, scan="quick", schedule="* * * * *", paused=True)
