"""Means of per-sample values, with their uncertainty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean, the half-width of its 95 % interval, and the number of values behind it."""

    mean: float
    half: float
    n: int

    @property
    def low(self) -> float:
        """The interval's lower end."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """The interval's upper end."""
        return self.mean + self.half


def interval(values: ArrayLike) -> Interval:
    """Mean and Student's t interval, mean +/- t_(n-1) s / sqrt(n), of the values that are defined.

    NaN is left out. Without any value the mean is NaN; with fewer than two the half-width is NaN.

    >>> interval([1.0, 2.0, 3.0, float("nan")])
    Interval(mean=2.0, half=2.484137..., n=3)
    """
    defined = _defined(values)
    n = defined.size
    if n == 0 or not np.isfinite(defined).all():
        return Interval(float(defined.sum() / n) if n else float("nan"), float("nan"), n)
    if n == 1:
        return Interval(float(defined[0]), float("nan"), 1)
    t = stdtrit(n - 1, 0.5 + CONFIDENCE / 2)
    return Interval(float(defined.mean()), float(t * defined.std(ddof=1) / np.sqrt(n)), n)


def quartiles(values: ArrayLike) -> tuple[float, float, float]:
    """First quartile, median and third quartile of the values that are defined, between two values by line.

    >>> quartiles([1.0, 2.0, 3.0, 5.0, float("nan")])
    (1.75, 2.5, 3.5)
    """
    ordered = np.sort(_defined(values))
    if not ordered.size:
        return float("nan"), float("nan"), float("nan")
    places = np.array([0.25, 0.5, 0.75]) * (ordered.size - 1)
    below, above = ordered[np.floor(places).astype(int)], ordered[np.ceil(places).astype(int)]
    with np.errstate(invalid="ignore"):  # np.quantile makes NaN of a median beside an infinite value
        q1, median, q3 = np.where(below == above, below, below + (above - below) * (places % 1)).tolist()
    return q1, median, q3


def metrics(values: Mapping[str, ArrayLike]) -> dict[str, float]:
    """What a run logs for its measures: `<measure>` is the mean, and what `/n`, `/low` ... beside it say."""
    return {name + end: value for name, each in values.items() for end, value in _described(each).items()}


def _described(values: ArrayLike) -> dict[str, float]:
    found, (q1, median, q3) = interval(values), quartiles(values)
    ends = {"/n": found.n, "/low": found.low, "/high": found.high, "/q1": q1, "/median": median, "/q3": q3}
    return {"": found.mean, **ends}


def _defined(values: ArrayLike) -> NDArray[np.float64]:
    flat = np.asarray(values, dtype=np.float64).ravel()
    return flat[~np.isnan(flat)]
