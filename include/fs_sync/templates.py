"""The scripts' templates: where they stand, and how a value gets into one without ever being taken for shell."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path

import jinja2

# What ends a line of sh after which no `;` may stand.
OPEN_ENDS = (";", "|", "&", "{", "(", " do", " then", " else")
OPEN_LINES = ("do", "then", "else")
# What a login shell may change even between single quotes.
UNSAFE = re.compile(r"'|!(?![ =])|\\[\\!]|\\$")


def directory() -> Path:
    """The templates' directory: inside the package (the wheel), else beside `include/` (the repository)."""
    package = Path(__file__).resolve().parent
    for place in (package / "templates", package.parent.parent / "templates"):
        if place.is_dir():
            return place
    raise FileNotFoundError(f"fs_sync's templates are neither in {package} nor beside include/: install the package again")


def quoted(value: object) -> str:
    """Given a value of a template, return it quoted for sh. Raise TypeError for what has no one spelling in sh (None, a bool, a list)."""
    if isinstance(value, jinja2.Undefined):
        return str(value)  # raises, naming what is undefined
    if isinstance(value, bool) or not isinstance(value, str | int | Path):
        raise TypeError(f"{value!r} can't be a word of a script: only text, whole numbers and paths can")
    text = str(value)
    if "\0" in text:
        raise ValueError(f"{text!r} can't be a word of a script: it has a NUL")
    return shlex.quote(text)


@cache
def environment() -> jinja2.Environment:
    # The comment's marks are not Jinja's own, since `${#x}` is sh. Autoescape is HTML's: `quoted` is ours.
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(directory()),
        undefined=jinja2.StrictUndefined,
        finalize=quoted,
        autoescape=False,  # noqa: S701
        comment_start_string="{##",
        comment_end_string="##}",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(name: str, /, **values: object) -> str:
    """Given a template's name and its values, return the script; every `{{ value }}` is one quoted word."""
    return environment().get_template(name).render(**values)


def one_line(name: str, /, **values: object) -> str:
    """Given a template's name, return its script as one line that any login shell takes between single quotes.

    csh expands `!` (but not before a blank or `=`) and fish two backslashes even there: a script that has them is refused with ValueError.
    """
    lines = [text for raw in render(name, **values).splitlines() if (text := raw.strip()) and not text.startswith("#")]
    line = " ".join(text if goes_on(text) else f"{text};" for text in lines).rstrip(";")
    if bad := UNSAFE.search(line):
        raise ValueError(f"{name} can't be one line for every login shell: it has {bad[0]!r} after {line[: bad.start()][-40:]!r}")
    return line


def goes_on(line: str) -> bool:
    """Whether the next line of sh follows without a `;`: after `do`, `{`, `|`, and after a pattern of `case`."""
    pattern = not line.startswith(")") and line.endswith(")") and line.count(")") > line.count("(")
    return pattern or line in OPEN_LINES or line.endswith(OPEN_ENDS) or (line.endswith(" in") and "case " in line)
