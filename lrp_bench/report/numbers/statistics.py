"""Means of per-sample values, with their uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import bootstrap

CONFIDENCE = 0.95
RESAMPLES = 2000
SEED = 0  # of every resampling: the same values have the same interval wherever it is shown
DRAWN = 4_000_000  # places drawn at once: bounds the memory
COLUMNS = 1000  # means resampled at once, likewise

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """A mean, the ends of its 95 % interval, and the number of samples behind it."""

    mean: float
    low: float
    high: float
    n: int


class Intervals(NamedTuple):
    """Means, the ends of their intervals, and the number of samples behind each: (columns,)."""

    mean: Array
    low: Array
    high: Array
    n: NDArray[np.int64]


def interval(values: ArrayLike) -> Interval:
    """`intervals` of one column, (samples,) or (seeds, samples).

    >>> interval([1.0, 2.0, 3.0, float("nan")])
    Interval(mean=2.0, low=1.0, high=3.0, n=3)
    """
    mean, low, high, n = (each[0] for each in intervals(np.asarray(values, dtype=np.float64)[None]))
    return Interval(float(mean), float(low), float(high), int(n))


def intervals(values: ArrayLike) -> Intervals:
    """Means with 95 % percentile bootstrap intervals (Efron 1979), 2000 resamples from a fixed seed.

    The percentile method, since BCa's acceleration is not defined for two ways of resampling, nor for the rank
    distances that are resampled as well. It is a little too narrow for few samples: with ten normal ones it holds the
    mean in 90 % of cases.

    Args:
        values: (columns, samples), or (columns, seeds, samples) where several seeds explained the same samples. Then
            both are drawn, the seeds and, for all of them alike, the samples (Owen 2007: the pigeonhole bootstrap); two
            or three seeds tell little about others, and the interval is too narrow over seeds by (S - 1) / S of the
            variance.

    Returns:
        mean, low, high and n: (columns,). A sample counts where it is defined (not NaN) under every seed. Without any
        the mean is NaN; the ends are NaN with fewer than two, or beside an infinite value; a constant has no width.
    """
    cube = np.asarray(values, dtype=np.float64)
    cube = cube[:, :, None] if cube.ndim == 2 else cube.transpose(0, 2, 1)  # (columns, samples, seeds)
    defined = ~np.any(np.isnan(cube), axis=2)
    mean, low, high = np.full((3, len(cube)), np.nan)
    for rows, kept in compact(cube, defined):
        with np.errstate(invalid="ignore"):  # infinite values of both signs
            mean[rows] = kept.mean((1, 2))
        usable = np.isfinite(kept).all((1, 2)) & (kept.shape[1] > 1)
        if usable.any():
            low[rows[usable]], high[rows[usable]] = _ends(kept[usable], mean[rows[usable]])
    return Intervals(mean, low, high, np.sum(defined, axis=1))


def intervals_of_blocks(blocks: Sequence[Array]) -> Intervals:
    """`intervals` of blocks (columns, seeds, samples), one behind the other; those of one shape are resampled together.

    The same numbers as block by block, in less time.
    """
    ends = np.cumsum([0, *map(len, blocks)])
    mean, low, high = np.full((3, ends[-1]), np.nan)
    found = Intervals(mean, low, high, np.zeros(ends[-1], dtype=np.int64))
    for shape in dict.fromkeys(block.shape[1:] for block in blocks):
        alike = [place for place, block in enumerate(blocks) if block.shape[1:] == shape]
        rows = np.concatenate([np.arange(ends[place], ends[place + 1]) for place in alike])
        for whole, part in zip(found, intervals(np.concatenate([blocks[place] for place in alike])), strict=True):
            whole[rows] = part
    return found


def compact(values: NDArray[Any], defined: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """The defined samples of rows that have equally many: (rows, values (len(rows), n, ...)), n at least 1.

    values: (rows, samples, ...); defined: (rows, samples). At most COLUMNS rows come at once.
    """
    counts = defined.sum(1)
    for n in np.unique(counts[counts > 0]):
        found = np.flatnonzero(counts == n)
        for rows in np.array_split(found, -(-len(found) // COLUMNS)):
            yield rows, values[rows][defined[rows]].reshape(len(rows), n, *values.shape[2:])


def bootstrap_ends(statistic: Callable[..., Array], sizes: Sequence[int]) -> tuple[Array, Array]:
    """Ends of the 95 % percentile interval of a statistic, one for each of its values.

    statistic: one array of places (resamples, size) for each of `sizes`, drawn from range(size) with replacement ->
    (..., resamples).
    """
    found = bootstrap(
        [np.arange(size) for size in sizes],
        lambda *drawn, axis: statistic(*drawn),
        n_resamples=RESAMPLES,
        batch=max(1, DRAWN // max(sizes)),
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    return np.asarray(found.confidence_interval.low), np.asarray(found.confidence_interval.high)


def shares(drawn: NDArray[np.int64], size: int) -> Array:
    """How much of each resample (resamples, draws) each of `size` places is: (resamples, size).

    A mean over a resample is then a product of matrices, which serves any number of columns.
    """
    return np.asarray(_counts(drawn, size) / drawn.shape[1])


def _counts(drawn: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """How often each resample (resamples, draws) holds each of `size` places: (resamples, size)."""
    starts = size * np.arange(len(drawn))[:, None]
    return np.bincount((drawn + starts).ravel(), minlength=size * len(drawn)).reshape(len(drawn), size)


def resampled_means(kept: Array, drawn: NDArray[np.int64], *of_seeds: NDArray[np.int64]) -> Array:
    """kept: (columns, samples, seeds), finite; drawn, of_seeds: (resamples, draws) -> means (columns, resamples)."""
    _, samples, seeds = kept.shape
    by_seed = shares(drawn, samples) @ kept.transpose(2, 1, 0)  # (seeds, resamples, columns)
    weights = shares(of_seeds[0], seeds).T if of_seeds else np.ones((1, 1))
    return np.asarray(np.einsum("sr,src->cr", weights, by_seed))


def resampled_medians(kept: Array, drawn: NDArray[np.int64], of_seeds: NDArray[np.int64]) -> Array:
    """As `resampled_means`: the medians over samples of the means over seeds, (columns, resamples)."""
    weights = shares(of_seeds, kept.shape[2])
    each = [np.median(kept[:, samples] @ weight, axis=1) for samples, weight in zip(drawn, weights, strict=True)]
    return np.stack(each, axis=1)


def medians(values: Array, drawn: NDArray[np.int64]) -> Array:
    """Medians of resamples, np.median(values[..., drawn], -1), in a fraction of its time and memory.

    values: (..., samples), finite; drawn: (resamples, draws) -> (..., resamples). One sort serves all resamples: a
    median is where the counts of the values in order pass the middle.
    """
    rows, draws = values.reshape(-1, values.shape[-1]), drawn.shape[1]
    counts = _counts(drawn, rows.shape[1]).astype(np.int32)
    found = np.empty((len(rows), len(drawn)))
    for place, row in enumerate(rows):
        order = np.argsort(row)
        passed = np.cumsum(counts[:, order], axis=1)
        middle = [row[order][(passed <= half).sum(1)] for half in {(draws - 1) // 2, draws // 2}]
        found[place] = sum(middle) / len(middle)
    return found.reshape(*values.shape[:-1], len(drawn))


def _ends(kept: Array, mean: Array) -> tuple[Array, Array]:
    """kept: (columns, samples, seeds), finite; mean: (columns,)."""
    _, samples, seeds = kept.shape
    low, high = bootstrap_ends(partial(resampled_means, kept), [samples] + [seeds] * (seeds > 1))
    constant = np.ptp(kept, axis=(1, 2)) == 0
    return np.where(constant, mean, low), np.where(constant, mean, high)


def quartiles(values: ArrayLike) -> tuple[float, float, float]:
    """First quartile, median and third quartile of the values that are defined, between two values by line.

    >>> quartiles([1.0, 2.0, 3.0, 5.0, float("nan")])
    (1.75, 2.5, 3.5)
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    ordered = np.sort(flat[~np.isnan(flat)])
    if not ordered.size:
        return float("nan"), float("nan"), float("nan")
    places = np.array([0.25, 0.5, 0.75]) * (ordered.size - 1)
    below, above = ordered[np.floor(places).astype(int)], ordered[np.ceil(places).astype(int)]
    with np.errstate(invalid="ignore"):  # np.quantile makes NaN of a median beside an infinite value
        q1, median, q3 = np.where(below == above, below, below + (above - below) * (places % 1)).tolist()
    return q1, median, q3


def metrics(values: Mapping[str, ArrayLike]) -> dict[str, float]:
    """What a run logs for its measures: `<measure>` is the mean, and what `/n`, `/low` ... beside it say.

    values: measure -> (samples,), as many for each.
    """
    if not values:
        return {}
    columns = np.array([np.asarray(each, dtype=np.float64) for each in values.values()])
    found = zip(values, columns, *intervals(columns), strict=True)
    return {name + end: value for name, *each in found for end, value in _described(*each).items()}


def _described(column: Array, mean: float, low: float, high: float, n: int) -> dict[str, float]:
    q1, median, q3 = quartiles(column)
    ends = {"/n": n, "/low": low, "/high": high, "/q1": q1, "/median": median, "/q3": q3}
    return {key: float(value) for key, value in {"": mean, **ends}.items()}
