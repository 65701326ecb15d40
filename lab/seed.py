"""Make Airflow's database and put connections and Variables into it, in one process since each costs seconds to start."""

import json
import sys

from airflow.models import Connection, Variable
from airflow.utils.db import upgradedb
from airflow.utils.session import create_session
from sqlalchemy import delete


def main() -> None:
    """Given {"migrate": …, "connections": {id: {…}}, "variables": {key: text}} on standard input, store them encrypted."""
    wanted = json.load(sys.stdin)
    if wanted.get("migrate"):
        upgradedb()
    with create_session() as session:
        for conn_id, fields in wanted["connections"].items():
            session.execute(delete(Connection).where(Connection.conn_id == conn_id))
            session.add(Connection(conn_id=conn_id, **{**fields, "extra": json.dumps(fields.get("extra") or {})}))
        for key, value in wanted["variables"].items():
            session.execute(delete(Variable).where(Variable.key == key))
            session.add(Variable(key=key, val=value))  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
