"""Values get into scripts as words, and scripts as one line into any login shell."""

import subprocess
from pathlib import Path

import jinja2
import pytest

from fs_sync import templates

AWKWARD = ["", " ", "it's", '"', "$(touch x)", "`id`", "{{ 7*7 }}", "${#x}", "a\nb", "-n", "\\", "é", "*", "~", "#", "!x", "{## x ##}"]


@pytest.mark.parametrize("value", [*AWKWARD, 7, Path("/a b")])
def test_a_value_is_one_word(value: object) -> None:
    text = templates.environment().from_string("printf %s {{ value }}").render(value=value)
    assert subprocess.run(["sh", "-c", text], capture_output=True, check=True).stdout.decode() == str(value)


@pytest.mark.parametrize("value", [None, True, ["a"], 1.5, b"x"])
def test_what_has_no_one_spelling_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="can't be a word of a script"):
        templates.environment().from_string("echo {{ value }}").render(value=value)


def test_a_nul_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        templates.quoted("a\0b")


def test_a_missing_value_is_named() -> None:
    with pytest.raises(jinja2.UndefinedError, match="nobody"):
        templates.environment().from_string("echo {{ nobody }}").render()


def test_comments_are_ours_and_lengths_are_the_shells() -> None:
    assert templates.environment().from_string("{## why ##}echo ${#x} {# y #}").render() == "echo ${#x} {# y #}"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    environment = templates.environment().overlay(loader=jinja2.FileSystemLoader(tmp_path))
    monkeypatch.setattr(templates, "environment", lambda: environment)
    return tmp_path


LONG = """\
# a comment
f() {
    for word in a b; do
        case $word in
            a) echo "is a" ;;
            *)
                echo other
                ;;
        esac
    done
}
if ! false; then
    ( echo in
      echo it
    ) | cat
elif true; then
    echo no
fi
true &&
    f
wait
"""


def test_one_line_does_what_the_lines_do(place: Path) -> None:
    (place / "x.sh").write_text(LONG)
    line = templates.one_line("x.sh")
    assert "\n" not in line
    outputs = [subprocess.run(["sh", "-c", text], capture_output=True, check=True).stdout for text in (LONG, line)]
    assert outputs == [b"in\nit\nis a\nother\n"] * 2


@pytest.mark.parametrize("bad", ["echo 'x'", "echo !x", "echo \\\\", "echo \\!"])
def test_one_line_refuses_what_a_login_shell_would_change(place: Path, bad: str) -> None:
    (place / "x.sh").write_text(bad + "\n")
    with pytest.raises(ValueError, match="every login shell"):
        templates.one_line("x.sh")


def test_every_remote_script_is_one_line() -> None:
    remote = sorted(path.name for path in (templates.directory() / "remote").glob("*.sh"))
    assert remote
    for name in remote:
        subprocess.run(["sh", "-n", "-c", templates.one_line(f"remote/{name}")], check=True)
