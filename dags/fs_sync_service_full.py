"""An Airflow DAG: the service style's look at everything, every two hours; docs/service.md says how it is switched on."""

from fs_sync.dag import replicate

ENDS = {"source": "any", "target": "any", "runner": "worker", "variable": "fs_sync_service"}
replicate("fs_sync_service_full", backend="rclone", **ENDS, scan="full", schedule="0 */2 * * *", paused=True)
