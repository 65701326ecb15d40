"""Makes a tree to try the DAGs with: python -m lab.sample DIRECTORY [--files N] [--largest 10G] [--sparse] [--seed N]."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from pathlib import Path

from fs_sync.values import parse_size, size
from lab.tree import EPOCH, MEBI, make_tree

# How many files there are between zero bytes and the largest size, a step of ten each.
STEPS = 8


def main() -> int:
    """Make the tree; return 0, or 2 with one line if the directory is not empty or a value is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.sample", description="Make a tree of nested directories, odd names and many sizes."
    )
    parser.add_argument("directory", type=Path, help="an empty directory, or one that is to be made")
    parser.add_argument("--files", type=int, default=300, help="how many small files, beside the odd names (300)")
    parser.add_argument("--largest", default="100M", help="size of the largest file, as 500M or 10G (100M)")
    parser.add_argument("--sparse", action="store_true", help="make the large files of holes, which cost no room")
    parser.add_argument("--seed", type=int, default=1, help="the same seed makes the same tree (1)")
    given = parser.parse_args()
    try:
        largest = parse_size(given.largest)
    except ValueError as error:
        parser.error(f"--largest {given.largest!r} {error}")
    if given.directory.exists() and (not given.directory.is_dir() or any(given.directory.iterdir())):
        parser.error(f"{given.directory} is not empty: name a directory that is not there yet")
    begin = time.monotonic()
    files, total = sample(given.directory, given.files, largest, sparse=given.sparse, seed=given.seed)
    print(f"{given.directory}: {files} files, {size(total)}, seed {given.seed}, in {time.monotonic() - begin:.0f} s")
    return 0


def sample(root: Path, files: int, largest: int, *, sparse: bool = False, seed: int = 1) -> tuple[int, int]:
    """Make the tree and return the number of its files and of their bytes. The same arguments make the same tree, its times included."""
    made = make_tree(root, files, seed=seed)
    sizes = sorted({0, *(largest // 10**step for step in range(STEPS))})
    for number, length in enumerate(sizes):
        path = root / "sizes" / f"{number}-{length}-bytes.bin"
        path.parent.mkdir(exist_ok=True)
        fill(path, length, sparse=sparse, seed=seed + number)
        print(f"{path.name}: {size(length)}", flush=True)
    for directory in (root / "sizes", root):
        os.utime(directory, ns=(EPOCH, EPOCH))
    total = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    return made + len(sizes), total


def fill(path: Path, length: int, *, sparse: bool, seed: int) -> None:
    """Write a file of a length: random bytes, or a random head and tail with a hole between them."""
    chance = random.Random(seed)
    with path.open("wb") as file:
        if sparse and length > 2 * MEBI:
            file.write(chance.randbytes(MEBI))
            file.seek(length - MEBI)
            file.write(chance.randbytes(MEBI))
        else:
            for at in range(0, length, MEBI):
                file.write(chance.randbytes(min(MEBI, length - at)))
    os.utime(path, ns=(EPOCH, EPOCH))


if __name__ == "__main__":
    sys.exit(main())
