"""The demo: five DAGs replicate a real tree, then its changes, and every promise is looked at from outside."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import tree
from lab.airflow import REPOSITORY
from lab.processes import alone
from lab.rest import FINAL, Rest
from lab.stage import ALL, FROM_MINIO, MINIO, WORKER, Stage, stage

BUILD = REPOSITORY / "build"
# A store's keys are text without control characters: the few names that are not must be held and said so, see tree.keepable.
# U+201B is rclone's own mark of a quoted character, so its names are held and said so: the demo's tree goes over whole.
NAMES = tuple(key for key in tree.AWKWARD if key != "quote of rclone")
FILES = 300
BIG = 200 * tree.MEBI
# What a run may cost the worker whatever its size; more than that only up to one percent of the bytes that it moved.
CONTROL = 512 * 1024
SECONDS = 240

ONLY_TARGET = b"only on the target.txt"
CREATED = (b"new directory/deeper/new.txt", b"dir-0/new one.txt", b"$(touch new)")
CHANGED = (b"file-0004.bin", b"awkward/two words", b"awkward/{{ 7*7 }}")
DELETED = (b"file-0008.bin", b"awkward/it's")


@dataclass
class Result:
    """What one run came to, seen from outside, and the promises that it did not keep."""

    dag_id: str
    run: int
    state: str
    files: int
    bytes: int
    seconds: float
    source_digest: str
    target_digest: str
    worker_bytes: int
    created: str = "-"
    changed: str = "-"
    deleted: str = "-"
    broken: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return what build/demo.json says of the run."""
        keys = ("dag_id", "run", "state", "files", "bytes", "seconds", "source_digest", "target_digest", "worker_bytes")
        return {key: getattr(self, key) for key in keys}


def main() -> int:
    """Run the demo; return 0 only if every promise held."""
    signal.signal(signal.SIGTERM, leave)
    begin = time.monotonic()
    directory = BUILD / "demo"
    with alone(directory):
        say("starting two OpenSSH servers, an S3 store and Airflow (about 30 s)")
        with stage(directory) as lab:
            results = list(both_rounds(lab))
    print(table(results), flush=True)
    (BUILD / "demo.json").write_text(json.dumps([result.to_dict() for result in results], indent=2) + "\n")
    broken = [f"{result.dag_id}, run {result.run}: {text}" for result in results for text in result.broken]
    for text in broken:
        say(f"BROKEN: {text}")
    if broken:
        say(f"the logs are in {directory.relative_to(REPOSITORY)}/run")
        return 1
    shutil.rmtree(directory, ignore_errors=True)
    say(f"every promise held; build/demo.json written; {time.monotonic() - begin:.0f} s in all")
    return 0


def both_rounds(lab: Stage) -> Iterator[Result]:
    """Replicate a tree, change it, replicate again; give what each run came to."""
    rest = lab.airflow.rest()
    count = tree.make_tree(lab.source, FILES, BIG, awkward=NAMES)
    say(f"made a tree of {count} files, {BIG // tree.MEBI} MiB in one of them, {len(NAMES)} awkward names")
    for dag_id in ALL:
        tree.write(lab.target(dag_id) / ONLY_TARGET.decode(), b"mine\n")
    before = tree.listing(lab.source)
    for dag_id in ALL:
        result = replicate(lab, rest, dag_id, 1)
        if tree.listing(lab.source) != before:
            result.broken.append("the source is not as it was before")
        yield result

    for name in CREATED:
        tree.write(at(lab.source, name), b"created\n", mtime_ns=None)
    for name in CHANGED:
        tree.write(at(lab.source, name), b"changed\n" * 3, mtime_ns=None)
    for name in DELETED:
        at(lab.source, name).unlink()
    say(f"on the source: {len(CREATED)} files created, {len(CHANGED)} changed, {len(DELETED)} deleted")
    before = tree.listing(lab.source)
    for dag_id in ALL:
        result = replicate(lab, rest, dag_id, 2)
        if result.state != "success":
            yield result
            continue
        target = lab.target(dag_id)
        result.created = same(lab.origin(dag_id), target, CREATED)
        result.changed = same(lab.origin(dag_id), target, CHANGED)
        result.deleted = "yes" if all(at(target, name).is_file() for name in DELETED) else "NO"
        promises = {"created": "a new file is missing", "changed": "a changed file is old", "deleted": "a deleted file is gone"}
        result.broken += [text for name, text in promises.items() if getattr(result, name) != "yes"]
        if result.files != len(CREATED) + len(CHANGED):
            result.broken.append(f"{result.files} files were copied where {len(CREATED) + len(CHANGED)} had to be")
        if tree.listing(lab.source) != before:
            result.broken.append("the source is not as it was before")
        yield result


