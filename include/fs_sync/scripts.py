"""A route as the scripts of its steps: which flags say each option to each tool, and the text with all values quoted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fs_sync import keys, patterns, templates
from fs_sync.credentials import Target
from fs_sync.job import TIERS
from fs_sync.options import Endpoint, Route
from fs_sync.route import Kind

STEPS = ("plan", *TIERS, "finish", "oversized")
# The step is that of finish, for some names alone.
TEMPLATES = {**dict.fromkeys(TIERS, "tier"), "oversized": "finish"}
# Runs of rsync, or transfers of rclone, side by side: more of small files than of large ones, of which each fills the link longer.
STREAMS = {"rsync": {"small": 4, "large": 2}, "rclone": {"small": 16, "large": 2}}

# rsync's flag for each kind of thing to preserve.
RSYNC_PRESERVE = {
    "times": "--times",
    "modes": "--perms",
    "links": "--links",
    "owners": "--owner --group",
    "hardlinks": "--hard-links",
    "acls": "--acls",
    "xattrs": "--xattrs",
}
# A quick scan looks so many seconds further back than the last green run began: file systems and hosts tick apart.
OVERLAP = 60
OVERWRITE = {"changed": (), "newer": ("--update",), "never": ("--ignore-existing",)}
HERE = {"source": "the source host", "target": "the target host", "worker": "the worker"}
AUTH_WORDS = {"key": "its private key", "password": "its password", "host": "the source host's own key"}


def render(
    step: str, route: Route, target: Target, kind: Kind, source: Target | None = None, *, dry_run: bool = False, answer: str = ""
) -> str:
    """
    Given a step of a route and its ends, return the script that the host runs where the tool is. It holds no secret.

    Without a `source` the files to copy are those of that host. `answer` is a person's, for the step `oversized`.
    """
    if step not in STEPS:
        raise ValueError(f"step {step!r} is none of {', '.join(STEPS)}")
    values = {
        "step": step,
        "name": route.name,
        "backend": kind.backend,
        "source": source.kind if source else "host",
        "target": target.kind,
        "runner": kind.runner,
        "here": HERE[kind.runner],
        "source_conn": route.source.conn,
        "source_path": route.source.path,
        "require": route.require,
        "min_age": route.min_age,
        "scan": "quick" if step == "oversized" else route.scan,
        "overlap": max(route.min_age, OVERLAP),
        "links": "links" in route.preserve,
        "verify": route.verify,
        "overwrite": route.overwrite,
        "bandwidth": route.bandwidth,
        "small_file": route.small_file,
        "large_file": route.large_file,
        "max_file": route.max_file if route.oversized != "transfer" else None,
        "size_limit": route.max_file,
        "oversized": route.oversized,
        "policies": _policies(route, kind),
        "answer": answer,
        "streams": STREAMS[kind.backend].get(step, 1),
        "overwrite_flags": OVERWRITE[route.overwrite],
        "compress": route.compress,
        "dry_run": dry_run,
        "auth": target.auth,
        "target_conn": target.conn_id,
        "exclude_rules": patterns.ere_rules(route.exclude),
        "include_rules": patterns.ere_rules(route.include),
        "remote": lambda name: templates.one_line(f"remote/{name}.sh"),
        **_of_backend(route, kind),
        **_of_target(route, target),
        **(_of_source(route, source, target) if source else {}),
    }
    return templates.render(f"{TEMPLATES.get(step, step)}.sh.j2", **values)


def _policies(route: Route, kind: Kind) -> dict[str, str]:
    """What the plan does about each anomaly. The worker has one run at a time, which must not wait for a person."""
    said = route.anomalies.model_dump()
    return {name: "hold" if policy == "approve" and kind.runner == "worker" else policy for name, policy in said.items()}


def _of_backend(route: Route, kind: Kind) -> dict[str, Any]:
    if kind.backend == "rsync":
        return {
            "rules": patterns.rsync_rules(route.include, route.exclude),
            "flags": rsync_flags(route),
            # rsync counts in KiB, and takes 0 for no limit.
            "bwlimit": max(1, (route.bandwidth or 0) // 1024),
        }
    return {"rules": patterns.rclone_rules(route.include, route.exclude), "flags": rclone_flags(route)}


def _of_target(route: Route, target: Target) -> dict[str, Any]:
    path = {"target_path": route.target.path, "target_end": _end("target", route.target, target)}
    if target.kind != "s3":
        return path
    return {**path, "bucket": route.target.bucket, "bucket_path": _bucket_path(route.target), "endpoint": target.endpoint}


def _of_source(route: Route, source: Target, target: Target) -> dict[str, Any]:
    if source.kind == "s3":
        return {
            "source_end": _end("source", route.source, source),
            "source_bucket_path": _bucket_path(route.source),
            "same_store": replace(source, conn_id="") == replace(target, conn_id=""),
        }
    if not (source.key and target.key):
        return {"source_end": _end("source", route.source, source)}
    # The agent has two keys, and each end is to be asked with its own.
    return {
        "source_end": _end("source", route.source, source, keys.public_key(source.key)),
        "target_end": _end("target", route.target, target, keys.public_key(target.key)),
    }


def _end(word: str, place: Endpoint, login: Target, public_key: str = "") -> dict[str, Any]:
    """What the scripts know of an end that they log in to."""
    words = AUTH_WORDS[login.auth]
    return {**login.public, "word": word, "bucket": place.bucket, "auth_words": words, "public_key": public_key}


def _bucket_path(place: Endpoint) -> str:
    prefix = place.path.strip("/")
    return f"{place.bucket}/{prefix}" if prefix else place.bucket


def rsync_flags(route: Route) -> tuple[str, ...]:
    """The flags of rsync that say a route's options, one a line in the run's log when it is verbose."""
    kept = tuple(flag for kind in route.preserve for flag in RSYNC_PRESERVE[kind].split())
    return (
        *kept,
        # Without times there is nothing to tell a changed file by but its content.
        *(() if "times" in route.preserve else ("--checksum",)),
        *(("--compress",) if route.compress else ()),
        *(("--prune-empty-dirs",) if route.include else ()),
        "--sparse",
    )


def rclone_flags(route: Route) -> tuple[str, ...]:
    """The flags of rclone that say a route's options."""
    return (
        # What is held is found by find, and reported by name.
        "--skip-links",
    )
