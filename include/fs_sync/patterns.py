"""Patterns of include and exclude: one grammar, translated to the rules of rsync and of rclone."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

#     *        any characters but /             **    any characters, / too; as a whole step (a/**/b) none or more directories
#     ?        one printable ASCII character but /
#     /a       a leading / anchors at the route's root; without it a pattern matches at any depth
#     a/       a trailing / matches only a directory
#
# A pattern that matches a directory takes all that is below it. All other characters stand for themselves. What an exclude
# matches is left out; if there are includes, only what they match is taken, with the directories that lead there.

# `?` is a byte to rsync and a character to rclone: this class is the same to both, and has no / in it.
ONE = "[ -.0-~]"

# Each `**` step doubles rsync's rules, which know no alternatives.
MOST_STEPS = 4

# rclone sees a control character as its picture (a tab as U+2409), and marks a name's own pictures and marks by U+201B.
_MARK = "\u201b"
_CONTROLS = {**{code: 0x2400 + code for code in range(1, 32)}, 127: 0x2421}
_RCLONE = {**_CONTROLS, **{code: _MARK + chr(code) for code in _CONTROLS.values()}, ord(_MARK): _MARK * 2}

_PIECE = re.compile(r"\*\*|\*|\?|/|[^*?/]+")


@dataclass(frozen=True)
class Pattern:
    """A pattern taken apart: its steps between slashes, whether it is anchored, whether it is for directories only."""

    steps: tuple[str, ...]
    anchored: bool
    directory: bool


def fault(pattern: str) -> str | None:
    """Given a pattern of the configuration, return the rule that it breaks and the mend, or None."""
    steps = pattern.removeprefix("/").removesuffix("/").split("/")
    if any(character in pattern for character in "\0\n\r"):
        return "has a NUL, a newline or a carriage return in it; use ? or * in its place"
    if not pattern.strip("/"):
        return 'names nothing; to match all, write "**"'
    if "" in steps:
        return "has two slashes in a row; write one"
    if "." in steps or ".." in steps:
        return 'has a step "." or ".."; a pattern begins at the route\'s root'
    if "***" in pattern:
        return "has three stars in a row; two match across slashes"
    if steps.count("**") > MOST_STEPS:
        return f'has more than {MOST_STEPS} steps "**"; split it into several patterns'
    return None


def take_apart(pattern: str) -> Pattern:
    """Given a faultless pattern, return its parts. A leading `**/` only says "at any depth": it is dropped; alone it is any directory."""
    anchored, directory = pattern.startswith("/"), pattern.endswith("/")
    steps = pattern.strip("/").split("/")
    while len(steps) > 1 and steps[0] == "**":
        anchored, steps = False, steps[1:]
    if steps == ["**"] and directory:
        anchored, steps = False, ["*"]
    return Pattern(tuple(steps), anchored, directory)


def expression(pattern: Pattern) -> str:
    """Given a pattern, return the regular expression of its steps, in the words that Python and Go share."""
    written = []
    for place, step in enumerate(pattern.steps):
        last = place == len(pattern.steps) - 1
        if step == "**" and not last:
            written.append("(?:(?s:.*)/)?")
        else:
            written.append("".join(_expression(piece) for piece in _PIECE.findall(step)) + ("" if last else "/"))
    return "".join(written)


def _expression(piece: str) -> str:
    special = {"**": "(?s:.*)", "*": "[^/]*", "?": ONE}
    return special.get(piece) or "".join(c if c.isalnum() or ord(c) > 127 else f"\\x{ord(c):02x}" for c in piece)


def matches(path: str, is_dir: bool, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> bool:
    """Given a path below the root, return whether a copy takes it: the reference that the tools' rules are tested against.

    A directory that nothing includes is not taken for its own sake, only as the parent of something that is.
    """
    if any(_covers(take_apart(pattern), path, is_dir) for pattern in exclude):
        return False
    return not include or any(_covers(take_apart(pattern), path, is_dir) for pattern in include)


def _covers(pattern: Pattern, path: str, is_dir: bool) -> bool:
    compiled = re.compile(("" if pattern.anchored else "(?s:.*/)?") + expression(pattern))
    steps = path.split("/")
    ends = range(1, len(steps) + (is_dir or not pattern.directory))
    return any(compiled.fullmatch("/".join(steps[:end])) for end in ends)


def rclone_rules(include: Sequence[str] = (), exclude: Sequence[str] = ()) -> tuple[str, ...]:
    """Given faultless patterns, return the lines of a file for rclone's --filter-from."""
    lines = [line for pattern in exclude for line in _rclone("-", take_apart(pattern.translate(_RCLONE)))]
    if include:
        lines += [line for pattern in include for line in _rclone("+", take_apart(pattern.translate(_RCLONE)))]
        lines.append("- *")
    return tuple(lines)


