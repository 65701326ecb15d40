"""The grammar of patterns, on names alone; tests/integration/test_patterns.py proves the tools' rules."""

import pytest

from fs_sync import patterns


@pytest.mark.parametrize(
    ("pattern", "taken", "left"),
    [
        ("*.tmp", ("a.tmp", "x/a.tmp", "d.tmp/inner", ".tmp"), ("a.tmpx", "tmp")),
        ("/*.tmp", ("a.tmp", "d.tmp/inner"), ("x/a.tmp",)),
        ("cache/", ("cache/a", "x/cache/a/b"), ("cache", "x/cache", "cached/a")),
        ("/cache/", ("cache/a",), ("x/cache/a", "cache")),
        ("a/b", ("a/b", "x/a/b", "a/b/c"), ("a", "xa/b", "a/x/b")),
        ("a/**/b", ("a/b", "a/x/b", "a/x/y/b"), ("ab", "a/xb", "a/x/bb")),
        ("**/b", ("b", "x/b", "x/y/b"), ("xb",)),
        ("/**/b", ("b", "x/b"), ("xb",)),
        ("a/**", ("a/b", "a/b/c", "x/a/b"), ("a", "ba/c")),
        ("a**c", ("ac", "a/b/c", "abc"), ("ab",)),
        ("??", ("ab", "x/ab", "ab/c"), ("abc", "a", "é1", "a\t")),
        ("[ab]", ("[ab]",), ("a", "b")),
        ("{a,b}", ("{a,b}",), ("a",)),
        ("a\\*", ("a\\", "a\\x"), ("a*", "a")),
        ("a.b", ("a.b",), ("axb",)),
        ("line*", ("line\nbreak", "line\nbreak/x"), ()),
    ],
)
def test_matches_files(pattern: str, taken: tuple[str, ...], left: tuple[str, ...]) -> None:
    assert [path for path in taken if not patterns.matches(path, False, include=[pattern])] == []
    assert [path for path in taken if patterns.matches(path, False, exclude=[pattern])] == []
    assert [path for path in left if patterns.matches(path, False, include=[pattern])] == []
    assert [path for path in left if not patterns.matches(path, False, exclude=[pattern])] == []


def test_excludes_come_first() -> None:
    assert not patterns.matches("a/secret.txt", False, include=["a/"], exclude=["secret*"])
    assert patterns.matches("a/other.txt", False, include=["a/"], exclude=["secret*"])


def test_directories() -> None:
    assert patterns.matches("cache", True, include=["cache/"])
    assert not patterns.matches("cache", False, include=["cache/"])
    assert not patterns.matches("a", True, include=["a/b"])


@pytest.mark.parametrize(
    "pattern", ["", "/", "//", "a//b", "a//", ".", "..", "a/../b", "./a", "a\nb", "a\rb", "a\0b", "***", "a***b", "a/**/**/**/**/**/b"]
)
def test_fault_says_the_rule(pattern: str) -> None:
    assert patterns.fault(pattern)


@pytest.mark.parametrize("pattern", ["a", "*", "**", "/a", "a/", "...", ".a", "a b", " ", "#a", "-a", "a/**/b", "[", "{", "\\"])
def test_faultless(pattern: str) -> None:
    assert patterns.fault(pattern) is None


def test_rules_as_they_are_written() -> None:
    assert patterns.rsync_rules(["/a b/"], ["*[x].tmp"]) == (
        *("- *[[]x].tmp", "P /a b/", "P /a b/**", "+ /a b/", "+ /a b/**"),
        *("+ */", "- *"),
    )
    assert patterns.rclone_rules(["/a b/"], ["*.t"]) == (r"- {{[^/]*\x2et}}", r"- {{[^/]*\x2et}}/**", r"+ /{{a\x20b}}/**", "- *")
    assert patterns.rsync_rules() == patterns.rclone_rules() == ()
