"""A sentiment treebank of a few sentences, in files like the real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

TREES = {
    "train": ["(3 (2 A) (4 (3 Good) (2 film)))", "(0 (1 bad) (2 film))", "(2 (2 a) (2 film))"],
    "dev": ["(4 (4 good) (2 plot))", "(2 (2 plot) (2 a))"],
    "test": ["(2 a)", "(1 (2 -LRB-) (1 (0 Bad) (2 1\\/2)))", "(4 (4 good) (2 <b>))"],
}


def write_trees(root: Path, trees: Mapping[str, Sequence[str]] = TREES) -> Path:
    """Write root/sst/trees/{train,dev,test}.txt and return root."""
    folder = root / "sst" / "trees"
    folder.mkdir(parents=True)
    for part, lines in trees.items():
        (folder / f"{part}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root
