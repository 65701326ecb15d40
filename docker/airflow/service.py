"""The service style: look at its file before anything starts (check), then have Airflow do what it says (init)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from fs_sync import service
from fs_sync.credentials import PlainConnection
from fs_sync.errors import ConfigError

# What a container of Docker Desktop sees of a disk that knows no modes: each file is everybody's there.
WITHOUT_MODES = frozenset({"9p", "cifs", "drvfs", "exfat", "fuseblk", "ntfs", "ntfs3", "smb3", "vboxsf", "vfat"})


def check(path: Path, kept: Path | None = None) -> None:
    """
    Raise ConfigError with all that is wrong with the file.

    With a place for a copy, which Airflow's user alone can read, nothing is raised: what is wrong is left beside it, as `refused`,
    for the service `secrets` to say. Compose starts that one whatever becomes of this.
    """
    if kept is None:
        read(path)
        return
    refused = kept.with_name("refused")
    refused.write_text("the service-check ended before its time; look with: docker compose logs service-check\n")
    try:
        read(path)
    except ConfigError as error:
        refused.write_text(f"{error}\n")
        return
    uid = os.environ.get("AIRFLOW_UID", "")
    # What is wrong with AIRFLOW_UID, `secrets` says by itself.
    if re.fullmatch("[1-9][0-9]{0,8}", uid):
        new = kept.with_name(".new")
        new.unlink(missing_ok=True)
        new.touch(mode=0o400)
        new.write_bytes(path.read_bytes())
        os.chown(new, int(uid), 0)
        new.rename(kept)
    refused.unlink()


def init(path: Path) -> None:
    """
    Have Airflow's database say what the file says, and at the first start switch the two DAGs on: both have a run due at once then.

    What else is in the folder of DAGs is known to Airflow for the first time, too. It stays off where it has no Variable, as it has
    nothing to copy.
    """
    from airflow.models import DagModel, DagRun, Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select

    store(read(path))
    with create_session() as session:
        if session.scalar(select(DagRun.id).where(DagRun.dag_id == service.FULL).limit(1)) is not None:
            print("fs-sync: the service goes on")
            return
        before = set(session.scalars(select(DagModel.dag_id)))
    # Airflow's own reader of DAGs has not begun yet, or reads them another time.
    subprocess.run([sys.executable, "-m", "airflow", "dags", "reserialize"], check=True, stdout=subprocess.DEVNULL)
    with create_session() as session:
        configured = set(session.scalars(select(Variable.key)))
        dags = {dag.dag_id: dag for dag in session.scalars(select(DagModel))}
        if not {service.QUICK, service.FULL} <= set(dags):
            raise ConfigError(f"{service.QUICK} or {service.FULL} is not among Airflow's DAGs: put its file back into the folder dags")
        for dag_id, dag in dags.items():
            if dag_id in (service.QUICK, service.FULL):
                dag.is_paused = False
            elif dag_id not in before | configured:
                dag.is_paused = True
    print(f"fs-sync: {service.QUICK} and {service.FULL} are on")


def store(wanted: service.Service) -> None:
    """Replace the connections and the Variable that are not as they should be."""
    from airflow.models import Connection, Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        for conn in wanted.connections:
            found = session.scalar(select(Connection).where(Connection.conn_id == conn.conn_id))
            if found is not None and as_plain(found) == conn:
                continue
            if found is not None:
                session.delete(found)
                session.flush()
            fields = {"conn_type": conn.conn_type, "host": conn.host, "port": conn.port, "login": conn.login, "password": conn.password}
            session.add(Connection(conn_id=conn.conn_id, **fields, extra=json.dumps(conn.extra)))
            print(f"fs-sync: the connection {conn.conn_id} was set")
        variable = session.scalar(select(Variable).where(Variable.key == service.VARIABLE))
        if variable is None or variable.val != wanted.variable:
            if variable is not None:
                session.delete(variable)
                session.flush()
            session.add(Variable(key=service.VARIABLE, val=wanted.variable))  # type: ignore[no-untyped-call]
            print(f"fs-sync: the Variable {service.VARIABLE} was set")


def as_plain(conn: object) -> PlainConnection | None:
    """A row of the database as plain values; None if it can't be read, as with another Fernet key."""
    from cryptography.fernet import InvalidToken

    from fs_sync import hooks

    try:
        return hooks.plain(conn, conn.extra_dejson)
    except (ConfigError, InvalidToken, ValueError):
        return None


def read(path: Path) -> service.Service:
    """Read the file. Raise ConfigError with all that is wrong with it."""
    try:
        content = path.read_bytes()
        mode = None if keeps_no_modes(path) else path.stat().st_mode
    except FileNotFoundError:
        raise ConfigError(f"{path} is not there: copy service.env.example to it, chmod it to 0600, and fill it in") from None
    except OSError as error:
        raise ConfigError(
            f"{path} can't be read ({error.strerror}): it is to be a file, of mode 0600, of the one who starts the service"
        ) from None
    try:
        return service.read(content, mode, offered)
    except ConfigError as error:
        raise ConfigError("\n  ".join((f"{path} can't be used:", *str(error).splitlines()))) from None


def offered(conn: PlainConnection) -> str:
    """Ask the server for its host key."""
    # Airflow writes its settings into its home, which is none of this person's.
    with TemporaryDirectory() as home:
        os.environ["AIRFLOW_HOME"] = home
        from fs_sync import logins

        return logins.offered(conn, patience=5)


def keeps_no_modes(path: Path) -> bool:
    """Whether the file is on a file system that has no modes of its own; Linux alone tells."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    except OSError:
        return False
    resolved = str(path.resolve())
    at = [words for words in mounts if resolved == words[4] or resolved.startswith(words[4].rstrip("/") + "/")]
    innermost = max(at, key=lambda words: len(words[4]), default=None)
    return innermost is not None and innermost[innermost.index("-") + 1] in WITHOUT_MODES


if __name__ == "__main__":
    try:
        {"check": check, "init": init}[sys.argv[1]](*map(Path, sys.argv[2:]))
    except ConfigError as error:
        raise SystemExit(f"fs-sync: {error}") from None
