"""The lab: real servers, real Airflow processes and a real tree, for the demo and the tests."""
