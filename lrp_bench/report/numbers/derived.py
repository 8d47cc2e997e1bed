"""Numbers that are no mean of one row: what follows from the order of several means, with an interval over samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from lrp_bench.report.numbers.stability import kendall_distances
from lrp_bench.report.numbers.statistics import Array, Interval, bootstrap_ends, shares

DERIVED = ("kendall_distance", "rank_correlation")
WHOLE = -1.0  # in the place of a sample: a number of the run, the same for every sample


class Part(NamedTuple):
    """A number as a function of means over samples.

    table: a row per sample and a column per mean; statistic: means (resamples, columns) -> (resamples,).
    """

    table: pd.DataFrame
    statistic: Callable[[Array], Array]


def derive(statistic: str, tables: Sequence[Sequence[pd.DataFrame]]) -> Interval:
    """The number of the first tables, less that of the second where there are two, with its 95 % bootstrap interval.

    The samples are drawn once for all means, those that all of them define. NaN where there is nothing to compare; a
    resample under which it is undefined counts as 0, no order at all.

    statistic: kendall_distance or rank_correlation, whose arguments each of `tables` holds.
    """
    made: dict[str, Callable[..., Part]] = {"kendall_distance": kendall_distance, "rank_correlation": rank_correlation}
    parts = [made[statistic](*each) for each in tables]
    whole = pd.concat({place: part.table for place, part in enumerate(parts)}, axis=1).dropna()
    values, n, sizes = whole.to_numpy(dtype=np.float64), len(whole), [part.table.shape[1] for part in parts]
    if not n or not min(sizes):
        return Interval(np.nan, np.nan, np.nan, 0)
    constant = np.ptp(values, axis=0) == 0

    def computed(weights: Array, undefined: float) -> Array:
        means = np.where(constant, values[0], weights @ values)  # rounding breaks no tie
        each = zip(parts, np.split(means, sizes[:1], axis=1), strict=False)
        found = [np.nan_to_num(part.statistic(own), nan=undefined) for part, own in each]
        return found[0] - found[1] if len(found) > 1 else found[0]

    (ours,) = computed(np.full((1, n), 1 / n), math.nan)
    low = high = np.asarray(np.nan)
    if n > 1:
        low, high = bootstrap_ends(lambda drawn: computed(shares(drawn, n), 0.0), [n])
    return Interval(float(ours), float(low), float(high), n)


def kendall_distance(values: pd.DataFrame) -> Part:
    """Mean normalised Kendall distance between the rankings of the methods under each two conditions.

    values: a row per sample, columns (condition, method). Methods that are not measured under all conditions are left
    out. See stability.kendall_distances.
    """
    conditions = values.columns.unique(0)
    methods = [name for name in values.columns.unique(1) if all((each, name) in values.columns for each in conditions)]
    shape = len(conditions), len(methods)

    def statistic(means: Array) -> Array:
        return np.asarray(kendall_distances(means.T.reshape(*shape, -1)).mean(0))

    several = min(shape) > 1
    return Part(values[[(each, name) for each in conditions for name in methods if several]], statistic)


def rank_correlation(one: pd.DataFrame, other: pd.DataFrame) -> Part:
    """Spearman's correlation between two means over the same items, which are methods or conditions.

    one, other: a row per sample, or a single one, WHOLE, for all; a column per item. Items that both have count, three
    at least.
    """
    items = [item for item in one.columns if item in other.columns]
    items = items if len(items) > 2 else []
    one, other = _for_samples(one[items], other), _for_samples(other[items], one)
    values = pd.concat({0: one, 1: other}, axis=1)
    return Part(values, lambda means: spearman(means[:, : len(items)], means[:, len(items) :]))


def spearman(a: Array, b: Array) -> Array:
    """Rank correlation along the last axis; ties have their middle rank. NaN where all are tied.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0]))
    array(0.5)
    """
    x, y = (rankdata(each, axis=-1) - (each.shape[-1] + 1) / 2 for each in (a, b))
    with np.errstate(invalid="ignore"):
        return np.asarray((x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1)))


def _for_samples(table: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    return table.reindex(other.index, method="ffill") if list(table.index) == [WHOLE] else table
