"""The histories of routes in the state store of their Variable's asset; one that can't be reached is a warning, never an error."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import Asset

from fs_sync import history
from fs_sync.history import Entry
from fs_sync.options import NAME

log = logging.getLogger(__name__)


def entries(context: Any, route: str) -> tuple[Entry, ...] | None:
    """
    Given a task's context and a route's name, return the route's history, oldest first; None if it can't be had.

    That is so where the task has no such asset, where the route has no right name, and, with a warning, where the store is not reached.
    What stands there and can't be read is left out, with a warning.
    """
    from airflow.sdk.exceptions import AirflowRuntimeError

    asset = _asset(context)
    if asset is None or not NAME.fullmatch(route):
        return None
    try:
        state = context["asset_state_store"][asset].get(history.key(route))
    except AirflowRuntimeError as error:
        log.warning("The history of route %s can't be read; nothing else depends on it: %s", route, error)
        return None
    found, fault = history.read(state)
    if fault:
        log.warning(
            "The history of route %s, key %r in the state store of the asset %r, %s. It goes on with the %d entries that can be read; "
            "delete the key by REST to begin it anew",
            *(route, history.key(route), asset.name, fault, len(found)),
        )
    return found


def keep(context: Any, route: str, entry: Entry) -> tuple[Entry, ...] | None:
    """Add an entry to a route's history and return the history, None if it can't be had; that it can't be stored is a warning."""
    from airflow.sdk.exceptions import AirflowRuntimeError

    asset, found = _asset(context), entries(context, route)
    if asset is None or found is None:
        return None
    found = history.added(found, entry)
    try:
        context["asset_state_store"][asset].set(history.key(route), history.plain(found))
    except AirflowRuntimeError as error:
        log.warning("This run could not be added to the history of route %s; nothing else depends on it: %s", route, error)
    return found


def _asset(context: Any) -> Asset | None:
    """The asset that the DAGs of one Variable share, if this task has it."""
    return next((inlet for inlet in context["task"].inlets if isinstance(inlet, Asset)), None)
