"""fs-sync: Airflow DAGs that replicate files from one server to another."""
