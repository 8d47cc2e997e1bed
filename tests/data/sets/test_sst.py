"""Sentences: the treebank is read as it was written, and batches hold sentences of like lengths."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from treebank import TREES, write_trees

from lrp_bench.contracts import BenchError
from lrp_bench.data import SST, Arithmetic
from lrp_bench.data.batching import AlikeBatches
from lrp_bench.data.sources.texts import encode, vocabulary
from lrp_bench.data.sources.treebank import Phrase, parse

COMMON: dict[str, Any] = {"mean": 0.0, "std": 1.0, "batch_size": 2, "samples": 2, "seed": 0}


def sst(root: Path, classes: int = 5, **changed: Any) -> SST:
    return SST(root=root, classes=classes, **{"shape": [4], "validation": None, **COMMON, **changed})


def grown(depth: int, draw: random.Random) -> tuple[str, list[Phrase]]:
    """A random tree, as it is written and as its phrases in the order in which they end."""
    rating = draw.randrange(5)
    if depth == 0 or draw.random() < 0.3:
        word = draw.choice(["it", "'s", "...", "n't", "2000", ","])
        return f"({rating} {word})", [Phrase(rating, (word,))]
    (left, first), (right, second) = grown(depth - 1, draw), grown(depth - 1, draw)
    whole = Phrase(rating, first[-1].words + second[-1].words)
    return f"({rating} {left} {right})", [*first, *second, whole]


@given(st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_a_tree_is_read_as_it_was_made(draw: random.Random) -> None:
    written, phrases = grown(5, draw)
    assert parse(written) == phrases


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


def test_an_official_validation_split_must_be_there_to_be_asked_for() -> None:
    settings: dict[str, Any] = {"operation": "sum", "train": 9, "test": 2, "shape": [6], "classes": 1}
    with pytest.raises(BenchError, match="no official validation split"):
        Arithmetic(validation=None, **settings, **COMMON).setup()


@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=5).map(tuple), min_size=1, max_size=9))
@settings(max_examples=20, deadline=None)
def test_ids_say_which_words_stood_where(sentences: list[tuple[str, ...]]) -> None:
    ids = vocabulary(sentences, size=6)
    word = {number: name for name, number in ids.items()} | {1: None}
    for words, row in zip(sentences, encode(sentences, ids, length=5).tolist(), strict=True):
        assert row[len(words) :] == [0] * (5 - len(words))
        assert [word[i] for i in row[: len(words)]] == [w if w in ids else None for w in words]


def test_batches_of_like_lengths_hold_every_sentence_once_in_a_new_order() -> None:
    sizes = torch.randint(1, 40, (1003,), generator=torch.Generator().manual_seed(0))
    index = torch.arange(0, 1003, 2)
    batches = AlikeBatches(index, 20, seed=3, sizes=sizes)
    epochs = []
    for epoch in (0, 1, 0):
        batches.set_epoch(epoch)
        epochs.append(list(batches))
    assert [len(batch) for batch in epochs[0]] == [20] * 25 + [2]
    for drawn in epochs:
        assert torch.equal(torch.cat(drawn).sort().values, index)
        spans = sorted((int(sizes[batch].min()), int(sizes[batch].max())) for batch in drawn[:-1])
        assert all(low <= high for (_, low), (high, _) in pairwise(spans))  # they do not overlap
    assert not torch.equal(torch.cat(epochs[0]), torch.cat(epochs[1]))
    assert torch.equal(torch.cat(epochs[0]), torch.cat(epochs[2]))
    means = torch.tensor([sizes[batch].double().mean() for batch in epochs[0]])
    assert not torch.equal(means, means.sort().values)


@pytest.mark.parametrize(("operation", "sign"), [("sum", 1), ("difference", -1)])
def test_arithmetic_hides_two_numbers_in_their_order(operation: str, sign: int) -> None:
    data = Arithmetic(operation=operation, train=300, test=50, shape=[12], classes=1, **COMMON, validation=0.1)
    steps = data.contents.train.inputs.view(300, 4, 3)
    assert bool(((steps != 0).sum(2) == 1).all())
    a, b = (steps[:, :, channel].sum(1) for channel in (1, 2))
    assert bool(((steps[:, :, 1:] != 0).sum(1) == 1).all())
    first, second = (steps[:, :, channel].abs().argmax(1) for channel in (1, 2))
    assert bool((first < second).all())
    assert len(set(zip(first.tolist(), second.tolist(), strict=True))) == 6
    torch.testing.assert_close(data.contents.train.labels, a + sign * b)
    assert steps.min() < -0.95
    assert steps.max() > 0.95


@pytest.mark.parametrize("changed", [{"shape": [10]}, {"shape": [3]}, {"operation": "product"}])
def test_arithmetic_refuses_what_is_no_such_task(changed: dict[str, Any]) -> None:
    given = {"operation": "sum", "train": 9, "test": 2, "shape": [6], "classes": 1, "validation": 0.1}
    with pytest.raises(BenchError, match="Expected dataset"):
        Arithmetic(**{**given, **COMMON, **changed})
