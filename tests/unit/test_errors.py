"""Every exit code has one class with its words, and decides whether a retry is made."""

import pytest

from fs_sync import errors


def classes(base=errors.FsSyncError):
    return [one for kind in base.__subclasses__() for one in (kind, *classes(kind)) if one.__module__ == "fs_sync.errors"]


def test_every_class_has_words_and_its_own_code():
    meanings = [kind for kind in classes() if kind not in (errors.Permanent, errors.Transient)]
    assert set(errors.WORDS) == set(meanings)
    assert len(errors.EXIT) == len([kind for kind in meanings if kind.code])
    assert all(meaning and mend for meaning, mend in errors.WORDS.values())


@pytest.mark.parametrize("code", sorted(errors.EXIT))
def test_a_code_gives_its_class_with_the_reason_or_with_its_own_words(code):
    assert type(errors.from_exit(code, "why\n")) is errors.EXIT[code]
    assert str(errors.from_exit(code, "why\n")) == "why"
    assert errors.WORDS[errors.EXIT[code]][1] in str(errors.from_exit(code, " "))


@pytest.mark.parametrize("code", [1, 2, 99, 137, 255])
def test_an_unknown_code_is_a_failed_tool_and_is_named(code):
    error = errors.from_exit(code, "")
    assert type(error) is errors.ToolFailed
    assert f"exit code {code}" in str(error)


def test_a_retry_is_made_where_it_helps():
    for code in (101, 102, 103, 105, 106, 107, 108, 112):
        assert not errors.retry_helps(errors.from_exit(code, "x")), code
    for code in (104, 109, 110, 111, 113, 120, 121, 143):
        assert errors.retry_helps(errors.from_exit(code, "x")), code
    assert not errors.retry_helps(errors.Busy("x"))
    assert not errors.retry_helps(errors.ConfigError("x"))
    assert errors.retry_helps(errors.JobVanished("x"))
    assert errors.retry_helps(OSError("x"))
