"""The configuration of a DAG, text in and routes out: every route is mapped, a wrong one with all its faults."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pydantic import ValidationError

from fs_sync import faults, places
from fs_sync.errors import ConfigError
from fs_sync.faults import Fault
from fs_sync.form import FLAT, THRESHOLDS, Run, chosen, run_from_dict
from fs_sync.options import NAME, Route
from fs_sync.values import parse_duration, parse_size

TOP = ("defaults", "routes")
THRESHOLD = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
UNITS = {"M": "megabytes", "G": "gigabytes"}
SHAPE = '{"defaults": {…}, "routes": [{…}, …]}'


@dataclass(frozen=True)
class Kind:
    """
    What sets one DAG apart from another: the tool, what its ends are, and where the tool runs.

    An end is the files of the host where the tool runs (`host`), a server over SSH (`ssh`), a bucket (`s3`), or what its
    Connection says (`any`). The tool runs on the source's host, on the target's, or on the worker.
    """

    backend: Literal["rsync", "rclone"]
    target: Literal["ssh", "s3", "host", "any"]
    source: Literal["host", "s3", "any"] = "host"
    runner: Literal["source", "target", "worker"] = "source"


@dataclass(frozen=True)
class Mapped:
    """A route as the DAG maps over it: right (`route`) or wrong (`faults`), with the run's form and the run's nonce."""

    name: str
    route: Route | None
    faults: tuple[str, ...]
    run: Run
    nonce: str

    def to_dict(self) -> dict[str, Any]:
        """The mapped route as plain JSON, for XCom."""
        route = self.route.model_dump(mode="json") if self.route else None
        return {"name": self.name, "route": route, "faults": list(self.faults), "run": self.run.to_dict(), "nonce": self.nonce}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "Mapped":
        """Given what to_dict made, return the mapped route."""
        route = Route.model_validate(given["route"]) if given["route"] else None
        return cls(given["name"], route, tuple(given["faults"]), run_from_dict(given["run"]), given["nonce"])


@dataclass(frozen=True)
class _Raw:
    """
    One route as it is written: its place for messages, what it says itself, and with the defaults merged in.

    `variables` are the flat Variables, by the places in the route that they say; `wrong` are faults of their own.
    """

    at: tuple[str | int, ...]
    said: object
    merged: dict[str, Any]
    variables: Mapping[tuple[str | int, ...], str] = field(default_factory=dict)
    wrong: tuple[Fault, ...] = ()

    def text(self, end: str, key: str) -> str:
        """The text at source.path and the like; empty where it is missing or no text."""
        endpoint = self.merged.get(end)
        value = endpoint.get(key) if isinstance(endpoint, dict) else None
        return value if isinstance(value, str) else ""

    def path(self, end: str) -> str:
        """The path of an endpoint in its normal form."""
        return places.normal(self.text(end, "path"))

    def told(self, fault: Fault) -> str:
        """The fault as one line, at the place where the mend belongs: the route, the defaults or a flat Variable."""
        if fault.at in self.variables:
            return f"Variable {self.variables[fault.at]}: {fault.text}"
        at = ("defaults", *fault.at) if self._from_defaults(fault.at) else (*self.at, *fault.at)
        return f"{faults.place(at)}: {fault.text}"

    def _from_defaults(self, at: tuple[str | int, ...]) -> bool:
        return bool(self.at and at) and _has(self.merged, at) and not _has(self.said, at)


def parse(raw: str | None, flat: Mapping[str, str], kind: Kind, run: Run, nonce: str, variable: str = "The Variable") -> tuple[Mapped, ...]:
    """Given the text of the DAG's Variable (None: there is none) and the flat ones, return the run's routes.

    Raise ConfigError if the text is no configuration at all, or if the run's form names a route that isn't in it.
    """
    routes = [_flat_route(flat, kind)] if raw is None else _json_routes(raw, kind, variable)
    routes = [_with_thresholds(route, flat) for route in routes]
    names = [_mapped_name(route) for route in routes]
    wanted = chosen(run, tuple(dict.fromkeys(names)))
    mapped = []
    for place, (name, written) in enumerate(zip(names, routes, strict=True)):
        if name not in wanted:
            continue
        route, own = _validated(written, kind)
        told = [written.told(fault) for fault in own]
        told += [f"{faults.place((*written.at, *fault.at))}: {fault.text}" for fault in _against_earlier(written, routes[:place], kind)]
        mapped.append(Mapped(name, None if told else route, tuple(dict.fromkeys(told)), run, nonce))
    return tuple(mapped)


def _flat_route(flat: Mapping[str, str], kind: Kind) -> _Raw:
    said: dict[str, Any] = {"name": "default", "source": {}, "target": {}}
    for key, (end, part) in FLAT.items():
        if flat.get(key):
            said[end][part] = flat[key]
    return _Raw((), said, _merge(_builtin(kind), said), {at: key for key, at in FLAT.items()})


def _with_thresholds(route: _Raw, flat: Mapping[str, str]) -> _Raw:
    """The route with the deployment's thresholds where neither it nor the defaults say any."""
    merged, variables, wrong = {**route.merged}, {**route.variables}, list(route.wrong)
    for key, (option, unit) in THRESHOLDS.items():
        if key not in flat or option in merged or not isinstance(route.said, dict):
            continue
        variables[(option,)] = key
        number = flat[key].strip()
        if THRESHOLD.fullmatch(number):
            merged[option] = parse_size(f"{number}{unit}")
        else:
            none = "; 0 is no limit" if option == "max_file" else ""
            text = f'is not a number of {UNITS[unit]}; write one without a sign or a unit, as "10" or "0.5"{none}, or delete the Variable'
            wrong.append(Fault((option,), f"{faults.shown(flat[key])} {text}"))
    return replace(route, merged=merged, variables=variables, wrong=tuple(wrong))


