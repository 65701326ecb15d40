"""Faults of a configuration: each one line that names the place and the value, says the rule and the mend."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from pydantic import BaseModel, ValidationError

# What other tools call our options.
SYNONYMS = {
    "bwlimit": "bandwidth",
    "bandwidth_limit": "bandwidth",
    "connection": "conn",
    "conn_id": "conn",
    "delete": "deletions",
    "dest": "target",
    "destination": "target",
    "excludes": "exclude",
    "from": "source",
    "includes": "include",
    "marker": "require",
    "prefix": "path",
    "to": "target",
}
_SECRET_NAME = re.compile(r"pass|secret|token|credential|private|(^|_)key", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"-----BEGIN|://[^/\s]*@|(pass\w*|secret\w*|token)\s*[=:]", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,60}")
_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object", type(None): "null"}
_WANTED = {
    "string_type": 'is not text; write it in quotes, as "…"',
    "bool_type": "is not true or false; write one of them, without quotes",
    "int_type": "is not a whole number",
    "tuple_type": "is not a list; write it in brackets, as […]",
    "model_type": "is not an object; write it in braces, as {…}",
}


@dataclass(frozen=True)
class Fault:
    """A fault and its place: the keys and indexes that lead to it from the route."""

    at: tuple[str | int, ...]
    text: str


def place(at: Iterable[str | int]) -> str:
    """Given ("routes", 2, "min_age"), return "routes[2].min_age"."""
    return "".join(_step(step) for step in at).removeprefix(".")


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    return f".{step}" if _PLAIN.fullmatch(step) else f"[{shown(step)}]"


def shown(value: object) -> str:
    """Given a value of the configuration, return it for a message: short, on one line, and no secret."""
    if not isinstance(value, str):
        return str(value)[:60] if isinstance(value, int | float) and not isinstance(value, bool) else _KINDS.get(type(value), "this value")
    if _SECRET_VALUE.search(value):
        return "the value (not shown: it looks like a secret)"
    return ascii_safe(value if len(value) <= 60 else value[:57] + "…")


def ascii_safe(text: str) -> str:
    """Given any text, return it quoted, with control characters and lone surrogates escaped."""
    return repr(text).encode(errors="backslashreplace").decode()


def guess(word: str, known: Iterable[str]) -> str:
    """Given an unknown word and the known ones, return the mend: the one that was meant, or all of them."""
    known = tuple(known)
    meant = [SYNONYMS[word]] if SYNONYMS.get(word) in known else get_close_matches(word, known, n=1)
    return f"did you mean {meant[0]}?" if meant else f"known are {', '.join(known) or 'none'}"


def unknown(word: str, known: Iterable[str]) -> str:
    """Given an unknown key, return what is wrong with it; its value is never shown."""
    if _SECRET_NAME.search(word) and not get_close_matches(word, known := tuple(known), n=1):
        return "is not an option; secrets belong in the Airflow Connection, take it out of here"
    return f"is not an option; {guess(word, known)}"


def of(error: ValidationError, model: type[BaseModel]) -> tuple[Fault, ...]:
    """Given pydantic's error and the model, return its faults in our words."""
    return tuple(_fault(detail["type"], detail["loc"], detail["input"], detail.get("ctx", {}), model) for detail in error.errors())


def _fault(kind: str, at: tuple[str | int, ...], value: object, context: dict[str, object], model: type[BaseModel]) -> Fault:
    owner = _owner(at[:-1], model)
    if kind == "extra_forbidden":
        return Fault(at, unknown(str(at[-1]), owner.model_fields))
    if kind == "missing":
        return Fault(at, f"is missing; {_example(owner, at[-1])}")
    if kind == "value_error":
        return Fault(at, f"{shown(value)} {context['error']}")
    if kind == "literal_error":
        return Fault(at, f"{shown(value)} is not one of {context['expected']}")
    return Fault(at, f"{shown(value)} {_WANTED.get(kind, 'is not right')}")


def _owner(at: tuple[str | int, ...], model: type[BaseModel]) -> type[BaseModel]:
    for step in at:
        field = model.model_fields.get(str(step))
        if field and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            model = field.annotation
    return model


def _example(model: type[BaseModel], name: str | int) -> str:
    field = model.model_fields[str(name)]
    return f'write it, as "{field.examples[0]}"' if field.examples else "write it as an object, {…}"
