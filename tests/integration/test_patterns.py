"""The rules for rsync and for rclone select on the real tools what patterns.matches says."""

import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fs_sync import patterns

FILES = (
    *(
        "a.txt",
        "b.log",
        "ab",
        "name with end ",
        " lead",
        "-dash",
        "#hash",
        "; semi",
        "! bang",
        "tab\there",
        "new\nline.txt",
        "del\x7f",
        "\u201bmark",
    ),
    *("br[1]", "br1", "cur{x,y}", "curx", "back\\slash", "dollar$(x)", "{{7*7}}", "pl+us", "dot.", ".hidden", "café", "cafe\u0301"),
    *("bytes\udcff.txt", "nbsp\u00a0", "x.txt/inner", "dir/a.txt", "dir/sub/a.txt", "dir/sub/deep/b.log", "dir/sub/new\nline"),
    *("dir[1]/a.txt", "a/b/c", "a/x/b/c", "a/x/y/b/c", "b/a/b", "cache/one", "dir/cache/two", "dir/cache.d/three", "sp /x", "dir/-dash"),
)
EMPTY = ("empty", "dir/empty", "cache/empty", "a/b/empty")

# Each case: include, exclude.
CASES = (
    ((), ()),
    ((), ("*.txt",)),
    ((), ("/*.txt",)),
    ((), ("cache",)),
    ((), ("cache/",)),
    ((), ("/cache/",)),
    ((), ("a.txt/",)),
    ((), ("x.txt/",)),
    ((), ("**",)),
    ((), ("/**",)),
    ((), ("/*",)),
    ((), ("dir/*",)),
    ((), ("dir/**",)),
    ((), ("dir/**/",)),
    ((), ("**/cache",)),
    ((), ("/**/b/c",)),
    ((), ("a/**/b",)),
    ((), ("a/**/c",)),
    ((), ("a/**/**/c",)),
    ((), ("a**c",)),
    ((), ("**.txt",)),
    ((), ("di**xt",)),
    ((), ("sub/a.txt",)),
    ((), ("ca?he",)),
    ((), ("caf?", "ca??")),
    ((), ("?", "??")),
    ((), ("br[1]", "cur{x,y}", "back\\slash", "dollar$(x)", "{{7*7}}", "pl+us")),
    ((), ("back\\*", "*[1]", "*}}", "}*", "{{*")),
    ((), ("dir[1]/",)),
    ((), ("name with end ", " lead", "-dash", "#hash", "; semi", "! bang", "tab\there", "nbsp\u00a0", "sp ", "del\x7f", "\u201bmark")),
    ((), ("café",)),
    ((), ("*.",)),
    ((), (".*",)),
    (("*.txt",), ()),
    (("/*.txt",), ()),
    (("cache",), ()),
    (("cache/",), ()),
    (("a.txt/",), ()),
    (("dir/**",), ()),
    (("dir/*/",), ()),
    (("/dir/sub",), ("b.log",)),
    (("/dir/",), ("cache/", "sub/deep")),
    (("a/**/b", "*.log"), ("**/x/y",)),
    (("/empty",), ()),
    (("**",), ("*.txt",)),
    (("nothing",), ()),
    (("**/",), ()),
    ((), ("/**/",)),
    (("br[1]", "back\\slash", " lead"), ()),
)


PICTURES = {0x2409: "\t", 0x240A: "\n", 0x2421: "\x7f"}  # as rclone shows control characters


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("patterns") / "tree"
    for name in EMPTY:
        (root / name).mkdir(parents=True)
    for name in FILES:
        if not (root / name).parent.is_dir():
            (root / name).parent.mkdir(parents=True)
        (root / name).touch()
    return root


def generated(count: int, seed: int) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Given a seed, yield cases whose patterns are names of the tree with wildcards put in."""
    dice = random.Random(seed)

    def step(name: str) -> str:
        begin, end = sorted(dice.choices(range(len(name) + 1), k=2))
        wild = name[:begin] + dice.choice(("*", "**", "?" * (end - begin))) + name[end:]
        return dice.choice((name, name, wild, wild, wild, dice.choice(("*", "**"))))

    def pattern() -> str:
        while True:
            steps = dice.choice((*FILES, *EMPTY)).split("/")
            below = steps[dice.randrange(len(steps)) :][: dice.choice((1, 2, 3))]
            made = dice.choice(("", "", "/")) + "/".join(map(step, below)) + dice.choice(("", "", "/"))
            if patterns.fault(made) is None and "\udcff" not in made:
                return made

    for _ in range(count):
        numbers = dice.choice(((0, 1), (1, 0), (1, 1), (2, 1), (1, 2)))
        include, exclude = (tuple(pattern() for _ in range(number)) for number in numbers)
        yield include, exclude


def listing(root: Path) -> dict[str, bool]:
    """Given a tree, return each path below it and whether it is a directory."""
    return {str(path.relative_to(root)): path.is_dir() for path in root.rglob("*")}


def output(name: str, *arguments: str | Path) -> bytes:
    found = shutil.which(name)
    assert found, f"{name} is not on PATH"
    done = subprocess.run((found, *arguments), capture_output=True, env={"LC_ALL": "C", "RCLONE_CONFIG": ""}, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")


def by_rsync(tree: Path, rules: Path, *, prune: bool) -> set[str]:
    arguments = ("-n", "-a", *(("--prune-empty-dirs",) if prune else ()), "--out-format=%n", f"--filter=merge {rules}")
    names = output("rsync", *arguments, "--", f"{tree}/", f"{rules.parent}/target/").splitlines()
    octal = re.compile(rb"\\#([0-7]{3})")  # how rsync prints a byte that it calls unprintable
    return {text(octal.sub(lambda found: bytes([int(found[1], 8)]), name)).removesuffix("/") for name in names} - {".", ""}


def by_rclone(tree: Path, rules: Path) -> set[str]:
    names = output("rclone", "lsf", "-R", "--filter-from", rules, tree).split(b"\n")[:-1]
    return {text(name).translate(PICTURES).replace("\u201b\u201b", "\u201b") for name in names}


@pytest.mark.parametrize(("include", "exclude"), (*CASES, *generated(30, seed=1)), ids=str)
def test_the_selection_is_the_same(tree: Path, tmp_path: Path, include: tuple[str, ...], exclude: tuple[str, ...]) -> None:
    there = listing(tree)
    selected = {path for path, is_dir in there.items() if patterns.matches(path, is_dir, include, exclude)}
    parents = {str(parent) for path in selected for parent in Path(path).parents} - {"."}
    for name, lines in (
        ("rsync", patterns.rsync_rules(include, exclude)),
        ("rclone", patterns.rclone_rules(include, exclude)),
    ):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    assert by_rsync(tree, tmp_path / "rsync", prune=bool(include)) == selected | parents

    found = by_rclone(tree, tmp_path / "rclone")
    directories = {name.removesuffix("/") for name in found if name.endswith("/")}
    assert {name for name in found if not name.endswith("/")} == {path for path in selected if not there[path]}
    # With includes rclone lists all directories in which something could be: it copies only the files.
    chosen = {path for path in selected if there[path]}
    assert chosen <= directories if include else chosen == directories


def test_the_cases_select_something() -> None:
    """Half of the generated cases at least must tell a file from another, or they would prove nothing."""
    cases = generated(30, seed=1)
    telling = [case for case in cases if len({patterns.matches(name, False, *case) for name in FILES}) == 2]
    assert len(telling) >= 15
