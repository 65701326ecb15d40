"""Durations and sizes: read from the configuration, written for people."""

import re
from fractions import Fraction

DURATION_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
SIZE_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}

# Shell arithmetic and file systems know 63 bits; a duration beyond this many seconds (31 years) is a slip of the pen.
LARGEST_SIZE = 2**63 - 1
LONGEST_DURATION = 10**9

DURATION_RULE = 'is not a duration; write whole seconds, or a number with s, m, h or d, as "30s", "5m", "2h", "1d"'
SIZE_RULE = 'is not a size; write whole bytes, or a number with K, M, G or T (powers of 1024), as "10M", "1.5G"'


def parse_duration(value: object) -> int:
    """Given 90, "90", "90s", "5m", "2h" or "1d", return seconds. Raise ValueError with the rule otherwise."""
    if isinstance(value, str):
        found = re.fullmatch(r"([0-9]{1,10}) ?([smhd]?)", value)
        if not found:
            raise ValueError(DURATION_RULE)
        value = int(found[1]) * DURATION_UNITS[found[2]]
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(DURATION_RULE)
    if value > LONGEST_DURATION:
        raise ValueError(f"is too long; {duration(LONGEST_DURATION)} is the longest")
    return value


def parse_size(value: object) -> int:
    """Given 1024, "1024", "10M" or "1.5G", return bytes. Raise ValueError with the rule otherwise."""
    if isinstance(value, str):
        found = re.fullmatch(r"([0-9]{1,19}(?:\.[0-9]{1,9})?) ?([KMGT]?)", value.upper())
        if not found or ("." in found[1] and not found[2]):
            raise ValueError(SIZE_RULE)
        value = int(Fraction(found[1]) * SIZE_UNITS[found[2]])
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(SIZE_RULE)
    if value > LARGEST_SIZE:
        raise ValueError("is too large; 8388607T is the largest")
    return value


def size(count: int) -> str:
    """Given bytes, return them for people, in powers of 1000: 12345678 is "12.3 MB"."""
    amount, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if amount < 999.95:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.1f}".removesuffix(".0") + f" {unit}"


def duration(seconds: float) -> str:
    """Given seconds, return their two largest units for people: 3725 is "1 h 2 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    parts = ((whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    first = next(place for place, (amount, _) in enumerate(parts) if amount)
    return " ".join(f"{amount} {unit}" for amount, unit in parts[first : first + 2] if amount)


def rate(count: int, seconds: float) -> str:
    """Given bytes and the seconds they took, return the rate for people; "-" if no time passed."""
    return f"{size(round(count / seconds))}/s" if seconds > 0 else "-"
