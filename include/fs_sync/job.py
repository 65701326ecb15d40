"""The job on a host: what is sent to start, watch and kill one, and what comes back."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fs_sync import templates
from fs_sync.errors import ConfigError, SshFailed, ToolFailed, from_exit
from fs_sync.values import duration

# A run that went away keeps its route for so long, in seconds.
LEASE = 600
# An answer brings at most so many bytes of the log, and of the results.
CHUNK = 256 * 1024
# A login shell may say so much before the watch begins.
LONGEST_BANNER = 1024 * 1024
LONGEST_HEADER = 512
# The steps of a run that work side by side.
TIERS = ("small", "large")
# The one secret that is not handed over by the environment.
KEY = "FS_SYNC_KEY"

Launched = Literal["started", "attached running", "attached done"]
State = Literal["running", "done", "vanished", "missing"]
ENDED: tuple[State, ...] = ("done", "vanished", "missing")

GREETING = b"fs-sync watch\n"
HEADER = re.compile(rb"([A-Za-z0-9_.-]+) (running|done|vanished|missing) (-|[0-9]{1,3}) ([0-9]{1,18}) ([0-9]{1,9}) ([0-9]{1,9})")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Frame:
    """What a job knows of its run: `run` names it (and owns the route's lock), `key` the target root, `holder` the run for people."""

    run: str
    key: str
    holder: str
    step: str


@dataclass(frozen=True)
class Job:
    """One detached run of one script on a host, and its limits in seconds; `stall_after` 0 means never."""

    frame: Frame
    name: str
    base: str
    timeout: int
    stall_after: int
    orphan_after: int = 86400

    @property
    def path(self) -> str:
        """The job's directory below its base."""
        return f"runs/{self.frame.run}/{self.name}"

    @property
    def place(self) -> str:
        """The job's directory on the host: absolute, or from the login's home."""
        return f"{home_relative(self.base)}/{self.path}"

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Job:
        return cls(**{**plain, "frame": Frame(**plain["frame"])})


@dataclass(frozen=True)
class Answer:
    """One look at a job: `log` begins at `offset`; with an ended state it is the log's end, and `results` are there."""

    id: str
    state: State
    exit: int | None
    offset: int
    log: bytes
    results: bytes

    @property
    def next(self) -> int:
        """The offset of the next request."""
        return self.offset + len(self.log)

    @property
    def ended(self) -> bool:
        return self.state in ENDED


def name_job(
    dag_id: str,
    run_id: str,
    nonce: str,
    step: str,
    route: str,
    generation: int,
    target_identity: str,
    base: str = "",
    timeout: int = 86400,
    stall_after: int = 900,
    orphan_after: int = 86400,
) -> Job:
    """Given what makes a job one and the same (a retry does not change it, clearing does), return the job.

    `target_identity` says which root the route writes to, on which server: two routes with one identity exclude each other.
    """
    run = f"{slug(dag_id)}-{digest(dag_id, run_id, nonce)[:12]}"
    name = f"{slug(step)}-{slug(route)}-{digest(route)[:8]}-g{generation}"
    frame = Frame(run=run, key=digest(target_identity)[:16], holder=plain_line(f"{dag_id} run {run_id}"), step=step)
    return Job(frame, name, base, timeout, stall_after, orphan_after)


def slug(text: str) -> str:
    """The part of a text that may stand in a file name anywhere, for people to recognise it."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.")[:40] or "x"


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def plain_line(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


def home_relative(base: str) -> str:
    """Given `job_dir`, return it absolute or relative to the login's home. Raise ConfigError for anything else."""
    if any(c in base for c in "\0\r\n"):
        raise ConfigError(f"job_dir {base!r} has a line break or a NUL; write a plain path")
    if base.startswith("/") and base.strip("/"):
        return base.rstrip("/")
    inside = (base or "~/.fs-sync").removeprefix("~/").strip("/")
    if (base and not base.startswith("~/")) or not inside or inside != inside.lstrip():
        raise ConfigError(f"job_dir {base!r} is neither an absolute path nor below ~/; write one of the two")
    return inside


def launcher(job: Job, script: str, secrets: Mapping[str, str]) -> bytes:
    """Given a job, its secret-free script and its secrets by name, return what `exec sh` gets on stdin to start it or to find it."""
    base = home_relative(job.base)
    text = templates.render(
        "launch.sh.j2",
        in_home=not base.startswith("/"),
        base=base,
        run=job.frame.run,
        name=job.name,
        route=job.name.partition("-")[2].rpartition("-g")[0],
        beside=next((tier for tier in TIERS if job.frame.step in TIERS and tier != job.frame.step), "no step"),
        key=job.frame.key,
        script=script.rstrip("\n"),
        wrapper=wrapper(job).rstrip("\n"),
        secrets=secret_lines(secrets),
    )
    return text.encode("utf-8", "surrogateescape")


def wrapper(job: Job) -> str:
    return templates.render(
        "wrapper.sh.j2",
        holder=plain_line(job.frame.holder),
        # The tiers of one run work side by side.
        lock="s" if job.frame.step in TIERS else "x",
        lease_minutes=LEASE // 60,
        key_seconds=job.timeout + 600,
        timeout=job.timeout,
        stall_after=job.stall_after,
        orphan_after=job.orphan_after,
        late=f"the job ran longer than {duration(job.timeout)}",
        stalled=f"no byte moved for {duration(job.stall_after)}",
        unwatched=f"nobody watched the job for {duration(job.orphan_after)}",
    )


def secret_lines(secrets: Mapping[str, str]) -> list[str]:
    """Given secrets by name, return them as the wrapper reads them. Raise ConfigError, without the value, for one that no line can hold."""
    lines = []
    for name, value in secrets.items():
        if not VARIABLE.fullmatch(name) or "\0" in value or (name != KEY and ("\n" in value or "\r" in value)):
            raise ConfigError(f"the secret {name} can't be handed over: it holds a line break or a NUL, or its name is no variable's")
        if name != KEY:
            lines.append(f"{name}={value}")
    return [*lines, "key", *secrets[KEY].rstrip("\n").split("\n")] if secrets.get(KEY) else [*lines, "end"]


def parse_launch(out: bytes) -> Launched:
    """Given what a launcher printed, banner and all, return what became of the job. Raise the error that it names."""
    found = re.findall(rb"^fs-sync (started|attached running|attached done|error ([0-9]{1,3}) (.*))$", out, re.MULTILINE)
    if not found:
        said = out[-500:].decode("utf-8", "replace").strip()
        raise SshFailed(f"the host's login shell did not run the launcher; it must take a command (exec sh). It said: {said or 'nothing'}")
    word, code, text = (part.decode("utf-8", "replace") for part in found[-1])
    if code:
        reason = plain_line(text)
        raise from_exit(int(code), reason) if int(code) else ConfigError(reason)
    result: dict[str, Launched] = {word: word for word in ("started", "attached running", "attached done")}
    return result[word]


def watch_command() -> str:
    """The command of a watch, for a login shell of any kind; requests go to its stdin, answers come from its stdout."""
    return f"exec sh -c '{templates.one_line('watch.sh.j2', chunk=CHUNK)}'"


def request(id: str | int, job: Job, offset: int, *, resumed: bool = False) -> bytes:
    """
    Given a word to know the answer by, a job and how much of its log is known, return the request of one look at it.

    With `resumed` the log goes on from where the last one who looked had got to, if that is further.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", str(id)):
        raise ValueError(f"{id!r} can't name a request: letters, digits, _ . - only")
    return f"{id} {offset}{'+' if resumed else ''} {job.place}\n".encode("utf-8", "surrogateescape")


def killer(job: Job) -> bytes:
    """Given a job, return what `exec sh` gets on stdin to end it; it prints what it did, and exits 0 if nothing of it is left."""
    return templates.render("kill.sh.j2", path=job.place).encode("utf-8", "surrogateescape")


class Answers:
    """The answers of a watch, out of bytes that come in any pieces; whatever a login shell says before the watch begins is passed over."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.greeted = False

    def feed(self, data: bytes) -> list[Answer]:
        """Given the next bytes, return the answers that are complete. Raise ToolFailed if these can't be answers of ours."""
        self.buffer += data
        if not self.greeted and not self.greet():
            return []
        answers = []
        while (answer := self.take()) is not None:
            answers.append(answer)
        return answers

    def greet(self) -> bool:
        begin = 0 if self.buffer.startswith(GREETING) else self.buffer.find(b"\n" + GREETING) + 1
        self.greeted = begin > 0 or self.buffer.startswith(GREETING)
        if self.greeted:
            del self.buffer[: begin + len(GREETING)]
        elif len(self.buffer) > LONGEST_BANNER:
            raise ToolFailed(f"the host's login shell says more than {LONGEST_BANNER} bytes and starts no watch; silence its start files")
        return self.greeted

    def take(self) -> Answer | None:
        end = self.buffer.find(b"\n", 0, LONGEST_HEADER)
        if end < 0 and len(self.buffer) < LONGEST_HEADER:
            return None
        header = HEADER.fullmatch(bytes(self.buffer[: max(end, 0)]))
        if not header:
            raise ToolFailed(f"the host's watch says what is no answer: {bytes(self.buffer[:100])!r}")
        id, state, code, offset, log, results = (part.decode() for part in header.groups())
        begin, middle, size = end + 1, end + 1 + int(log), end + 1 + int(log) + int(results)
        if int(log) > CHUNK or int(results) > CHUNK:
            raise ToolFailed(f"the host's watch sends more than {CHUNK} bytes at once: {header[0]!r}")
        if len(self.buffer) < size:
            return None
        states: dict[str, State] = {known: known for known in ("running", *ENDED)}
        exit = None if code == "-" else int(code)
        answer = Answer(id, states[state], exit, int(offset), bytes(self.buffer[begin:middle]), bytes(self.buffer[middle:size]))
        del self.buffer[:size]
        return answer
