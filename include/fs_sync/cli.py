"""The command fs-sync-history: the last runs of routes in the terminal, asked of an Airflow by its REST API."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from fs_sync import history
from fs_sync.history import Entry
from fs_sync.records import printable

ADDRESS, USER, PASSWORD, TOKEN = (f"FS_SYNC_AIRFLOW_{word}" for word in ("URL", "USER", "PASSWORD", "TOKEN"))
DEFAULT_ADDRESS, DEFAULT_USER = "http://127.0.0.1:8080", "admin"
ASSETS = "fs-sync/"
PAGE = 100  # Airflow gives no more at once
HERE = ("127.0.0.1", "localhost", "::1")
USAGE = f"""
The login stands in the environment, never on the command line: {TOKEN}, or {PASSWORD} of the user; without either the password is
asked for.
"""


class Trouble(Exception):
    """What a person has to mend, in words."""


@dataclass(frozen=True)
class Found:
    """The histories of a Variable's routes by their names, and what is wrong with what is stored."""

    variable: str
    routes: Mapping[str, tuple[Entry, ...]]
    faults: tuple[str, ...]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the histories that the command line asks for; return 0, or 1 with what is to be mended on standard error."""
    said = _parser().parse_args(argv)
    try:
        with _client(said.url) as client:
            client.headers["Authorization"] = f"Bearer {_token(client, said.user)}"
            found = tuple(_found(client, said.variable, said.route))
    except Trouble as trouble:
        print(f"fs-sync-history: {trouble}", file=sys.stderr)
        return 1
    for one in found:
        for fault in one.faults:
            print(f"fs-sync-history: {fault}", file=sys.stderr)
    sys.stdout.write(_as_json(found, said.last) if said.json else _as_tables(found, said.last))
    return 0


def _parser() -> argparse.ArgumentParser:
    environment = os.environ
    parser = argparse.ArgumentParser("fs-sync-history", description="The last runs of routes, the newest first.", epilog=USAGE)
    parser.add_argument(
        "variable", nargs="*", help="Variables whose routes are shown (a DAG's id, unless it shares another's); all without"
    )
    parser.add_argument("--route", action="append", metavar="NAME", help="only this route; may be given again")
    parser.add_argument("--last", type=_count, default=10, metavar="N", help="how many runs of each route (10)")
    parser.add_argument("--json", action="store_true", help="as JSON, the oldest first, with all that is kept of a run")
    parser.add_argument(
        "--url",
        default=environment.get(ADDRESS) or DEFAULT_ADDRESS,
        help=f"address of Airflow's API server; else {ADDRESS}, else {DEFAULT_ADDRESS}",
    )
    parser.add_argument("--user", default=environment.get(USER) or DEFAULT_USER, help=f"who logs in; else {USER}, else {DEFAULT_USER}")
    return parser


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= history.KEPT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {history.KEPT}, which are the runs that are kept")
    return int(text)


def _client(url: str) -> httpx.Client:
    try:
        here = httpx.URL(url).host in HERE
        # A proxy of the environment can't know what is on this machine.
        return httpx.Client(base_url=url, timeout=30, trust_env=not here)
    except (httpx.InvalidURL, ValueError) as error:
        raise Trouble(f"the address {url!r} is none: {error}; write it as {DEFAULT_ADDRESS}, by --url or {ADDRESS}") from None


def _token(client: httpx.Client, user: str) -> str:
    """The token that the environment holds, or that is got for the user's password. Raise Trouble if there is none."""
    token = os.environ.get(TOKEN, "").strip() or _log_in(client, user)
    if not token.isascii() or not token.isprintable():
        raise Trouble(f"what stands in {TOKEN} is no token; take the `access_token` of a POST to /auth/token")
    return token


def _log_in(client: httpx.Client, user: str) -> str:
    password = os.environ.get(PASSWORD)
    if password is None:
        if not sys.stdin.isatty():
            raise Trouble(f"there is no password for the user {user!r}; set {PASSWORD} or {TOKEN} in the environment")
        password = getpass.getpass(f"Password of {user} at {client.base_url}: ")
    response = _asked(client, "POST", "/auth/token", json={"username": user, "password": password})
    if response.status_code in (401, 403):
        raise Trouble(f"{client.base_url} refused the login of the user {user!r} (401); check --user or {USER}, and {PASSWORD}")
    if response.status_code in (404, 405, 422):
        raise Trouble(
            f"{client.base_url} gives no token for a password ({response.status_code}): no Airflow answers there, or one that logs in "
            f"in another way; check --url or {ADDRESS}, or set {TOKEN}"
        )
    return str(_read(client, response).get("access_token"))


