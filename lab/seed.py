"""Make Airflow's database and put connections and Variables into it, in one process since each costs seconds to start."""

import json
import sys

from airflow.models import Connection, Pool, Variable
from airflow.utils.db import upgradedb
from airflow.utils.session import create_session
from sqlalchemy import delete


def main() -> None:
    """Given {"migrate": …, "connections": {id: {…}}, "variables": {key: text}, "pools": {name: slots}} on standard input, store them."""
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
        for name, slots in wanted.get("pools", {}).items():
            session.execute(delete(Pool).where(Pool.pool == name))
            session.add(Pool(pool=name, slots=slots, description="Transfers of much data", include_deferred=True))


if __name__ == "__main__":
    main()
