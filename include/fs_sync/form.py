"""The form of a manual run and the flat Variables: all that a run may say, and nothing that could redirect it."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass

from fs_sync.errors import ConfigError
from fs_sync.faults import ascii_safe, guess, shown, unknown
from fs_sync.options import SCAN, VERIFY, Route, parse_bandwidth

# The flat Variables that make up the only route of a DAG without its JSON Variable, and their places in that route.
FLAT: dict[str, tuple[str, str]] = {
    "fs_sync_source_conn": ("source", "conn"),
    "fs_sync_source_path": ("source", "path"),
    "fs_sync_source_s3_bucket": ("source", "bucket"),
    "fs_sync_target_conn": ("target", "conn"),
    "fs_sync_target_path": ("target", "path"),
    "fs_sync_target_s3_bucket": ("target", "bucket"),
}
# The deployment's thresholds, for all routes of all DAGs that do not say their own: the option of each, and the unit of its number.
THRESHOLDS: dict[str, tuple[str, str]] = {
    "fs_sync_small_file_mb": ("small_file", "M"),
    "fs_sync_large_file_gb": ("large_file", "G"),
    "fs_sync_max_file_gb": ("max_file", "G"),
}
# The Variable that says who is told when a route fails and the like (alerts.py).
ALERTS = "fs_sync_alerts"
# Variables with these beginnings are those of the DAGs themselves, ours and further ones of the same backend.
_OF_DAGS = ("fs_sync_rsync", "fs_sync_rclone", "fs_sync_service")
# A message about a wrong name lists no more of the right ones.
MOST_NAMES = 50


@dataclass(frozen=True)
class Run:
    """What the form of a run says: which routes (none named is all), dry run, and what it sets for all of them."""

    routes: tuple[str, ...] = ()
    dry_run: bool = False
    verify: str | None = None
    bandwidth: int | None = None  # bytes a second; 0 lifts the route's limit
    scan: str | None = None

    def to_dict(self) -> dict[str, object]:
        """The run as plain JSON."""
        return {**asdict(self), "routes": list(self.routes)}


def run_params(scan: str | None = None) -> dict[str, dict[str, object]]:
    """Given the scan that is the DAG's own, return the form's fields: for each its default, title, description and JSON schema."""
    return {
        "routes": {
            "default": [],
            "title": "Routes",
            "description": "Names of the routes to copy, one a line; none means all",
            "type": ["null", "array"],
            "items": {"type": "string"},
        },
        "dry_run": {
            "default": False,
            "title": "Dry run",
            "description": "Check everything and say what would be copied; copy nothing",
            "type": "boolean",
        },
        "verify": {
            "default": None,
            "title": "Verify",
            "description": "How to prove the copy",
            "type": ["null", "string"],
            "enum": [None, *VERIFY],
            "values_display": {"null": "as each route says"},
        },
        "bandwidth": {
            "default": None,
            "title": "Bandwidth",
            "description": 'Most bytes a second, as "10M"; "0" lifts the limit; empty means as each route says',
            "type": ["null", "string"],
        },
        "scan": {
            "default": scan,
            "title": "Scan",
            "description": "Compare both ends, or look only at what changed on the source since the last green run",
            "type": ["null", "string"],
            "enum": [None, *SCAN],
            "values_display": {"null": "as each route says"},
        },
    }


def read_run(given: Mapping[str, object]) -> Run:
    """Given the form's values, params and conf alike, return the Run. Raise ConfigError with all faults."""
    readers: dict[str, Callable[[object], object]] = {
        "routes": _routes,
        "dry_run": _flag,
        "verify": _one_of(VERIFY),
        "bandwidth": _bandwidth,
        "scan": _one_of(SCAN),
    }
    read: dict[str, object] = {}
    faults = []
    for key, value in given.items():
        try:
            if key in readers:
                read[key] = readers[key](value)
            else:
                faults.append(f"{ascii_safe(key)} {unknown(key, readers)}")
        except ValueError as error:
            faults.append(f"{key}: {shown(value)} {error}")
    if faults:
        raise ConfigError("The run's form: " + "; ".join(faults))
    return run_from_dict(read)


def run_from_dict(given: Mapping[str, object]) -> Run:
    """Given what Run.to_dict made, return the Run."""
    routes, bandwidth = given.get("routes", ()), given.get("bandwidth")
    verify, scan = given.get("verify"), given.get("scan")
    return Run(
        routes=tuple(str(name) for name in routes) if isinstance(routes, list | tuple) else (),
        dry_run=given.get("dry_run") is True,
        verify=verify if isinstance(verify, str) else None,
        bandwidth=bandwidth if isinstance(bandwidth, int) else None,
        scan=scan if isinstance(scan, str) else None,
    )


def _routes(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ValueError('is not a list of names; write it in brackets, as ["photos"]')
    return tuple(dict.fromkeys(name.strip() for name in value if name.strip()))


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is not true or false; write one of them, without quotes")
    return value


def _one_of(words: tuple[str, ...]) -> Callable[[object], object]:
    def reader(value: object) -> str | None:
        if value is None or value == "":
            return None
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"is not one of {', '.join(words)}")
        return value

    return reader


def _bandwidth(value: object) -> int | None:
    return None if value is None or value == "" else parse_bandwidth(value) or 0


def chosen(run: Run, names: Collection[str]) -> frozenset[str]:
    """Given the run and the names of all routes, return the names of those to copy. Raise ConfigError on unknown ones."""
    missing = [name for name in run.routes if name not in names]
    if missing:
        known = ", ".join([*names][:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")
        raise ConfigError(f"The run's form: routes: no route is named {', '.join(map(shown, missing))}; known are {known}")
    return frozenset(run.routes or names)


def apply_run(route: Route, run: Run) -> Route:
    """Given a route and a run's form, return the route as this run copies it."""
    changes: dict[str, object] = {}
    if run.verify is not None:
        changes["verify"] = run.verify
    if run.scan is not None:
        changes["scan"] = run.scan
    if run.bandwidth is not None:
        changes["bandwidth"] = run.bandwidth or None
    return route.model_copy(update=changes)


def unknown_flat(keys: Iterable[str], known: Collection[str] = ()) -> tuple[str, ...]:
    """Given the keys of all Variables and those of the DAGs, return a warning for each fs_sync_* key that nothing reads."""
    ours = (*FLAT, *THRESHOLDS, ALERTS)
    strange = (key for key in sorted(keys) if key.startswith("fs_sync_") and key not in ours and key not in known)
    return tuple(
        f"Variable {key} is read by nothing; {guess(key, ours)}; mend or delete it" for key in strange if not key.startswith(_OF_DAGS)
    )