def replicate(lab: Stage, rest: Rest, dag_id: str, number: int) -> Result:
    """Trigger a DAG, wait for its end, and look at both ends."""
    say(f"{dag_id}, run {number}")
    run_id = rest.trigger(dag_id)
    run = watch(rest, dag_id, run_id)
    report = read_report(rest, dag_id, run_id)
    origin = lab.origin(dag_id)
    every = list(tree.files(origin))
    wanted = [name for name in every if dag_id != MINIO or tree.keepable(name)]
    result = Result(
        dag_id=dag_id,
        run=number,
        state=run["state"],
        files=report.get("counts", {}).get("moved", 0),
        bytes=report.get("bytes", {}).get("files", 0),
        seconds=round(run["duration"] or 0, 2),
        source_digest=tree.digest(origin, only=wanted),
        target_digest=tree.digest(lab.target(dag_id), only=wanted),
        worker_bytes=report.get("bytes", {}).get("worker", 0),
    )
    if result.state != "success":
        result.broken.append(f"the run is {result.state}: {failures(rest, dag_id, run_id)}")
        return result
    if not report:
        result.broken.append("there is no report")
    if result.source_digest != result.target_digest:
        missing = sorted(set(wanted) - set(tree.files(lab.target(dag_id))))
        result.broken.append(f"the digests differ; missing on the target: {missing[:5]}")
    elif report and not report.get("digests", {}).get("equal"):
        result.broken.append(f"the report does not say that both ends are equal: {report.get('digests')}")
    held = report.get("counts", {}).get("held", 0)
    if held != len(every) - len(wanted):
        result.broken.append(f"{held} files were held where {len(every) - len(wanted)} had to be: {report.get('held')}")
    if dag_id == WORKER and result.worker_bytes < result.bytes:
        result.broken.append(f"by the report {result.worker_bytes} bytes went over the worker, which carried {result.bytes}")
    if dag_id != WORKER and not 0 < result.worker_bytes <= max(CONTROL, result.bytes // 100):
        result.broken.append(f"{result.worker_bytes} bytes went over the worker")
    if at(lab.target(dag_id), ONLY_TARGET).read_bytes() != b"mine\n":
        result.broken.append("the file that was only on the target is not as it was")
    if dag_id not in (MINIO, FROM_MINIO) and number == 1 and not (lab.target(dag_id) / "empty" / "empty too").is_dir():
        result.broken.append("an empty directory is missing")
    also = f", {held} names held that an object store can't keep" if held else ""
    say(f"{dag_id}, run {number}: {result.state}, {result.files} files, {size(result.bytes)}, {result.seconds:.1f} s{also}")
    return result


def watch(rest: Rest, dag_id: str, run_id: str) -> dict[str, Any]:
    """Wait for the end of a run, with a line now and then, and return it. A retry ends it too: nothing here may need one."""
    end = time.monotonic() + SECONDS
    shown = time.monotonic()
    while True:
        run = rest.run(dag_id, run_id)
        states = rest.states(dag_id, run_id)
        if run["state"] in FINAL or "up_for_retry" in states.values() or time.monotonic() > end:
            return run
        if time.monotonic() - shown > 5:
            shown = time.monotonic()
            say(f"  {progress(rest, dag_id, run_id, states)}")
        time.sleep(0.2)


def progress(rest: Rest, dag_id: str, run_id: str, states: dict[tuple[str, int], str | None]) -> str:
    """Return what a run does now: the last progress line of the task that works, or the tasks' states."""
    for (task_id, index), state in states.items():
        if state in ("running", "deferred"):
            with contextlib.suppress(RuntimeError):
                lines = [line for line in rest.log(dag_id, run_id, task_id, index).splitlines() if "progress " in line]
                return f"{task_id} {state} {lines[-1].partition('progress ')[2] if lines else ''}".rstrip()
    return ", ".join(f"{task_id} {state}" for (task_id, _), state in states.items() if state) or "queued"


def read_report(rest: Rest, dag_id: str, run_id: str) -> dict[str, Any]:
    """Return the report of a run's route: finish made it, or plan where there was nothing to do."""
    found = rest.xcom(dag_id, run_id, "route.finish", 0)
    if found is None:
        found = (rest.xcom(dag_id, run_id, "route.plan", 0) or {}).get("report")
    return dict(found or {})


def failures(rest: Rest, dag_id: str, run_id: str) -> str:
    """Return the last lines of the logs of the tasks that failed."""
    texts = []
    for (task_id, index), state in rest.states(dag_id, run_id).items():
        if state in ("failed", "up_for_retry") and task_id != "outcome":
            log = rest.log(dag_id, run_id, task_id, index)
            texts.append(f"{task_id}[{index}]:\n    " + "\n    ".join(log.splitlines()[-25:]))
    return "\n".join(texts) or str(rest.states(dag_id, run_id))


def same(source: Path, target: Path, names: tuple[bytes, ...]) -> str:
    """Return "yes" if the named files are the same at both ends."""
    return "yes" if tree.checksums(source, names) == tree.checksums(target, names) else "NO"


def at(root: Path, name: bytes) -> Path:
    """Return a path below a root by a name of bytes."""
    return root / Path(name.decode(errors="surrogateescape"))


def table(results: list[Result]) -> str:
    """Return the runs as an aligned table."""
    head = (
        "DAG",
        "run",
        "state",
        "files",
        "bytes",
        "seconds",
        "digests equal",
        "created synced",
        "changed synced",
        "deleted kept",
        "over worker",
    )
    rows = [head]
    for result in results:
        equal = "yes" if result.source_digest == result.target_digest else "NO"
        seen = (result.created, result.changed, result.deleted)
        numbers = (str(result.files), size(result.bytes), f"{result.seconds:.1f}")
        rows.append((result.dag_id, str(result.run), result.state, *numbers, equal, *seen, size(result.worker_bytes)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(["", lines[0], "  ".join("-" * width for width in widths), *lines[1:], ""])


def size(number: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "KB", "MB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GB"


def leave(number: int, _frame: object) -> None:
    """End, cleaning up, at a signal; a second one does not interrupt that."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def say(text: str) -> None:
    """Print a line of progress with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
