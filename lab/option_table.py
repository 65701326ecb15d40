"""Writes the README's tables of options and of errors from their definitions: python -m lab.option_table."""

import json
import sys
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fs_sync.errors import WORDS, Busy, FsSyncError, JobVanished, Permanent
from fs_sync.options import Endpoint, Route

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN = "<!-- options: made by `python -m lab.option_table` -->"
END = "<!-- end of options -->"
ERRORS_BEGIN = "<!-- errors: made by `python -m lab.option_table` -->"
ERRORS_END = "<!-- end of errors -->"

# Defaults that the model alone doesn't know: they hang on the end of the route and on the DAG.
SPECIAL = {
    "source.conn": '`"sftp_source_conn"`, from a bucket `"s3_source_conn"`',
    "source.path": "required, but for a bucket",
    "source.bucket": "required for a bucket",
    "target.conn": '`"sftp_target_conn"`, to a bucket `"s3_target_conn"`',
    "target.path": "required, but for a bucket",
    "target.bucket": "required for a bucket",
}


def table() -> str:
    """Return the options of a route as a Markdown table."""
    lines = ["| option | default | example | meaning |", "| --- | --- | --- | --- |"]
    for name, field in Route.model_fields.items():
        lines.append(_row(name, field))
        if field.annotation is Endpoint:
            lines += [_row(f"{name}.{part}", inner) for part, inner in Endpoint.model_fields.items()]
    return "\n".join(lines)


def _row(name: str, field: FieldInfo) -> str:
    default = SPECIAL.get(name) or ("required" if field.is_required() else _json(field.default))
    example = _json(field.examples[0]) if field.examples else ""
    return f"| `{name}` | {default} | {example} | {(field.description or '').replace('|', '&#124;')} |"


def _json(value: object) -> str:
    plain = value.model_dump() if isinstance(value, BaseModel) else value
    return f"`{json.dumps(plain, ensure_ascii=False)}`"


def error_table() -> str:
    """Return the errors, their exit codes, whether they are tried again, and their mends as a Markdown table."""
    lines = ["| error | exit code | tried again | meaning | mend |", "| --- | --- | --- | --- | --- |"]
    for kind, words in WORDS.items():
        meaning, mend = (text.replace("|", "&#124;") for text in words)
        lines.append(f"| `{kind.__name__}` | {kind.code or ''} | {_retried(kind)} | {meaning} | {mend} |")
    return "\n".join(lines)


def _retried(kind: type[FsSyncError]) -> str:
    if kind is Busy:
        return "skipped"
    if kind is JobVanished:
        return "yes, within seconds"
    return "no" if issubclass(kind, Permanent) else "yes"


def renewed(text: str, begin: str = BEGIN, end: str = END, made: str | None = None) -> str:
    """Given the README's text, return it with a current table. Raise ValueError if it has not the two markers once."""
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"the README must have the line {begin} and, after it, the line {end}, each once")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{table() if made is None else made}\n{end}{rest.split(end)[1]}"


def all_renewed(text: str) -> str:
    """Given the README's text, return it with both tables current."""
    return renewed(renewed(text), ERRORS_BEGIN, ERRORS_END, error_table())


def is_current(readme: Path = README) -> bool:
    """Whether the README's tables say what the code does."""
    text = readme.read_text(encoding="utf-8")
    return all_renewed(text) == text


def main() -> int:
    """Rewrite the tables in the README."""
    README.write_text(all_renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
