"""The errors of fs-sync: one class a meaning, each with its code, whether a retry can help, and its mend."""

from __future__ import annotations

from typing import ClassVar


class FsSyncError(Exception):
    """Any error of fs-sync; `code` is its number in scripts and reports, 0 where no script ends with it."""

    code: ClassVar[int] = 0


class Permanent(FsSyncError):
    """A retry can't help: somebody has to mend something first."""


class Transient(FsSyncError):
    """A retry may help, and is made."""


class Busy(FsSyncError):
    """The route is being copied by another run; this run skips it."""

    code = 75


class ConfigError(Permanent):
    """A Variable, a Connection or a run's form says something that can't be."""


class SourceError(Permanent):
    """The source's path or its required marker is missing or can't be read."""

    code = 101


class AuthenticationError(Permanent):
    """A login was refused."""

    code = 102


class HostKeyError(Permanent):
    """A server's key is not known, or is not the one that is known."""

    code = 103


class ConnectionFailed(Transient):
    """A server could not be reached."""

    code = 104


class TargetError(Permanent):
    """The target's path or bucket is missing or can't be written."""

    code = 105


class ToolMissing(Permanent):
    """A tool is not on the host, or is too old."""

    code = 106


class DiskFull(Permanent):
    """The target has no room left."""

    code = 107


class VerificationFailed(Permanent):
    """Source and target differ after the copy."""

    code = 108


class PartialTransfer(Transient):
    """Some files could not be read; all the others were copied."""

    code = 109


class ListsGone(Transient):
    """The plan's lists are not on the host any more."""

    code = 110


class Stalled(Transient):
    """No byte moved for too long."""

    code = 111


class TimedOut(Permanent):
    """The job ran longer than it may."""

    code = 112


class Orphaned(Transient):
    """Nobody watched the job for too long, so it stopped itself."""

    code = 113


class Unusual(Permanent):
    """The run is out of the ordinary, and the route's policy for that is to fail."""

    code = 114


class ToolFailed(Transient):
    """A tool failed in a way that has no class of its own."""

    code = 120


class SshFailed(Transient):
    """The connection between source and target broke."""

    code = 121


class Stopped(Transient):
    """The job was told to stop."""

    code = 143


class JobVanished(Transient):
    """The job is gone and left no exit status."""


# What each means and how it is mended, for the README's table and for a message that says nothing itself.
WORDS: dict[type[FsSyncError], tuple[str, str]] = {
    Busy: (
        "another run is copying this route; the task is skipped and names the holder",
        "nothing to do: the next run copies what is left",
    ),
    ConfigError: (
        "a Variable, a Connection or the run's form says something that can't be",
        "correct the value that the message names, then clear the task",
    ),
    SourceError: (
        "the source path or the `require` marker is missing or can't be read",
        "correct the path, mount the file system or give the login the right to read it",
    ),
    AuthenticationError: (
        "a login was refused",
        "correct the login, key or password in the Connection that the message names",
    ),
    HostKeyError: (
        "a server's host key is not in the Connection, or is another one",
        "compare the printed key with the server's own, then paste it as `host_key` into the Connection's extra",
    ),
    ConnectionFailed: (
        "a server could not be reached: refused, name unknown or no answer",
        "check host, port, name service and firewall; it is tried again by itself",
    ),
    TargetError: (
        "the target path or bucket is missing or can't be written",
        "make the path or bucket, or give the login the right to write there",
    ),
    ToolMissing: (
        "rsync, rclone or another needed tool is missing on the host, or is too old",
        "install the version that the message names on the host that it names",
    ),
    DiskFull: (
        "the target's disk or quota is full, or what is to come does not fit; nothing half-written stands under a final name",
        "make room on the target, then clear the task",
    ),
    VerificationFailed: (
        "source and target differ after the copy",
        "look at the names in the report; run the route with `verify: all` to copy them again by content",
    ),
    PartialTransfer: (
        "some files could not be read or written; everything else was copied",
        "give the login the right to read the files that the report names, or exclude them",
    ),
    ListsGone: (
        "the lists that `plan` made are no longer on the host",
        "clear the route's `plan` task with its downstream tasks",
    ),
    Stalled: (
        "no byte moved for `stall_after`",
        "it is tried again and goes on where it can; check the link, or raise `stall_after`",
    ),
    TimedOut: (
        "the job ran longer than `timeout`",
        "raise `timeout` of the route; the next run goes on where it can",
    ),
    Orphaned: (
        "nobody watched the job for `orphan_after`, so it stopped itself",
        "check that the Airflow triggerer runs; the retry goes on where it can",
    ),
    Unusual: (
        "an anomaly whose policy is `fail`",
        "look at the source; if all is well there, set that anomaly of the route's `anomalies` to `warn`; the next run goes by it",
    ),
    ToolFailed: (
        "the tool failed for a reason that has no class of its own",
        "read the tool's own words at the end of the log; it is tried again by itself",
    ),
    SshFailed: (
        "the connection between source and target broke",
        "check the link between the two hosts; it is tried again by itself",
    ),
    Stopped: (
        "the job was told to stop",
        "nothing to do if you stopped it; else see who sends TERM on the host",
    ),
    JobVanished: (
        "the job is gone without an exit status: reboot, out of memory, or killed",
        "it is tried again by itself; if it happens again, look into the host's system log",
    ),
}

# The exit codes that scripts end with.
EXIT: dict[int, type[FsSyncError]] = {kind.code: kind for kind in WORDS if kind.code}


def from_exit(code: int, text: str) -> FsSyncError:
    """The error that a script's exit code stands for; `text` is the script's own reason, if it gave one."""
    kind = EXIT.get(code, ToolFailed)
    reason = text.strip()
    if reason:
        return kind(reason)
    meaning, mend = WORDS[kind]
    known = "" if code in EXIT else f" (exit code {code})"
    return kind(f"{meaning}{known}; {mend}")


def retry_helps(error: BaseException) -> bool:
    """Whether a retry may mend this; what is not ours is presumed to pass."""
    return not isinstance(error, Permanent | Busy)