def _json_routes(raw: str, kind: Kind, variable: str) -> list[_Raw]:
    document = read_json(raw, variable)
    if not isinstance(document, dict):
        raise ConfigError(f"{variable} is {faults.shown(document)}, not an object; write {SHAPE}")
    wrong = [f"{faults.ascii_safe(key)} {faults.unknown(key, TOP)}" for key in document if key not in TOP]
    defaults, routes = document.get("defaults", {}), document.get("routes")
    if not isinstance(defaults, dict):
        wrong.append("defaults is not an object; write it in braces, as {…}")
    elif "name" in defaults:
        wrong.append("defaults.name: a name belongs to one route; write it there")
    if not isinstance(routes, list) or not routes:
        wrong.append(f"routes {'is missing' if routes is None else 'is not a list of routes'}; write {SHAPE}")
    if wrong or not isinstance(routes, list):
        raise ConfigError(f"{variable}: " + "; ".join(wrong))
    base = _merge(_builtin(kind), defaults)
    return [_Raw(("routes", place), said, _merge(base, said) if isinstance(said, dict) else {}) for place, said in enumerate(routes)]


def stale_limits(raw: str, variable: str) -> tuple[dict[str, int], tuple[str, ...]]:
    """
    Given the text of a Variable, return each route's `stale_after` (seconds), if it has one, and a line for each that can't be read.

    What else is wrong in it is told by the DAGs that copy: this goes for all of them, whatever their kind. Text that names no routes
    has no limits.
    """
    try:
        document = read_json(raw, variable)
    except ConfigError as error:
        return {}, (str(error),) if "stale_after" in raw else ()
    routes, base = (document.get("routes"), document.get("defaults")) if isinstance(document, dict) else (None, None)
    limits, wrong = {}, []
    for place, said in enumerate(routes if isinstance(routes, list) else ()):
        merged = {**(base if isinstance(base, dict) else {}), **(said if isinstance(said, dict) else {})}
        route = _Raw(("routes", place), said, merged)
        try:
            limit = parse_duration(merged.get("stale_after", 0))
        except ValueError as error:
            fault = Fault(("stale_after",), f"{faults.shown(merged['stale_after'])} {error}")
            wrong.append(f"{variable}: {route.told(fault)}")
            continue
        if limit:
            limits[_mapped_name(route)] = limit
    return limits, tuple(wrong)


