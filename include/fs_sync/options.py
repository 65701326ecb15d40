"""The options of a route: one definition for validation, the run's form and the README's table."""

import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from fs_sync import patterns, places
from fs_sync.values import parse_duration, parse_size

Verify = Literal["checksum", "all", "size", "none"]
Scan = Literal["full", "quick"]
# What a run does about an anomaly: nothing, a word in its report and an alert, leave out just the files in question, leave them out and
# ask a person, or end before anything moves. Where there are no files to leave out there is less of a choice.
Policy = Literal["ignore", "warn", "hold", "approve", "fail"]
Told = Literal["ignore", "warn", "fail"]
Keep = Literal["times", "modes", "links", "owners", "hardlinks", "acls", "xattrs"]
VERIFY: tuple[str, ...] = get_args(Verify)
SCAN: tuple[str, ...] = get_args(Scan)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
CONNECTION = re.compile(r"[A-Za-z0-9_#!()./:-]{1,250}")
BUCKET = re.compile(r"(?=.{3,63}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
LOWEST_BANDWIDTH = 1024


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError("is not a name; write 1 to 64 letters, digits, dots, dashes or underscores, the first a letter or digit")
    return value


def _connection(value: str) -> str:
    if not CONNECTION.fullmatch(value):
        raise ValueError("is not a connection id; write the id of an Airflow Connection, never an address or a password")
    return value


def _bucket(value: str) -> str:
    if value and (not BUCKET.fullmatch(value) or re.fullmatch(r"[0-9.]+", value)):
        raise ValueError("is not a bucket's name; write 3 to 63 lower-case letters, digits, dashes or dots, not an address or a path")
    return value


def _unicode(value: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("is not valid Unicode; a name that is not UTF-8 can only be matched by a pattern with *")
    return value


def _path(value: str) -> str:
    if broken := places.fault(value):
        raise ValueError(broken)
    return places.normal(value)


def _pattern(value: str) -> str:
    if broken := patterns.fault(value):
        raise ValueError(broken)
    return value


def _job_dir(value: str) -> str:
    if value and (broken := places.rooted_fault(value)):
        raise ValueError(broken)
    if value == "/":
        raise ValueError("is the root of the file system; name a directory of its own")
    return value


def _marker(value: str) -> str:
    if not value:
        raise ValueError("is empty; name what must exist, or leave the option out")
    return value


def _positive(value: int) -> int:
    if value < 1:
        raise ValueError("is too short; the least is 1 second")
    return value


def parse_bandwidth(value: object) -> int | None:
    """Given a size a second, return bytes, or None for 0 and null: no limit. Raise ValueError with the rule otherwise."""
    parsed = parse_size(value) if value is not None else 0
    if 0 < parsed < LOWEST_BANDWIDTH:
        raise ValueError('is too low; the least is "1K" a second, and 0 is no limit')
    return parsed or None


def _user(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty; write the id with which the user logs in to Airflow")
    return value


def parse_limit(value: object) -> int | None:
    """Given a size, return bytes, or None for 0 and null: no limit. Raise ValueError with the rule otherwise."""
    return (parse_size(value) if value is not None else 0) or None


def _deletions(value: object) -> object:
    if value != "keep":
        raise ValueError('is not offered: fs-sync deletes nothing on a target; leave the option out, or write "keep"')
    return value


def _canonical(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(kind for kind in get_args(Keep) if kind in value)


Path = Annotated[str, AfterValidator(_unicode), AfterValidator(_path)]
Patterns = Annotated[tuple[Annotated[str, AfterValidator(_unicode), AfterValidator(_pattern)], ...], Field(strict=False)]
Seconds = Annotated[int, BeforeValidator(parse_duration)]
Limit = Annotated[Seconds, AfterValidator(_positive)]
Size = Annotated[int, BeforeValidator(parse_size)]
Bandwidth = Annotated[int | None, BeforeValidator(parse_bandwidth)]


class Endpoint(BaseModel):
    """One end of a route: a connection and a path there, or a bucket and a prefix."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    conn: Annotated[str, AfterValidator(_connection)] = Field(description="Id of the Airflow Connection", examples=["sftp_nas"])
    path: Path = Field(
        default="",
        description='Directory or file: absolute, or "~/…" below the login\'s home; for a bucket the prefix, which may be empty',
        examples=["/srv/data"],
    )
    bucket: Annotated[str, AfterValidator(_bucket)] = Field(
        default="", description="Bucket of an object store, where this end is one", examples=["backup"]
    )


class Tier(BaseModel):
    """The limits of the job of a tier."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    timeout: Limit = 3600
    stall_after: Limit = 900


class Large(Tier):
    """The limits of the job with the large files, which may take its time."""

    timeout: Limit = 14400


class Approve(BaseModel):
    """Who may approve files that a run left alone, and what counts where nobody answers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    users: Annotated[tuple[Annotated[str, AfterValidator(_user)], ...], Field(strict=False)] = ()
    within: Seconds = 0
    default: Literal["transfer", "leave out"] = "leave out"


class Anomalies(BaseModel):
    """What counts as unusual, and the policy for each; what is usual is the median and the spread of the route's last green runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    huge_file: Policy = Field(default="warn", description="a file of more than 10 times `large_file`")
    file_size: Policy = Field(default="warn", description="a file far larger than any run's largest usually is")
    run_bytes: Policy = Field(default="warn", description="far more bytes to copy than usual")
    run_files: Policy = Field(default="warn", description="far more files to copy than usual")
    future_mtime: Policy = Field(default="warn", description="files whose time of change is more than 5 minutes in the future")
    old_mtime: Policy = Field(default="ignore", description="files that were last changed more than a year ago")
    source_emptied: Told = Field(default="fail", description="a source without any file, which usually has some")
    source_shrank: Policy = Field(default="warn", description="a source with far fewer files than usual, less than half")
    emptied_files: Policy = Field(default="approve", description="10 files or more that became empty, and far more than usual")
    changed_files: Policy = Field(
        default="approve", description="20 files or more that changed at once, half of the source, and far more than usual"
    )
    new_extension: Policy = Field(
        default="approve", description="20 new files or more, half of them of one extension that the route never had, in place of others"
    )
    slow: Told = Field(default="warn", description="a copy that takes far longer than usual for its size; told while it runs")
    mismatch: Told = Field(default="warn", description="files with the source's size and time but not its content; copied again")
    leftovers: Told = Field(default="warn", description="what interrupted runs left on the target; removed when older than a day")


class Route(BaseModel):
    """One source, one target, and the options of the copy between them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: Annotated[str, AfterValidator(_name)] = Field(
        description="Name of the route, its own in the DAG: letters, digits, dots, dashes, underscores, at most 64", examples=["photos"]
    )
    source: Endpoint = Field(description="Where the files are; it is never written to")
    target: Endpoint = Field(description="Where they are copied to; no target may lie inside another route's")
    include: Patterns = Field(
        default=(), description="Patterns of what to copy; none means all. Excludes come first", examples=[["*.jpg", "/albums/"]]
    )
    exclude: Patterns = Field(default=(), description="Patterns of what to leave out", examples=[["*.tmp", "cache/"]])
    min_age: Seconds = Field(default=0, description="Files younger than this are held: they may still be being written", examples=["5m"])
    scan: Scan = Field(
        default="full",
        description="`full` compares both ends, `quick` looks at what changed on the source since the last green run (docs/scan.md)",
        examples=["quick"],
    )
    verify: Verify = Field(
        default="checksum",
        description="`checksum` compares what the run moved, `all` the whole tree (and mends it), `size` only sizes, `none` nothing",
        examples=["all"],
    )
    preserve: Annotated[tuple[Keep, ...], Field(strict=False), AfterValidator(_canonical)] = Field(
        default=("times", "modes", "links"),
        description="What to keep beside the content: `times`, `modes`, `links`, `owners`, `hardlinks`, `acls`, `xattrs`",
        examples=[["times", "modes", "links", "owners"]],
    )
    overwrite: Literal["changed", "newer", "never"] = Field(
        default="changed",
        description="Which files of the target may be replaced: those that differ, only those older than the source's, or none",
        examples=["newer"],
    )
    bandwidth: Bandwidth = Field(default=None, description="Most bytes a second; null or 0 is no limit", examples=["10M"])
    compress: bool = Field(default=False, description="Compress on the wire; for slow links", examples=[True])
    require: Annotated[Path, AfterValidator(_marker)] | None = Field(
        default=None,
        description="A path that must exist on the source, against a lost mount; relative to the source, or absolute",
        examples=[".mounted"],
    )
    target_auth: Literal["connection", "host"] = Field(
        default="connection",
        description="Who logs in to the target: the target Connection's key or password, or the source host with its own",
        examples=["host"],
    )
    job_dir: Annotated[Path, AfterValidator(_job_dir)] = Field(
        default="",
        description="Directory for the jobs on the host, absolute or `~/…`; empty means `~/.fs-sync`",
        examples=["/srv/jobs"],
    )
    small_file: Size = Field(
        default=100 * 1024**2,
        description="Files above this, up to `large_file`, go with the tier `small`, by rsync compressed where that pays (docs/sizes.md)",
        examples=["20M"],
    )
    large_file: Size = Field(
        default=1024**3,
        description="Where there is much to do, files above this are the tier `large`, all others `small` (docs/sizes.md)",
        examples=["500M"],
    )
    max_file: Annotated[int | None, BeforeValidator(parse_limit)] = Field(
        default=10 * 1024**3, description="Files above this are oversized; null or 0 is no limit", examples=["50G"]
    )
    oversized: Literal["approve", "transfer", "skip"] = Field(
        default="approve",
        description="What happens to these: a person is asked (not by the worker: there `transfer`), they are copied, or held for good",
        examples=["skip"],
    )
    approve: Approve = Field(
        default=Approve(),
        description="Ids of the users who may answer (none: all), for how long they are asked (0: for ever), and what counts then",
        examples=[{"users": ["alice"], "within": "2d", "default": "transfer"}],
    )
    anomalies: Anomalies = Field(
        default=Anomalies(),
        description="What is done about each kind of anomaly: `ignore`, `warn`, `hold`, `approve` or `fail` (docs/anomalies.md)",
        examples=[{"future_mtime": "hold", "run_bytes": "approve"}],
    )
    small: Tier = Field(
        default=Tier(),
        description="Limits of the job that goes ahead with small files; what it has not brought, `finish` brings",
        examples=[{"timeout": "30m"}],
    )
    large: Large = Field(default=Large(), description="The same for large files", examples=[{"timeout": "8h", "stall_after": "5m"}])
    timeout: Limit = Field(default=86400, description="Longest time of one job", examples=["6h"])
    stall_after: Limit = Field(default=900, description="A job that moves no byte for so long is stopped and tried again", examples=["10m"])
    stale_after: Seconds = Field(
        default=0, description="No green run for so long raises an alert, by `fs_sync_stale` (docs/alerts.md); 0 is never", examples=["1d"]
    )
    deletions: Annotated[Literal["keep"], BeforeValidator(_deletions)] = Field(
        default="keep", description="What happens on the target to a file that the source no longer has: it is kept", examples=["keep"]
    )
