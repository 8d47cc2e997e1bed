from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrp_bench.data.batching import Batches
from lrp_bench.data.selection import balanced, cut, epoch_seed

LABELS = st.lists(st.integers(0, 4), min_size=1, max_size=40).map(torch.tensor)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=60, deadline=None)
@given(labels=LABELS, data=st.data(), seed=st.integers(0, 5))
def test_balanced_draws_distinct_sorted_positions_with_classes_as_equal_as_possible(
    labels: torch.Tensor, data: st.DataObject, seed: int
) -> None:
    count = data.draw(st.integers(0, len(labels)))
    drawn = balanced(labels, count, seeded(seed))
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    assert len(drawn) == count
    held, taken = labels.bincount(minlength=5), labels[drawn].bincount(minlength=5)
    # A class with samples left to give is never more than one behind any other.
    for label in range(5):
        assert taken[label] == held[label] or taken[label] >= taken.max() - 1


@settings(max_examples=30, deadline=None)
@given(labels=LABELS, seed=st.integers(0, 5))
def test_balanced_is_seeded_and_grows_with_count(labels: torch.Tensor, seed: int) -> None:
    half = balanced(labels, len(labels) // 2, seeded(seed))
    assert torch.equal(half, balanced(labels, len(labels) // 2, seeded(seed)))
    more = balanced(labels, min(len(labels), len(labels) // 2 + 3), seeded(seed))
    assert set(half.tolist()) <= set(more.tolist())


def test_balanced_depends_on_the_seed() -> None:
    labels = torch.arange(100) % 4
    assert not torch.equal(balanced(labels, 20, seeded(0)), balanced(labels, 20, seeded(1)))


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 60), fraction=st.floats(0.01, 0.99))
def test_cut_is_a_partition(size: int, fraction: float) -> None:
    rest, held_out = cut(size, fraction, seeded(0))
    assert sorted(rest.tolist() + held_out.tolist()) == list(range(size))
    assert len(held_out) == round(size * fraction)


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 30), batch_size=st.integers(1, 35), seed=st.none() | st.integers(0, 3))
def test_batches_hold_every_position_once(size: int, batch_size: int, seed: int | None) -> None:
    batches = Batches(torch.arange(size), batch_size, seed)
    drawn = list(batches)
    assert sorted(torch.cat(drawn).tolist()) == list(range(size))
    assert len(drawn) == len(batches)
    assert max(map(len, drawn)) <= batch_size


def test_epoch_seeds_differ_between_epochs_and_seeds_and_fit_a_generator() -> None:
    seeds = [epoch_seed(seed, epoch) for seed in (0, 1, 2**62) for epoch in range(50)]
    assert len(set(seeds)) == len(seeds)
    for seed in seeds:
        torch.Generator().manual_seed(seed)
