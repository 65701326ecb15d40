"""The cursor of a route: from where on a quick scan looks, as Airflow keeps it from one green run to the next."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fs_sync.credentials import Target
from fs_sync.job import TIERS
from fs_sync.options import Route
from fs_sync.route import Kind

# What may change in a route without any file being looked at in another way.
FREE = (
    "name",
    "verify",
    "bandwidth",
    "compress",
    "timeout",
    "stall_after",
    "stale_after",
    "scan",
    "deletions",
    "target_auth",
    "small_file",
    "large_file",
    "approve",
    "anomalies",
    *TIERS,
)


@dataclass(frozen=True)
class Cursor:
    """
    The last green run of a route: its token, the source host's clock when it began (seconds), and what the route was.

    The host keeps the first two as well. A quick scan is one only if both say the same.
    """

    token: str
    at: int
    definition: str

    def to_dict(self) -> dict[str, Any]:
        """The cursor as plain JSON, for the asset state store."""
        return asdict(self)


def definition(route: Route, kind: Kind, target: Target, source: Target | None, host: str) -> str:
    """Given a route, its ends and the host where the tool runs, return a digest of what its copy is of and goes to."""
    ends = [(end.kind, end.address, end.login, end.endpoint) if end else None for end in (source, target)]
    said = route.model_dump(mode="json", exclude=set(FREE))
    return hashlib.sha256(json.dumps([said, asdict(kind), ends, host], sort_keys=True).encode()).hexdigest()[:16]


def read(state: object, now: str) -> dict[str, str]:
    """
    Given what the store holds for a route, and the route's definition now, return what its plan gets as its environment.

    That is the cursor, or in words why there is none: then everything is looked at.
    """
    if not isinstance(state, Mapping):
        return {"FS_SYNC_NO_CURSOR": "Airflow has no cursor of an earlier green run"}
    if state.get("definition") != now:
        return {"FS_SYNC_NO_CURSOR": "the route or one of its connections was changed since its last green run"}
    return {"FS_SYNC_CURSOR": f"{state.get('token')} {state.get('at')}"}
