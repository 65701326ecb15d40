"""A client of Airflow's public REST API, as much of it as the demo and the tests need."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from lab.processes import until

FINAL = frozenset({"success", "failed"})
# What a task instance's state may be while something is still to come.
UNFINISHED = frozenset({None, "queued", "scheduled", "running", "deferred", "restarting", "up_for_retry", "up_for_reschedule"})


class Rest:
    """A logged-in client; each method is one call."""

    def __init__(self, url: str, user: str | None = None, password: str | None = None) -> None:
        self.client = httpx.Client(base_url=url, timeout=30, trust_env=False)
        if user is not None:
            token = self._call("POST", "/auth/token", json={"username": user, "password": password})["access_token"]
            self.client.headers["Authorization"] = f"Bearer {token}"

    def health(self) -> dict[str, Any]:
        """Return what each of Airflow's processes says of itself."""
        return self._call("GET", "/api/v2/monitor/health")

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        """Return a DAG, or None while it is not known yet."""
        response = self.client.get(f"/api/v2/dags/{dag_id}")
        if response.status_code == 404:
            return None
        return self._read(response)

    def pause(self, dag_id: str, paused: bool = True) -> None:
        """Pause a DAG, or let it go on."""
        self._call("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": paused})

    def import_errors(self) -> list[str]:
        """Return the errors of DAG files that can't be read."""
        return [f"{error['filename']}: {error['stack_trace']}" for error in self._call("GET", "/api/v2/importErrors")["import_errors"]]

    def ready(self, dag_ids: Iterable[str], timeout: float = 60) -> None:
        """Wait until the DAGs are known. Raise RuntimeError at once if a file can't be read."""

        def known() -> bool:
            if errors := self.import_errors():
                raise RuntimeError("\n".join(errors))
            return all(self.dag(dag_id) for dag_id in dag_ids)

        until(known, f"DAGs {', '.join(dag_ids)}", timeout=timeout, every=0.2)

    def trigger(self, dag_id: str, conf: Mapping[str, Any] | None = None, run_id: str | None = None) -> str:
        """Trigger a run with the values of its form and return its id."""
        body = {"logical_date": None, "conf": dict(conf or {}), **({"dag_run_id": run_id} if run_id else {})}
        run: str = self._call("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)["dag_run_id"]
        return run

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return a run: state, start_date, end_date, duration and so on."""
        return self._call("GET", _run(dag_id, run_id))

    def runs(self, dag_id: str, *states: str) -> list[dict[str, Any]]:
        """Return the newest runs of a DAG, all or those in one of the states."""
        parameters = {"limit": 100, "order_by": "-run_after", **({"state": list(states)} if states else {})}
        found: list[dict[str, Any]] = self._call("GET", f"/api/v2/dags/{dag_id}/dagRuns", params=parameters)["dag_runs"]
        return found

    def unfinished(self, dag_id: str) -> list[str]:
        """Return the ids of a DAG's runs that are to begin or go on."""
        return [run["dag_run_id"] for run in self.runs(dag_id, "queued", "running")]

    def wait(self, dag_id: str, run_id: str, timeout: float = 240) -> str:
        """Wait until a run has ended and return its state."""

        def ended() -> str | None:
            state: str = self.run(dag_id, run_id)["state"]
            return state if state in FINAL else None

        try:
            return until(ended, f"end of {dag_id} {run_id}", timeout=timeout, every=0.2) or ""
        except TimeoutError as error:
            raise TimeoutError(f"{error}; its tasks: {self.states(dag_id, run_id)}") from error

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return all task instances of a run."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._call("GET", f"{_run(dag_id, run_id)}/taskInstances", params={"limit": 100, "offset": len(found)})
            found += page["task_instances"]
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def task(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return one task instance."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{task_id}"
        return self._call("GET", path if map_index < 0 else f"{path}/{map_index}")

    def states(self, dag_id: str, run_id: str) -> dict[tuple[str, int], str | None]:
        """Return the state of each task instance by task id and map index (-1: not mapped)."""
        return {(task["task_id"], task["map_index"]): task["state"] for task in self.tasks(dag_id, run_id)}

    def reach(self, dag_id: str, run_id: str, task_id: str, states: Iterable[str | None], map_index: int = -1, timeout: float = 60) -> str:
        """Wait until a task instance is in one of the states and return it."""
        wanted = set(states)

        def there() -> list[str]:
            state = self.states(dag_id, run_id).get((task_id, map_index), "no such task instance")
            return [str(state)] if state in wanted else []

        return until(there, f"{task_id}[{map_index}] in {wanted}", timeout=timeout, every=0.1)[0]

    def log(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, try_number: int | None = None) -> str:
        """Return the log of a task instance's try (its last one by default), a line per message."""
        number = try_number or self.task(dag_id, run_id, task_id, map_index)["try_number"]
        path = f"{_run(dag_id, run_id)}/taskInstances/{task_id}/logs/{number}"
        parameters = {"map_index": map_index, "full_content": "true"}
        content = self._call("GET", path, params=parameters, headers={"Accept": "application/json"})["content"]
        return "\n".join(line if isinstance(line, str) else _text(line) for line in content)

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1, key: str = "return_value") -> Any:
        """Return what a task instance left, or None."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{task_id}/xcomEntries/{key}"
        response = self.client.get(path, params={"map_index": map_index, "deserialize": "false", "stringify": "false"})
        if response.status_code == 404:
            return None
        value = self._read(response)["value"]
        if isinstance(value, str):
            try:
                return json.loads(value)
            except ValueError:
                return value
        return value

    def clear(self, dag_id: str, run_id: str, tasks: Iterable[str | tuple[str, int]], downstream: bool = True) -> None:
        """Clear task instances so that they run anew."""
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": list(tasks), "only_failed": False, "include_downstream": downstream}
        self._call("POST", f"/api/v2/dags/{dag_id}/clearTaskInstances", json=body)

    def set_state(self, dag_id: str, run_id: str, task_id: str, state: str, map_index: int = -1) -> None:
        """Mark a task instance as success or failed, as a person does in the UI."""
        path = f"{_run(dag_id, run_id)}/taskInstances/{task_id}" + (f"/{map_index}" if map_index >= 0 else "")
        self._call("PATCH", path, json={"new_state": state})

    def set_run_state(self, dag_id: str, run_id: str, state: str) -> None:
        """Mark a whole run as success or failed."""
        self._call("PATCH", _run(dag_id, run_id), json={"state": state})

    def rendered(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> dict[str, Any]:
        """Return the rendered fields of a task instance."""
        return dict(self.task(dag_id, run_id, task_id, map_index)["rendered_fields"])

    def variable(self, key: str) -> str | None:
        """Return a Variable's value, or None."""
        response = self.client.get(f"/api/v2/variables/{key}")
        return None if response.status_code == 404 else str(self._read(response)["value"])

    def set_variable(self, key: str, value: str) -> None:
        """Store a Variable, new or not."""
        body = {"key": key, "value": value, "description": None}
        if self.client.get(f"/api/v2/variables/{key}").status_code == 404:
            self._call("POST", "/api/v2/variables", json=body)
        else:
            self._call("PATCH", f"/api/v2/variables/{key}", json=body)

    def delete_variable(self, key: str) -> None:
        """Remove a Variable; one that isn't there is no error."""
        response = self.client.delete(f"/api/v2/variables/{key}")
        if response.status_code != 404:
            self._read(response)

    def pool(self, name: str) -> dict[str, Any]:
        """Return how many slots a pool has and whether a deferred task holds one."""
        found = self._call("GET", f"/api/v2/pools/{name}")
        return {key: found[key] for key in ("slots", "include_deferred")}

    def set_connection(self, conn_id: str, fields: Mapping[str, Any]) -> None:
        """Store a connection, new or not."""
        body = {"connection_id": conn_id, **fields, "extra": json.dumps(fields.get("extra") or {})}
        if self.client.get(f"/api/v2/connections/{conn_id}").status_code == 404:
            self._call("POST", "/api/v2/connections", json=body)
        else:
            self._call("PATCH", f"/api/v2/connections/{conn_id}", json=body)

    def connection(self, conn_id: str) -> dict[str, Any]:
        """Return a connection as the UI shows it, its secrets masked."""
        return self._call("GET", f"/api/v2/connections/{conn_id}")

    def edit_connection(self, conn_id: str, **fields: Any) -> None:
        """Change some fields of a connection and leave the others."""
        body = {"connection_id": conn_id, "conn_type": self.connection(conn_id)["conn_type"], **fields}
        self._call("PATCH", f"/api/v2/connections/{conn_id}", json=body, params={"update_mask": list(fields)})

    def delete_connection(self, conn_id: str) -> None:
        """Remove a connection; one that isn't there is no error."""
        response = self.client.delete(f"/api/v2/connections/{conn_id}")
        if response.status_code != 404:
            self._read(response)

    def states_of_asset(self, name: str) -> dict[str, Any]:
        """Return what the state store of an asset holds, by its keys."""
        path = f"/api/v2/assets/{self._asset(name)}/state-store"
        found: dict[str, Any] = {}
        while True:
            page = self._call("GET", path, params={"limit": 50, "offset": len(found)})
            found.update({entry["key"]: entry["value"] for entry in page["asset_state_store"]})
            if len(found) >= page["total_entries"] or not page["asset_state_store"]:
                return found

    def set_state_of_asset(self, name: str, key: str, value: Any) -> None:
        """Store a value under a key of an asset's state store."""
        self._call("PUT", f"/api/v2/assets/{self._asset(name)}/state-store/{key}", json={"value": value})

    def delete_state_of_asset(self, name: str, key: str) -> None:
        """Delete what the state store of an asset holds under a key."""
        self._call("DELETE", f"/api/v2/assets/{self._asset(name)}/state-store/{key}")

    def _asset(self, name: str) -> int:
        (found,) = [one["id"] for one in self._call("GET", "/api/v2/assets", params={"limit": 1000})["assets"] if one["name"] == name]
        return int(found)

    def asset_events(self, dag_id: str | None = None, run_id: str | None = None) -> list[dict[str, Any]]:
        """Return the newest asset events, of one DAG or run if named."""
        wanted = {"source_dag_id": dag_id, "source_run_id": run_id, "limit": 100, "order_by": "-timestamp"}
        parameters = {key: value for key, value in wanted.items() if value is not None}
        events: list[dict[str, Any]] = self._call("GET", "/api/v2/assets/events", params=parameters)["asset_events"]
        return events

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        return self._read(self.client.request(method, path, **arguments))

    def _read(self, response: httpx.Response) -> dict[str, Any]:
        if response.is_error:
            raise RuntimeError(f"{response.request.method} {response.request.url}: {response.status_code} {response.text[:2000]}")
        return dict(response.json()) if response.content else {}


def _run(dag_id: str, run_id: str) -> str:
    return f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"


def _text(line: Mapping[str, Any]) -> str:
    """Return a structured log message as one text, what an error carries included."""
    words = [str(line.get("event", ""))]
    for error in line.get("error_detail") or ():
        words.append(f"{error['exc_type']}: {error['exc_value']}")
        words += [f"  {frame['filename']}:{frame['lineno']} {frame['name']}" for frame in error.get("frames") or ()]
    return "\n".join(words)
