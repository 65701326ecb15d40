"""The demo's servers and Airflow, left running for a person to look at until Ctrl-C or a TERM."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import threading

from lab import tree
from lab.airflow import USER
from lab.demo import BIG, BUILD, FILES, NAMES, say
from lab.processes import alone
from lab.stage import DAGS, Stage, stage


def main() -> int:
    """Run the stage until a signal; return 0."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: leave(stopped))
    directory = BUILD / "ui"
    with contextlib.suppress(KeyboardInterrupt), alone(directory):
        say("starting two OpenSSH servers, an S3 store and Airflow (about 30 s)")
        with stage(directory) as lab:
            show(lab)
            stopped.wait()
            say("stopping")
    shutil.rmtree(directory, ignore_errors=True)
    return 0


def show(lab: Stage) -> None:
    """Make the tree and print where everything is."""
    tree.make_tree(lab.source, FILES, BIG, awkward=NAMES)
    print(f"\n  {lab.airflow.url}   login {USER}   password {lab.airflow.password}\n")
    print(f"  source  {lab.source}")
    for dag_id in DAGS:
        print(f"  target  {lab.target(dag_id)}   of {dag_id}")
    print(f"\n  What became of their runs: make history OPTIONS='--url {lab.airflow.url}' (it asks for the password)")
    print("\n  Trigger a DAG there, change the source, trigger again. Ctrl-C stops all of it.\n", flush=True)


def leave(stopped: threading.Event) -> None:
    """Say that it is to end, and interrupt whatever is being done: before all is up there is nobody who looks at the event."""
    if stopped.is_set():
        return
    stopped.set()
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
