"""Writes the README's table of options from the route's definition: python -m lab.option_table."""

import json
import sys
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fs_sync.options import Endpoint, Route

README = Path(__file__).resolve().parent.parent / "README.md"
BEGIN = "<!-- options: made by `python -m lab.option_table` -->"
END = "<!-- end of options -->"

# Defaults that the model alone doesn't know: they hang on the end of the route and on the DAG.
SPECIAL = {
    "source.conn": '`"sftp_source_conn"`',
    "source.path": "required",
    "target.conn": '`"sftp_target_conn"`, to a bucket `"s3_target_conn"`',
    "target.path": "required, but for a bucket",
    "target.bucket": "required for a bucket",
}


def table() -> str:
    """Return the options of a route as a Markdown table."""
    lines = ["| option | default | example | meaning |", "| --- | --- | --- | --- |"]
    for name, field in Route.model_fields.items():
        lines.append(_row(name, field))
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            lines += [
                _row(f"{name}.{part}", inner) for part, inner in Endpoint.model_fields.items() if (name, part) != ("source", "bucket")
            ]
    return "\n".join(lines)


def _row(name: str, field: FieldInfo) -> str:
    default = SPECIAL.get(name) or ("required" if field.is_required() else _json(field.default))
    example = _json(field.examples[0]) if field.examples else ""
    return f"| `{name}` | {default} | {example} | {(field.description or '').replace('|', '&#124;')} |"


def _json(value: object) -> str:
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def renewed(text: str) -> str:
    """Given the README's text, return it with a current table. Raise ValueError if it has not the two markers once."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"the README must have the line {BEGIN} and, after it, the line {END}, each once")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


def is_current(readme: Path = README) -> bool:
    """Whether the README's table says what the code does."""
    text = readme.read_text(encoding="utf-8")
    return renewed(text) == text


def main() -> int:
    """Rewrite the table in the README."""
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