def _rclone(sign: str, pattern: Pattern) -> Iterator[str]:
    # In {{ }} rclone takes a regular expression, which needs none of the escapes of its globs and keeps a space at the end.
    # A rule for files never matches a directory, and one that ends in /** is one for both: so directories are pruned.
    body = f"{sign} {'/' if pattern.anchored else ''}{{{{{expression(pattern)}}}}}"
    if not pattern.directory:
        yield body
    yield f"{body}/**"


def rsync_rules(include: Sequence[str] = (), exclude: Sequence[str] = ()) -> tuple[str, ...]:
    """Given faultless patterns, return the lines of a file for rsync's --filter='merge FILE'.

    With includes rsync makes all directories on the way, unless it has --prune-empty-dirs; `P` keeps those that are included.
    """
    lines = [f"- {glob}" for pattern in exclude for glob in _rsync(take_apart(pattern))]
    if include:
        for pattern in map(take_apart, include):
            for glob in _rsync(pattern):
                below = glob.removesuffix("/") + "/**"
                lines += [f"P {glob}", f"P {below}", f"+ {glob}", f"+ {below}"]
        lines += ["+ */", "- *"]
    return tuple(lines)


def _rsync(pattern: Pattern) -> Iterator[str]:
    # rsync's ** between slashes is one directory or more: none at all is a rule of its own.
    inner = [("**", None) if step == "**" else (step,) for step in pattern.steps[:-1]]
    for steps in product(*inner, pattern.steps[-1:]):
        body = "/".join("".join(_glob(piece) for piece in _PIECE.findall(step)) for step in steps if step is not None)
        yield ("/" if pattern.anchored else "") + body + ("/" if pattern.directory else "")


def _glob(piece: str) -> str:
    # A backslash escapes in rsync only if the pattern has a wildcard as well; a class is read the same in any pattern.
    if piece == "?":
        return ONE
    return piece.replace("\\", "\0").replace("[", "[[]").replace("\0", "[\\\\]")


def ere_rules(patterns: Sequence[str]) -> tuple[str, ...]:
    """Given faultless patterns, return extended regular expressions of what each covers, for awk to try on whole paths."""
    return tuple(_ere(take_apart(pattern)) for pattern in patterns)


def _ere(pattern: Pattern) -> str:
    written = []
    for place, step in enumerate(pattern.steps):
        last = place == len(pattern.steps) - 1
        if step == "**" and not last:
            written.append("(.*/)?")
        else:
            special = {"**": ".*", "*": "[^/]*", "?": ONE}
            written.append("".join(special.get(piece) or _ere_literal(piece) for piece in _PIECE.findall(step)) + ("" if last else "/"))
    return ("^" if pattern.anchored else "^(.*/)?") + "".join(written) + ("/" if pattern.directory else "(/|$)")


def _ere_literal(text: str) -> str:
    return "".join(f"\\{c}" if c in ".[]()*+?{}^$|\\/" else c for c in text)
