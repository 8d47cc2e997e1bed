"""How far two relevance maps agree in their k features of largest |relevance|; (batch, ...) each.

Features tied at the edge of the top k count in the order of their position: look at the share of ties beside these.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError
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
    return top.share(top.in_a & top.in_b)


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
    return top.share(top.in_a & top.in_b & top.same_sign)


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
    return top.share(top.in_a & top.same_rank)


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
    return top.share(top.in_a & top.same_rank & top.same_sign)


class _Top(NamedTuple):
    """What the four measures count, per feature: (batch, n) bool each; and where they are defined, (batch,) bool."""

    in_a: Tensor
    in_b: Tensor
    same_rank: Tensor
    same_sign: Tensor
    defined: Tensor
    dtype: torch.dtype
    k: int

    def share(self, hits: Tensor) -> Tensor:
        return undefined_unless(self.defined, hits.sum(1).to(self.dtype) / self.k)


def _top(a: Tensor, b: Tensor, k: int) -> _Top:
    a, b = paired_rows(a, b)
    if not 1 <= k <= a.shape[1]:
        raise BenchError(f"Expected k between 1 and the {a.shape[1]} features, got {k}: choose a k in this range")
    rank_a, rank_b = _ranks(a.abs()), _ranks(b.abs())
    defined = varied(a.abs()) & varied(b.abs())
    return _Top(rank_a < k, rank_b < k, rank_a == rank_b, a.sign() == b.sign(), defined, a.dtype, k)


def _ranks(values: Tensor) -> Tensor:
    order = values.argsort(dim=1, descending=True, stable=True)
    return order.argsort(1)
