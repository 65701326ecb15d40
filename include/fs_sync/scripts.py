"""A route as the scripts of its steps: which flags say each option to each tool, and the text with all values quoted."""

from __future__ import annotations

from typing import Any

from fs_sync import patterns, templates
from fs_sync.credentials import Target
from fs_sync.options import Route
from fs_sync.route import Kind

STEPS = ("plan", "transfer", "finish")

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
OVERWRITE = {"changed": (), "newer": ("--update",), "never": ("--ignore-existing",)}
AUTH_WORDS = {"key": "its private key", "password": "its password", "host": "the source host's own key"}


def render(step: str, route: Route, target: Target, kind: Kind, *, dry_run: bool = False) -> str:
    """Given a step of a route and its target, return the script that the source host runs. It holds no secret."""
    if step not in STEPS:
        raise ValueError(f"step {step!r} is none of {', '.join(STEPS)}")
    values = {
        "step": step,
        "name": route.name,
        "backend": kind.backend,
        "target": kind.target,
        "source_path": route.source.path,
        "require": route.require,
        "min_age": route.min_age,
        "links": "links" in route.preserve,
        "verify": route.verify,
        "overwrite": route.overwrite,
        "bandwidth": route.bandwidth,
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
    }
    return templates.render(f"{step}.sh.j2", **values)


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
    if target.kind == "ssh":
        return {
            "target_path": route.target.path,
            "target_host": target.host,
            "target_port": target.port,
            "target_login": target.login,
            "host_keys": target.host_keys,
            "auth_words": AUTH_WORDS[target.auth],
        }
    prefix = route.target.path.strip("/")
    return {
        "bucket": route.target.bucket,
        "bucket_path": f"{route.target.bucket}/{prefix}" if prefix else route.target.bucket,
        "endpoint": target.endpoint,
        "region": target.region,
        "provider": target.provider,
    }


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
