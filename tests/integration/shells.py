"""Hosts made of a login shell, a `sh` and a PATH: what sshd would start, without sshd."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fs_sync import job
from fs_sync.job import Answer, Answers, Job
from lab import processes
from lab.processes import until

SYSTEM = "/usr/local/bin:/usr/bin:/bin"
OPENSSH = ("ssh-agent", "ssh-add")
# All that a job needs of a host.
TOOLS = [
    "cat",
    "chmod",
    "date",
    "df",
    "find",
    "head",
    "id",
    "ln",
    "mkdir",
    "mv",
    "rm",
    "rmdir",
    "sed",
    "setsid",
    "sh",
    "sleep",
    "stat",
    "tail",
    "touch",
    "wc",
    "dash",
    "env",
    "mount",
]

# name: the login's shell, what its `sh` is, and what can lock there (None: flock and all else)
KINDS: dict[str, tuple[list[str], str, str | None]] = {
    "dash": (["dash"], "dash", None),
    "bash": (["bash"], "bash", None),
    "busybox": (["ash"], "busybox", "nothing"),
    "busybox-login": (["ash", "-l"], "busybox", "nothing"),
    "tcsh": (["tcsh"], "dash", None),
    "fish": (["fish"], "dash", None),
    "perl": (["dash"], "dash", "perl"),
    "python3": (["dash"], "dash", "python3"),
}
LOCKING = [kind for kind in KINDS if not kind.startswith("busybox")]


@dataclass
class Host:
    """A home directory on a host of some kind, and what is done there."""

    kind: str
    home: Path
    env: dict[str, str]

    def run(self, text: bytes, command: str = "exec sh", timeout: float = 30) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([*self.login, command], input=text, capture_output=True, env=self.env, cwd="/", timeout=timeout)

    @property
    def login(self) -> list[str]:
        shell, *options = KINDS[self.kind][0]
        return [found(shell, self.env["PATH"]), *options, "-c"]

    def launch(self, made: Job, script: str = "true", secrets: Mapping[str, str] | None = None) -> str:
        return job.parse_launch(self.run(job.launcher(made, script, secrets or {})).stdout)

    def look(self, made: Job, offset: int = 0) -> Answer:
        done = self.run(job.request("x", made, offset), job.watch_command())
        (answer,) = Answers().feed(done.stdout)
        return answer

    def watch(self, made: Job, timeout: float = 20) -> Answer:
        """Return all of the log in one answer, when the job has ended."""
        log = b""

        def ended() -> Answer | None:
            nonlocal log
            answer = self.look(made, len(log))
            assert answer.offset == len(log)
            log += answer.log
            return answer if answer.ended else None

        last = until(ended, f"the end of {made.name}", timeout)
        return Answer(last.id, last.state, last.exit, 0, log, last.results)

    def kill(self, made: Job) -> str:
        done = self.run(job.killer(made))
        assert done.returncode == 0, done
        return done.stdout.decode().strip()

    def directory(self, made: Job) -> Path:
        return self.home / made.place

    def group(self, made: Job) -> int:
        return int((self.directory(made) / "pgid").read_text().split()[0])

    def processes(self) -> list[int]:
        return processes.marked(self.home)

    def wait_for(self, name: str, made: Job) -> Path:
        path = self.directory(made) / name
        until(path.exists, f"{path} to appear")
        return path


def found(program: str, path: str) -> str:
    where = shutil.which(program, path=path)
    assert where, f"{program} is not installed: see lab/system.sh test"
    return where


@contextmanager
def host(kind: str, directory: Path) -> Iterator[Host]:
    """A host of one kind with an empty home; at its end nothing of it may be left running."""
    _, sh, locks = KINDS[kind]
    bin, home = directory / "bin", directory / "home"
    bin.mkdir(parents=True)
    home.mkdir()
    if sh == "busybox":
        busybox = found("busybox", SYSTEM)
        for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
            (bin / applet).symlink_to(busybox)
        for program in OPENSSH:
            (bin / program).symlink_to(found(program, SYSTEM))
        path = str(bin)
    elif locks:
        for program in (*TOOLS, *OPENSSH):
            (bin / program).symlink_to(found(program, SYSTEM))
        (bin / locks).symlink_to(sys.executable if locks == "python3" else found("perl", SYSTEM))
        path = str(bin)
    else:
        path = f"{bin}:{SYSTEM}"
    if sh != "busybox":
        (bin / "sh").unlink(missing_ok=True)
        (bin / "sh").symlink_to(found(sh, SYSTEM))
    made = Host(kind, home, {"HOME": str(home), "PATH": path, "USER": "tester"})
    try:
        yield made
        until(lambda: not made.processes(), "the end of all processes", 5)
    finally:
        processes.kill(*made.processes())


def a_job(route: str = "music", **changes: object) -> Job:
    values = {"dag_id": "dag", "run_id": "one", "nonce": "n", "step": "plan", "route": route, "generation": 0, "target_identity": "h:22/x"}
    return job.name_job(**{**values, **changes})  # type: ignore[arg-type]


def environ(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def files(directory: Path) -> dict[Path, bytes]:
    return {
        Path(where) / name: (Path(where) / name).read_bytes()
        for where, _, names in os.walk(directory)
        for name in names
        if (Path(where) / name).is_file()
    }
