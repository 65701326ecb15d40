"""Writes the tables of options, anomalies and errors in the documents from their definitions: python -m lab.option_table."""

import json
import sys
from pathlib import Path
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fs_sync.errors import WORDS, Busy, FsSyncError, JobVanished, Permanent
from fs_sync.options import Anomalies, Endpoint, Route

README = Path(__file__).resolve().parent.parent / "README.md"
ANOMALIES = README.parent / "docs" / "anomalies.md"
BEGIN = "<!-- options: made by `python -m lab.option_table` -->"
END = "<!-- end of options -->"
ERRORS_BEGIN = "<!-- errors: made by `python -m lab.option_table` -->"
ERRORS_END = "<!-- end of errors -->"
ANOMALIES_BEGIN = "<!-- anomalies: made by `python -m lab.option_table` -->"
ANOMALIES_END = "<!-- end of anomalies -->"

# Defaults that the model alone doesn't know: they hang on the end of the route and on the DAG.
SPECIAL = {
    "source.conn": '`"sftp_source_conn"`, from a bucket `"s3_source_conn"`',
    "source.path": "required, but for a bucket",
    "source.bucket": "required for a bucket",
    "target.conn": '`"sftp_target_conn"`, to a bucket `"s3_target_conn"`',
    "target.path": "required, but for a bucket",
    "target.bucket": "required for a bucket",
    "anomalies": "see below",
}
# Which files an anomaly is about, where its policy can leave any out.
IN_QUESTION = {
    **dict.fromkeys(("huge_file", "file_size", "future_mtime", "old_mtime", "emptied_files", "changed_files"), "these files"),
    "new_extension": "the new files of that extension",
    **dict.fromkeys(("run_bytes", "run_files", "source_shrank"), "all that is to be copied"),
}


def table() -> str:
    """Return the options of a route as a Markdown table."""
    lines = ["| option | default | example | meaning |", "| --- | --- | --- | --- |"]
    for name, field in Route.model_fields.items():
        lines.append(_row(name, field))
        if field.annotation is Endpoint:
            lines += [_row(f"{name}.{part}", inner) for part, inner in Endpoint.model_fields.items()]
    return "\n".join(lines)


def anomaly_table() -> str:
    """Return the anomalies with their default policies as a Markdown table."""
    lines = ["| anomaly | default | what it is |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | `{field.default}` | {field.description} |" for name, field in Anomalies.model_fields.items()]
    return "\n".join(lines)


def question_table() -> str:
    """Return the same with what each is about where it is held, and the policies that there are."""
    lines = ["| anomaly | default | the others | what it is | in question |", "| --- | --- | --- | --- | --- |"]
    for name, field in Anomalies.model_fields.items():
        others = ", ".join(f"`{policy}`" for policy in get_args(field.annotation) if policy != field.default)
        lines.append(f"| `{name}` | `{field.default}` | {others} | {field.description} | {IN_QUESTION.get(name, 'no files')} |")
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
    """Given a document's text, return it with a current table. Raise ValueError if it has not the two markers once."""
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"the document must have the line {begin} and, after it, the line {end}, each once")
    before, rest = text.split(begin)
    return f"{before}{begin}\n{table() if made is None else made}\n{end}{rest.split(end)[1]}"


def all_renewed(text: str) -> str:
    """Given the README's text, return it with all tables current."""
    text = renewed(renewed(text), ERRORS_BEGIN, ERRORS_END, error_table())
    return renewed(text, ANOMALIES_BEGIN, ANOMALIES_END, anomaly_table())


def anomalies_renewed(text: str) -> str:
    """Given the text of docs/anomalies.md, return it with a current table."""
    return renewed(text, ANOMALIES_BEGIN, ANOMALIES_END, question_table())


def is_current(readme: Path = README, anomalies: Path = ANOMALIES) -> bool:
    """Whether the tables say what the code does."""
    texts = ((readme, all_renewed), (anomalies, anomalies_renewed))
    return all(renew(text := path.read_text(encoding="utf-8")) == text for path, renew in texts)


def main() -> int:
    """Rewrite the tables."""
    for path, renew in ((README, all_renewed), (ANOMALIES, anomalies_renewed)):
        path.write_text(renew(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
