"""The tree to try the DAGs with: the same for the same seed, and of every size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lab import tree
from lab.sample import sample

REPOSITORY = Path(__file__).resolve().parents[2]


def test_one_seed_makes_one_tree(tmp_path: Path) -> None:
    counts = [sample(tmp_path / name, 20, 3_000_000, seed=seed) for name, seed in (("one", 1), ("same", 1), ("other", 2))]
    assert counts[0] == counts[1]
    one, same, other = (tree.listing(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same
    assert tree.digest(tmp_path / "one") == tree.digest(tmp_path / "same") != tree.digest(tmp_path / "other")
    assert one != other
    sizes = {path.stat().st_size for path in (tmp_path / "one" / "sizes").iterdir()}
    assert {0, 3, 300, 3_000_000} <= sizes
    assert counts[0][0] == len(list(tree.files(tmp_path / "one")))


def test_a_sparse_file_of_ten_gigabytes_costs_no_room(tmp_path: Path) -> None:
    sample(tmp_path / "tree", 0, 10 * 1024**3, sparse=True)
    (largest,) = [path for path in (tmp_path / "tree" / "sizes").iterdir() if path.stat().st_size == 10 * 1024**3]
    assert largest.stat().st_blocks * 512 < 10 * tree.MEBI


def test_what_is_there_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    for arguments, words in (([str(tmp_path)], "is not empty"), ([str(tmp_path / "new"), "--largest", "much"], "--largest 'much'")):
        done = subprocess.run([sys.executable, "-m", "lab.sample", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert words in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