def read_json(raw: str, variable: str) -> object:
    """Given the text of a Variable, return its JSON. Raise ConfigError on what JSON forbids or leaves open; never quote it."""
    if raw.startswith("\ufeff"):
        raise ConfigError(f"{variable} begins with a byte order mark; save it as UTF-8 without one")
    if not raw.strip():
        raise ConfigError(f"{variable} is empty; write {SHAPE}, or delete it to use the flat Variables")
    try:
        return json.loads(raw, object_pairs_hook=_once, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{variable} is not JSON: {error.msg} at {where}; mend it there") from None
    except RecursionError:
        raise ConfigError(f"{variable} is nested too deeply; write {SHAPE}") from None
    except ValueError as error:
        raise ConfigError(f"{variable} is not a configuration: {error}") from None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    keys = [key for key, _ in pairs]
    twice = sorted({faults.ascii_safe(key) for key in keys if keys.count(key) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands more than once in one object, and only one can count; delete the others")
    return dict(pairs)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number; write a number")


def _builtin(kind: Kind) -> dict[str, Any]:
    source = "s3_source_conn" if kind.source == "s3" else "sftp_source_conn"
    target = "s3_target_conn" if kind.target == "s3" else "sftp_target_conn"
    ends: dict[str, Any] = {"source": {"conn": source}, "target": {"conn": target}}
    # One run at a time: it must not wait for a person.
    return {**ends, "oversized": "transfer"} if kind.runner == "worker" else ends


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = {**base, **over}
    for part in ("source", "target", "anomalies"):
        if isinstance(base.get(part), dict) and isinstance(over.get(part), dict):
            merged[part] = {**base[part], **over[part]}
    return merged


def _has(value: object, at: tuple[str | int, ...]) -> bool:
    for step in at:
        try:
            value = value[step]  # type: ignore[index]
        except (IndexError, KeyError, TypeError):
            return False
    return True


def _mapped_name(route: _Raw) -> str:
    name = route.merged.get("name")
    return name if isinstance(name, str) and NAME.fullmatch(name) else faults.place(route.at)


def _validated(written: _Raw, kind: Kind) -> tuple[Route | None, tuple[Fault, ...]]:
    if not isinstance(written.said, dict):
        return None, (Fault((), f"{faults.shown(written.said)} is not a route; write it in braces, as {{…}}"),)
    own = (*written.wrong, *_of_endpoints(written, kind))
    try:
        route = Route.model_validate(written.merged)
    except ValidationError as error:
        return None, (*faults.of(error, Route), *own)
    if route.max_file is not None and "large_file" not in route.model_fields_set:
        route = route.model_copy(update={"large_file": min(route.large_file, route.max_file)})
    if "small_file" not in route.model_fields_set:
        route = route.model_copy(update={"small_file": min(route.small_file, route.large_file)})
    own = (*own, *_of_sizes(written, route, kind))
    # Of a bucket the path is a prefix.
    for end, place in (("source", route.source), ("target", route.target)):
        if place.bucket:
            route = route.model_copy(update={end: place.model_copy(update={"path": place.path.lstrip("/")})})
    return route, own


def _of_sizes(written: _Raw, route: Route, kind: Kind) -> tuple[Fault, ...]:
    found = []
    large = f"large_file, {route.large_file} bytes"
    if ("large_file",) in written.variables:
        large += f" (Variable {written.variables[('large_file',)]})"
    # Where one can't be read, the default in its place contradicts nobody.
    if route.small_file > route.large_file and not written.wrong:
        text = f"{route.small_file} bytes are more than {large}, so that no file could be between them; lower it, or raise large_file"
        found.append(Fault(("small_file",), text))
    if route.max_file is not None and route.large_file > route.max_file and not written.wrong:
        text = f"{route.max_file} bytes are less than {large}, so that no file could be large; raise it, or lower large_file"
        found.append(Fault(("max_file",), text))
    if route.approve.default == "transfer" and not route.approve.within:
        found.append(Fault(("approve", "default"), "'transfer' counts only when the time is over; say for how long with approve.within"))
    if kind.runner == "worker" and route.oversized == "approve":
        text = '\'approve\' would keep all routes of this DAG waiting, which has one run at a time; write "transfer" or "skip"'
        found.append(Fault(("oversized",), text))
    return tuple(found)


def _of_endpoints(written: _Raw, kind: Kind) -> tuple[Fault, ...]:
    found = [*_of_end(written, "source", kind.source), *_of_end(written, "target", kind.target)]
    source, target = written.path("source"), written.path("target")
    buckets = written.text("source", "bucket"), written.text("target", "bucket")
    if not buckets[1] and kind.target != "s3" and target == "/":
        found.append(Fault(("target", "path"), "is the root of the file system; name a directory of its own"))
    elif written.text("source", "conn") == written.text("target", "conn") and buckets[0] == buckets[1]:
        if buckets[0]:
            source, target = f"/{source.strip('/')}", f"/{target.strip('/')}"
        if source and target:
            found += _of_nesting(source, target)
    return tuple(found)


def _of_end(written: _Raw, end: str, kind: str) -> list[Fault]:
    bucket = written.text(end, "bucket")
    if kind == "s3":
        missing = not bucket and _blank(written, end, "bucket")
        return [Fault((end, "bucket"), 'is missing; write it, as "backup"')] if missing else []
    if kind == "any" and bucket:
        return []
    found = _of_path(written, end)
    if bucket and end == "source":
        found.append(Fault((end, "bucket"), "this DAG copies from a server; take the bucket out, or use fs_sync_rclone_from_minio"))
    elif bucket:
        found.append(Fault((end, "bucket"), "this DAG copies to a server; take the bucket out, or use the DAG for buckets"))
    return found


def _of_path(written: _Raw, end: str) -> list[Fault]:
    if _blank(written, end, "path"):
        return [Fault((end, "path"), 'is missing; write it, as "/srv/data"')]
    path = written.text(end, "path")
    broken = places.rooted_fault(path) if path else None
    return [Fault((end, "path"), f"{faults.shown(path)} {broken}")] if broken else []


def _blank(written: _Raw, end: str, key: str) -> bool:
    """Whether a text is missing; what is there but no text, or whose endpoint is no object, is pydantic's to tell."""
    endpoint = written.merged.get(end)
    return isinstance(endpoint, dict) and endpoint.get(key, "") == ""


def _of_nesting(source: str, target: str) -> list[Fault]:
    if source == target:
        text = "is the same place as the source; name another"
    elif places.inside(target, source):
        text = f"{faults.shown(target)} lies inside the source {faults.shown(source)} and would be copied into itself; name another"
    elif places.inside(source, target):
        text = f"{faults.shown(target)} holds the source {faults.shown(source)}, which must never be written to; name another"
    else:
        return []
    return [Fault(("target", "path"), text)]


def _against_earlier(written: _Raw, earlier: list[_Raw], kind: Kind) -> list[Fault]:
    found = []
    for other in earlier:
        name, there = _mapped_name(written), faults.place(other.at)
        if _mapped_name(other) == name:
            found.append(Fault(("name",), f"{faults.shown(name)} is also the name of {there}; give each route its own"))
        if _overlap(written, other, kind):
            text = f"lies in, or holds, the target of {there}, {faults.shown(other.path('target'))}; give each route its own"
            found.append(Fault(("target", "path"), text))
    return found


def _overlap(one: _Raw, other: _Raw, kind: Kind) -> bool:
    place = ("conn",) if kind.target in ("ssh", "host") else ("conn", "bucket")
    here, there = one.path("target"), other.path("target")
    if any(one.text("target", part) != other.text("target", part) for part in place):
        return False
    if kind.target == "s3" or (kind.target == "any" and one.text("target", "bucket")):
        here, there = here.lstrip("/"), there.lstrip("/")
        if not one.text("target", "bucket"):
            return False
    elif not here or not there:
        return False
    return places.inside(here, there) or places.inside(there, here)
