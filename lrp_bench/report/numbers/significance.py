"""Is a difference between two methods more than chance?"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from lrp_bench.report.numbers.statistics import Array, compact

LEVEL = 0.05
EXACT = 50  # differences up to which the null distribution is counted out


class SignedRank(NamedTuple):
    """p: two-sided; rank_biserial: in [-1, 1], positive where the positive differences have the greater ranks."""

    p: Array
    rank_biserial: Array


def signed_rank(differences: ArrayLike) -> SignedRank:
    """Wilcoxon's signed-rank test for each row of paired differences (rows, samples).

    NaN is left out, zeros are dropped, ties share their ranks. Up to 50 that are left, p is exact, with ties
    too: all signs are counted out. With more it is the normal approximation. Differences that are all zero have p = 1;
    a row without any is NaN. rank_biserial: (W+ - W-) / (W+ + W-) (Kerby 2014).

    >>> signed_rank([[1.0, 2.0, 3.0, 4.0, 5.0, float("nan")], [1.0, 1.0, -1.0, 0.0, 0.0, 0.0]])
    SignedRank(p=array([0.0625, 1.    ]), rank_biserial=array([1.        , 0.33333333]))
    """
    rows = np.asarray(differences, dtype=np.float64)
    some = ~np.isnan(rows).all(1)
    p, biserial = np.where(some, 1.0, np.nan), np.where(some, 0.0, np.nan)
    for places, kept in compact(rows, ~np.isnan(rows) & (rows != 0)):
        ranks = rankdata(np.abs(kept), axis=1)
        total = (np.sign(kept) * ranks).sum(1)
        p[places] = (_exact if kept.shape[1] <= EXACT else _normal)(ranks, total)
        biserial[places] = total / ranks.sum(1)
    return SignedRank(p, biserial)


def _exact(ranks: Array, total: Array) -> Array:
    """The share of the 2^n ways to set the signs that are at least as extreme; one count for rows of the same ranks."""
    doubled = np.sort(np.rint(2 * ranks).astype(np.int64), axis=1)  # whole numbers, with ties too
    patterns, which = np.unique(doubled, axis=0, return_inverse=True)
    less = np.rint(doubled.sum(1) / 2 - np.abs(total)).astype(np.int64)  # twice the smaller rank sum
    p = np.empty(len(ranks))
    for place, pattern in enumerate(patterns):
        rows = which.ravel() == place
        p[rows] = 2 * np.cumsum(_rank_sums(pattern))[less[rows]]
    return np.minimum(p, 1.0)


def _rank_sums(ranks: NDArray[np.int64]) -> Array:
    """The chance of each sum 0, 1, ... of the positive ranks where every sign is by lot."""
    chance = np.ones(1)
    for rank in ranks:
        both = np.zeros(len(chance) + rank)
        both[: len(chance)] += chance / 2
        both[rank:] += chance / 2
        chance = both
    return chance


def _normal(ranks: Array, total: Array) -> Array:
    return np.asarray(2 * norm.sf(np.abs(total) / np.sqrt(np.square(ranks).sum(1))))


def holm(p: ArrayLike) -> Array:
    """Adjusted so that one false discovery among all has a chance of at most the level (Holm 1979); NaN stays.

    p_(i) -> the largest of (m - j + 1) p_(j) for j <= i, at most 1, for m tests in ascending order.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    flat = np.asarray(p, dtype=np.float64)
    order: NDArray[np.int64] = np.argsort(flat)[: np.count_nonzero(~np.isnan(flat))]  # NaN sorts last
    adjusted = np.full(flat.shape, np.nan)
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * flat[order]), 1.0)
    return adjusted
