"""The treebank: what is learnt, held out and explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from treebank import TREES, write_trees

from lrp_bench.contracts import BenchError
from lrp_bench.data import SST

COMMON: dict[str, Any] = {"mean": 0.0, "std": 1.0, "batch_size": 2, "samples": 2, "seed": 0}


def sst(root: Path, classes: int = 5, **changed: Any) -> SST:
    return SST(root=root, classes=classes, **{"shape": [4], "validation": None, **COMMON, **changed})


@pytest.mark.parametrize("line", ["", "good", "(3 good", "(3 good))", "(2 a) (3 b)", "(5 good)", "(3 (2 a) b)) x"])
def test_what_is_no_tree_is_named_with_its_line(line: str, tmp_path: Path) -> None:
    data = sst(write_trees(tmp_path, TREES | {"dev": ["(2 a)", line, "(2 a)"]}))
    with pytest.raises(BenchError, match=r"Expected a tree.* in line 2 of .*dev\.txt"):
        data.setup()


def test_five_classes_are_learnt_from_every_different_phrase(tmp_path: Path) -> None:
    data = sst(write_trees(tmp_path, TREES))
    # frequencies: film 3, a 2, bad 1, good 1
    ids = {"film": 2, "a": 3, "bad": 4, "good": 5}
    expected = {
        ("a",): 2,
        ("good",): 3,
        ("film",): 2,
        ("good", "film"): 4,
        ("a", "good", "film"): 3,
        ("bad",): 1,
        ("bad", "film"): 0,
        ("a", "film"): 2,
    }
    rows = {tuple(ids[word] for word in words) + (0,) * (4 - len(words)): c for words, c in expected.items()}
    loaded = [batch for part in [data.batches("train")] for batch in part]
    inputs, labels = (torch.cat(each) for each in zip(*loaded, strict=True))
    assert dict(zip(map(tuple, inputs.tolist()), labels.tolist(), strict=True)) == rows
    assert len(labels) == len(rows)
    [(held_out, held_labels)] = list(data.batches("validation"))
    assert held_out.tolist() == [[5, 1, 0, 0], [1, 3, 0, 0]]
    assert held_labels.tolist() == [4, 2]
    assert data.contents.test.inputs.tolist() == [[3, 0, 0, 0], [1, 4, 1, 0], [5, 1, 0, 0]]
    assert data.sentences([1, 0]) == [("(", "Bad", "1/2"), ("a",)]


def test_two_classes_are_without_the_neutral(tmp_path: Path) -> None:
    data = sst(write_trees(tmp_path, TREES), classes=2)
    assert data.contents.test.labels.tolist() == [0, 1]
    assert data.sentences([0]) == [("(", "Bad", "1/2")]
    assert [labels.tolist() for _, labels in data.batches("validation")] == [[1]]
    assert data.class_names == ["negative", "positive"]


def test_sentences_alone_may_be_learnt_and_words_may_be_few(tmp_path: Path) -> None:
    data = sst(write_trees(tmp_path, TREES), phrases=False, vocabulary=3)
    rows = sorted(row for inputs, _ in data.batches("train") for row in inputs.tolist())
    assert rows == [[1, 1, 2, 0], [1, 2, 0, 0], [1, 2, 0, 0]]


def test_the_explained_subset_begins_with_all_classes(tmp_path: Path) -> None:
    trees = TREES | {"test": ["(4 good)"] * 20 + ["(0 bad)"] * 20}
    labels = sst(write_trees(tmp_path, trees), classes=2, samples=40).indices.ge(20)
    assert labels.sum() == 20
    assert 2 <= labels[:10].sum() <= 8


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    write_trees(tmp_path, {"train": TREES["train"]})
    with pytest.raises(BenchError, match=r"sst/trees, missing: dev\.txt, test\.txt\. Unpack"):
        sst(tmp_path).setup()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"classes": 3}, "5, or 2"),
        ({"shape": [2]}, r"at most 2 words, got 3: set dataset\.shape"),
        ({"vocabulary": 2}, "vocabulary"),
    ],
)
def test_what_does_not_fit_is_refused(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=message):
        sst(write_trees(tmp_path, TREES), **changed).setup()
