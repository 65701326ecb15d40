"""Paths of endpoints: the rules of a path, its one normal form, and what lies inside what."""

# What Linux takes in one call.
LONGEST = 4095

NOT_ROOTED = 'is a relative path; write it from the root, as "/srv/data", or from the login\'s home, as "~/data"'


def fault(path: str) -> str | None:
    """Given a path of the configuration, return the rule that it breaks and the mend, or None."""
    if any(character in path for character in "\0\n\r"):
        return "has a NUL, a newline or a carriage return in it; take it out, or rename the directory"
    if ".." in path.split("/"):
        return 'has a step ".."; write the path that it leads to'
    if len(path.encode()) > LONGEST:
        return f"is longer than {LONGEST} bytes"
    return None


def rooted_fault(path: str) -> str | None:
    """Given a path on a host, return what is wrong if it begins neither at the root nor at the login's home."""
    return None if path == "~" or path.startswith(("/", "~/")) else NOT_ROOTED


def normal(path: str) -> str:
    """Given a path, return it without doubled, trailing and `.` steps: "/a//b/./" is "/a/b"; the root stays "/"."""
    steps = "/".join(step for step in path.split("/") if step not in ("", "."))
    return f"/{steps}" if path.startswith("/") else steps


def inside(inner: str, outer: str) -> bool:
    """Given two normal paths of one place, return whether the first is the second or lies below it."""
    if inner == outer or not outer:
        return True
    return inner.startswith(outer.rstrip("/") + "/")
