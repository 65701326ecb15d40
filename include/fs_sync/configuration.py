"""Reads the configuration of a DAG when a run begins: its Variable, the flat Variables and the run's form."""

import os
import secrets
from collections.abc import Mapping
from logging import Logger

from airflow.sdk import Variable

from fs_sync import alerts
from fs_sync.form import ALERTS, FLAT, THRESHOLDS, read_run, unknown_flat
from fs_sync.route import Kind, Mapped, parse

# Variables may come from the environment too, which Variable.keys() does not list.
_ENVIRONMENT = "AIRFLOW_VAR_"
_PREFIX = "fs_sync_"


def load(variable: str, kind: Kind, given: Mapping[str, object], log: Logger) -> tuple[Mapped, ...]:
    """Given the key of the DAG's Variable and its run's params and conf in one, return the run's routes.

    The nonce is new at each reading, so that a run that is cleared as a whole makes new jobs. Raise ConfigError if the
    Variable is no configuration, or if the form says what it may not; a single wrong route is returned with its faults.
    """
    run = read_run(given)
    raw: str | None = Variable.get(variable, default=None)
    flat = {key: value for key in FLAT if (value := Variable.get(key, default=None))} if raw is None else {}
    # An empty one is no number, and told.
    flat |= {key: value for key in THRESHOLDS if (value := Variable.get(key, default=None)) is not None}
    # Who is told is looked at in each run, and not only when there is something to tell.
    for warning in (*unknown_flat(keys(log), known=(variable,)), *alerts.channels(Variable.get(ALERTS, default=None))[1]):
        log.warning(warning)
    return parse(raw, flat, kind, run, nonce=secrets.token_hex(8), variable=f"Variable {variable}")


def keys(log: Logger, prefix: str = _PREFIX) -> set[str]:
    """Return the keys of the Variables that begin so, as far as they can be listed: those of a secrets backend can't."""
    environment = {key.removeprefix(_ENVIRONMENT).lower() for key in os.environ if key.startswith(_ENVIRONMENT)}
    try:
        stored = {str(key) for key in Variable.keys(prefix=prefix)}
    except Exception as error:  # a warning about a misspelt key is worth no failed run, whatever the API server says
        log.info("The Variables can't be listed, so misspelt %s* keys go unnoticed: %s", _PREFIX, type(error).__name__)
        stored = set()
    return {key for key in environment if key.startswith(prefix)} | stored
