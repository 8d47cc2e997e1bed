"""How far two relevance maps agree in their k features of largest |relevance|; (batch, ...) each.

Tied features get their ranks by lot, in each map for itself, and the measures are the means over all lots: maps without
relevance agree by chance alone. So a map with ties in its top k agrees less than fully even with itself.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.metrics.functional.ranks import ranked
from lrp_bench.metrics.functional.rows import paired_rows, undefined_unless, varied


def top_k_intersection(a: Tensor, b: Tensor, k: int) -> Tensor:
    """Feature agreement: |S_a & S_b| / k, S the k features of largest |relevance|.

    Args:
        a: (batch, ...).
        b: the shape of a.
        k: in [1, n]; n features per sample.

    Returns:
        (batch,) in [0, 1]; k / n on average for a random map; NaN where |a| or |b| is constant or holds NaN.

    Source:
        Krishna et al. 2022.

    >>> top_k_intersection(torch.tensor([[5.0, -4.0, 1.0]]), torch.tensor([[5.0, 1.0, 4.0]]), k=2)
    tensor([0.5000])
    """
    top = _top(a, b, k)
    return top.share(top.both)


def sign_agreement(a: Tensor, b: Tensor, k: int) -> Tensor:
    """Share of features that are in both top k and have the same sign in both.

    Args:
        a: (batch, ...).
        b: the shape of a.
        k: in [1, n]; n features per sample.

    Returns:
        (batch,) in [0, 1]; NaN where |a| or |b| is constant or holds NaN.

    Source:
        Krishna et al. 2022.

    >>> sign_agreement(torch.tensor([[5.0, -4.0, 1.0]]), torch.tensor([[5.0, 4.0, 1.0]]), k=2)
    tensor([0.5000])
    """
    top = _top(a, b, k)
    return top.share(top.both * top.same_sign)


def rank_agreement(a: Tensor, b: Tensor, k: int) -> Tensor:
    """Share of the top k that is the same feature at the same rank of |relevance|.

    Args:
        a: (batch, ...).
        b: the shape of a.
        k: in [1, n]; n features per sample.

    Returns:
        (batch,) in [0, 1]; NaN where |a| or |b| is constant or holds NaN.

    Source:
        Krishna et al. 2022.

    >>> rank_agreement(torch.tensor([[5.0, -4.0, 1.0]]), torch.tensor([[5.0, 1.0, 4.0]]), k=2)
    tensor([0.5000])
    """
    top = _top(a, b, k)
    return top.share(top.same_rank)


def signed_rank_agreement(a: Tensor, b: Tensor, k: int) -> Tensor:
    """Share of the top k that is the same feature at the same rank of |relevance|, with the same sign.

    Args:
        a: (batch, ...).
        b: the shape of a.
        k: in [1, n]; n features per sample.

    Returns:
        (batch,) in [0, 1]; NaN where |a| or |b| is constant or holds NaN.

    Source:
        Krishna et al. 2022.

    >>> signed_rank_agreement(torch.tensor([[5.0, -4.0, 1.0]]), torch.tensor([[5.0, 4.0, 1.0]]), k=2)
    tensor([0.5000])
    """
    top = _top(a, b, k)
    return top.share(top.same_rank * top.same_sign)


class _Top(NamedTuple):
    """What the four measures count, per feature, (batch, n) each; and where they are defined, (batch,) bool.

    both: the chance to be in both top k; same_rank: to be there at the same rank in both; same_sign: bool.
    """

    both: Tensor
    same_rank: Tensor
    same_sign: Tensor
    defined: Tensor
    k: int

    def share(self, hits: Tensor) -> Tensor:
        return undefined_unless(self.defined, hits.sum(1) / self.k)


class _Places(NamedTuple):
    """The first and the last place that each feature can have, from 0, the largest |relevance| first; (batch, n)."""

    first: Tensor
    last: Tensor

    def ties(self) -> Tensor:
        return self.last - self.first + 1

    def above(self, k: int) -> Tensor:
        """How many of them are in the top k."""
        return (k - self.first).clamp(min=0).minimum(self.ties())

    def shared(self, other: _Places, k: int) -> Tensor:
        """How many of them are in the top k and possible in both."""
        last = self.last.minimum(other.last).clamp(max=k - 1)
        return (last - self.first.maximum(other.first) + 1).clamp(min=0)


def _top(a: Tensor, b: Tensor, k: int) -> _Top:
    a, b = paired_rows(a, b)
    if not 1 <= k <= a.shape[1]:
        raise BenchError(f"Expected k between 1 and the {a.shape[1]} features, got {k}: choose a k in this range")
    ours, theirs = _places(a), _places(b)
    lots = (ours.ties() * theirs.ties()).to(a.dtype)
    both, same_rank = ours.above(k) * theirs.above(k) / lots, ours.shared(theirs, k) / lots
    return _Top(both, same_rank, a.sign() == b.sign(), varied(a.abs()) & varied(b.abs()), k)


def _places(values: Tensor) -> _Places:
    ranks = ranked(-values.abs())
    return _Places(ranks.by_feature(ranks.lowest), ranks.by_feature(ranks.highest))
