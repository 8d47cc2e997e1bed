"""How far two relevance maps agree in all their values; (batch, ...) each, read as one row per sample."""

from __future__ import annotations

from torch import Tensor

from lrp_bench.metrics.functional.ranks import centred_ranks, count_pairs
from lrp_bench.metrics.functional.rows import paired_rows, undefined_unless, varied


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine similarity: a.b / (|a| |b|).

    Args:
        a: (batch, ...).
        b: the shape of a.

    Returns:
        (batch,) in [-1, 1]; NaN where a or b is all zero.

    >>> cosine(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 1.0]]))
    tensor([0.7071])
    """
    return _cosine(*paired_rows(a, b))


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation: the cosine of the two maps after each lost its mean.

    Args:
        a: (batch, ...).
        b: the shape of a.

    Returns:
        (batch,) in [-1, 1]; NaN where a or b is constant.

    >>> pearson(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[6.0, 4.0, 2.0]]))
    tensor([-1.])
    """
    a, b = paired_rows(a, b)
    centred = _cosine(a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True))
    return undefined_unless(varied(a) & varied(b), centred)


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation: Pearson's correlation of the ranks, ties at their average rank.

    Of signed values as they stand; for the rank correlation of Krishna et al. 2022 pass a.abs(), b.abs().

    Args:
        a: (batch, ...).
        b: the shape of a.

    Returns:
        (batch,) in [-1, 1]; NaN where a or b is constant or holds NaN.

    Source:
        Spearman 1904; the reference is scipy.stats.spearmanr.

    >>> spearman(torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[0.0, 0.0, 5.0]]))
    tensor([0.8660])
    """
    a, b = paired_rows(a, b)
    ranked = _cosine(centred_ranks(a), centred_ranks(b))
    return undefined_unless(varied(a) & varied(b), ranked)


def kendall(a: Tensor, b: Tensor) -> Tensor:
    """Kendall's tau-b: (C - D) / sqrt((N - T_a)(N - T_b)) over the N = n(n-1)/2 pairs of features.

    C pairs in the same order, D in opposite order, T_a and T_b tied in a and in b. In O(n log n) time and O(n) memory.

    Args:
        a: (batch, ...).
        b: the shape of a.

    Returns:
        (batch,) in [-1, 1]; NaN where a or b is constant or holds NaN.

    Source:
        Kendall 1945; the reference is scipy.stats.kendalltau.

    >>> kendall(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 3.0, 2.0]]))
    tensor([0.3333])
    """
    a, b = paired_rows(a, b)
    pairs = count_pairs(a, b)
    free_a, free_b = (pairs.total - pairs.tied_a).to(a.dtype), (pairs.total - pairs.tied_b).to(a.dtype)
    tau = (pairs.concordant - pairs.discordant).to(a.dtype) / free_a.sqrt() / free_b.sqrt()
    return undefined_unless(varied(a) & varied(b), tau.clamp(-1, 1))


def pairwise_rank_agreement(a: Tensor, b: Tensor) -> Tensor:
    """Share of feature pairs whose |relevance| is ordered alike in both maps (larger, smaller or tied). O(n log n).

    Args:
        a: (batch, ...).
        b: the shape of a.

    Returns:
        (batch,) in [0, 1]; NaN where |a| or |b| is constant or holds NaN.

    Source:
        Krishna et al. 2022.

    >>> pairwise_rank_agreement(torch.tensor([[1.0, -2.0, 3.0]]), torch.tensor([[1.0, 3.0, 2.0]]))
    tensor([0.6667])
    """
    a, b = (values.abs() for values in paired_rows(a, b))
    pairs = count_pairs(a, b)
    share = (pairs.concordant + pairs.tied_both).to(a.dtype) / pairs.total
    return undefined_unless(varied(a) & varied(b), share)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    # scaled first: relevance of 1e-30 would vanish when squared
    a, b = (values / values.abs().amax(1, keepdim=True) for values in (a, b))
    norms: Tensor = a.norm(dim=1) * b.norm(dim=1)
    return ((a * b).sum(1) / norms).clamp(-1, 1)