def _found(client: httpx.Client, variables: Sequence[str], routes: Sequence[str] | None) -> Iterator[Found]:
    """Yield the histories of the Variables, of all that have one if none is named. Raise Trouble if one that is named has none."""
    assets = {
        str(one["name"]).removeprefix(ASSETS): int(one["id"])
        for one in _all(client, "/api/v2/assets", "assets", name_pattern=ASSETS)
        if str(one.get("name")).startswith(ASSETS)
    }
    known = f"known are {', '.join(sorted(assets)) or 'none: no DAG of fs-sync is there'}"
    for variable in variables or sorted(assets):
        if variable not in assets:
            raise Trouble(f"there is no asset {ASSETS + variable!r}, so {variable!r} is no Variable of a DAG of fs-sync; {known}")
        found = _of_asset(client, variable, assets[variable], routes)
        if found.routes or found.faults:
            yield found
        elif variables:
            which = f"no history of route {', '.join(map(repr, routes))}" if routes else "no history yet"
            raise Trouble(f"{variable!r} has {which}; a route has one after its first run, under its DAG's Variable: {known}")


def _of_asset(client: httpx.Client, variable: str, asset: int, routes: Sequence[str] | None) -> Found:
    found, faults = {}, []
    beginning = history.key("")
    for stored in _all(client, f"/api/v2/assets/{asset}/state-store", "asset_state_store"):
        name = printable(str(stored.get("key")).removeprefix(beginning))
        if not str(stored.get("key")).startswith(beginning) or (routes and name not in routes):
            continue
        entries, fault = history.read(stored.get("value"))
        if fault:
            path = f"/api/v2/assets/{asset}/state-store/{quote(history.key(name))}"
            faults.append(f"the history of route {name} of {variable} {fault}; the next run of the route mends it, as would: DELETE {path}")
        if entries:
            found[name] = entries
    return Found(variable, found, tuple(faults))


def _all(client: httpx.Client, path: str, name: str, **parameters: Any) -> list[Mapping[str, Any]]:
    """All items of a collection, which comes in pages."""
    found: list[Mapping[str, Any]] = []
    while True:
        page = _read(client, _asked(client, "GET", path, params={**parameters, "limit": PAGE, "offset": len(found)}))
        items = page.get(name)
        if not isinstance(items, list) or not all(isinstance(one, Mapping) for one in items):
            raise Trouble(f"{client.base_url} answered {path} as no Airflow 3.3 does; check --url or {ADDRESS}")
        found += items
        if not items or len(found) >= int(page.get("total_entries") or 0):
            return found


def _asked(client: httpx.Client, method: str, path: str, **arguments: Any) -> httpx.Response:
    try:
        return client.request(method, path, **arguments)
    except (httpx.TransportError, httpx.InvalidURL, UnicodeError) as error:
        told = str(error) or type(error).__name__
        raise Trouble(f"Airflow can't be reached at {client.base_url}: {told}; check --url or {ADDRESS}, and that it runs") from None


def _read(client: httpx.Client, response: httpx.Response) -> Mapping[str, Any]:
    if response.status_code in (401, 403):
        why = "the token is not valid (any more), or its user may not read assets"
        raise Trouble(f"{client.base_url} refused ({response.status_code}): {why}; check {TOKEN}, or --user and {PASSWORD}")
    try:
        plain = response.json() if response.is_success else None
    except ValueError:
        plain = None
    if not isinstance(plain, Mapping):
        raise Trouble(
            f"{response.request.url} answered {response.status_code} and not as Airflow 3.3 does: {printable(response.text)[:200]}; "
            f"check --url or {ADDRESS}"
        )
    return plain


def _as_tables(found: Sequence[Found], last: int) -> str:
    """A table for each Variable, under its name."""
    blocks = ["\n".join((one.variable, *history.table(one.routes, last))) + "\n" for one in found if one.routes]
    return "\n".join(blocks) or "no route has a history yet; it has one after its first run\n"


def _as_json(found: Sequence[Found], last: int) -> str:
    plain = {one.variable: {name: history.plain(entries[-last:]) for name, entries in one.routes.items()} for one in found}
    return json.dumps(plain, indent=2) + "\n"


if __name__ == "__main__":
    sys.exit(main())
