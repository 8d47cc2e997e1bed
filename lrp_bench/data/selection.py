"""Seeded draws of positions: pure functions of labels and generators."""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def balanced(labels: Tensor, count: int, generator: Generator) -> Tensor:
    """Draw `count` sorted positions with classes as equal in number as possible.

    One position of each class is drawn in turn, so that a class too small for its share is used up and the others fill
    its place. labels: (n,) int64; count <= n. A larger count with the same seed keeps the smaller draw.
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    turn = _occurrence(labels[shuffled])
    drawn = shuffled[turn.argsort(stable=True)[:count]]
    return drawn.sort().values


def cut(size: int, fraction: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Split range(size) at random into the rest and round(size * fraction) held-out positions, both sorted."""
    shuffled = torch.randperm(size, generator=generator)
    held_out = round(size * fraction)
    return shuffled[held_out:].sort().values, shuffled[:held_out].sort().values


def others(size: int, positions: Tensor) -> Tensor:
    """What range(size) holds beside these positions, sorted.

    >>> others(4, torch.tensor([0, 2]))
    tensor([1, 3])
    """
    left = torch.ones(size, dtype=torch.bool)
    left[positions] = False
    return left.nonzero()[:, 0]


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for what is random in one epoch, so that a resumed training draws what the interrupted one would have."""
    return (seed * 1_000_003 + epoch) % 2**63


def _occurrence(labels: Tensor) -> Tensor:
    """For each position, how many earlier ones have its label."""
    order = labels.argsort(stable=True)
    counts = labels.bincount()
    starts = counts.cumsum(0) - counts
    within = torch.empty_like(labels)
    within[order] = torch.arange(len(labels)) - starts[labels[order]]
    return within
