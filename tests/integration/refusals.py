"""What the tests of bad input share: an end with something wrong about it, and a copy that must be refused for it."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import tree
from lab.place import ssh_connection
from lab.servers import Sshd
from tests.integration.driver import End, plain

root = pytest.mark.root
SSH = ("rsync", "rclone")
ALL = (*SSH, "minio")
numbers = itertools.count()


def a_tree(path: Path) -> Path:
    tree.write(path / "one", b"one\n")
    tree.write(path / "below" / "two words", b"two\n" * 100)
    return path


def changed(end: End, **changes: Any) -> End:
    """The end, with another connection: parts of it, or of its extra (None takes one out)."""
    extra = {**end.connection.extra, **changes.pop("extra", {})}
    return replace(
        end, connection=replace(end.connection, **changes, extra={key: value for key, value in extra.items() if value is not None})
    )


def to(end: End, server: Sshd, **connection: Any) -> End:
    """The end, with another server as its target."""
    return replace(end, server=server, connection=plain("target", ssh_connection(server, **connection)))


def on(end: End, host: Sshd) -> End:
    """The end, with another source host."""
    return replace(end, place=replace(end.place, source=host))


def refused(end: End, source: Path | str, code: int, *texts: str, target: str = "", step: str = "plan", **options: Any) -> str:
    """Copy, which must fail with this code and one line that has these texts, and move nothing; return that line."""
    path = Path(source)
    before = tree.listing(path) if path.exists() else None
    fresh, where = end.fresh()
    made = end.copy(source, target or fresh, **options)
    assert made.exit == code, f"{made.exit}: {made.error}\n{made.log}"
    assert made.steps[-1].step == step, made.log
    said = made.error
    print(code, said)
    for text in texts:
        assert text in said, said
    assert said.isprintable()
    assert "  " not in said.replace("  ssh-", " ssh-").replace("  (SHA256", " (SHA256")
    assert '"object"' not in said
    for secret in (end.connection.password, str(end.connection.extra.get("private_key", ""))[80:140]):
        assert not secret or secret not in said + made.log
    assert before == (tree.listing(path) if path.exists() else None)
    assert not where.exists() or not list(tree.files(where))
    assert not made.counts.get("moved")
    return said
