"""Durations and sizes are read strictly and written for people."""

import pytest

from fs_sync import values


@pytest.mark.parametrize(
    ("text", "seconds"), [(0, 0), (90, 90), ("90", 90), ("30s", 30), ("5m", 300), ("2h", 7200), ("1d", 86400), ("5 m", 300)]
)
def test_duration_is_read(text: object, seconds: int) -> None:
    assert values.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-1", -1, 1.5, "1.5h", "1w", "5M", True, None, [], "1h30m", "٣", "99999999999", 10**10, "5\n"])
def test_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"duration|longest"):
        values.parse_duration(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [(0, 0), (10, 10), ("10", 10), ("1K", 1024), ("10M", 10 * 1024**2), ("10m", 10 * 1024**2), ("1.5G", 3 * 2**29), ("2T", 2**41)],
)
def test_size_is_read(text: object, count: int) -> None:
    assert values.parse_size(text) == count


@pytest.mark.parametrize("text", ["", "K", "-1", -1, 1.5, "1.5", "10MB", "10MiB", "1P", True, None, "1e3", 2**63, "9999999999T"])
def test_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"size|largest"):
        values.parse_size(text)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (999_949, "999.9 kB"),
        (999_999, "1 MB"),
        (12_345_678, "12.3 MB"),
        (5 * 10**18, "5000 PB"),
    ],
)
def test_size_for_people(count: int, text: str) -> None:
    assert values.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.7, "1 min"),
        (65, "1 min 5 s"),
        (3725, "1 h 2 min"),
        (90000, "1 d 1 h"),
        (86405, "1 d"),
    ],
)
def test_duration_for_people(seconds: float, text: str) -> None:
    assert values.duration(seconds) == text


def test_rate_for_people() -> None:
    assert values.rate(16_200_000, 2) == "8.1 MB/s"
    assert values.rate(1, 0) == "-"
