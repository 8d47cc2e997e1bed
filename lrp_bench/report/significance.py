"""Is a difference between two methods more than chance?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import wilcoxon

from lrp_bench.report.statistics import Array, compact

LEVEL = 0.05
EXACT = 50  # samples up to which the null distribution is counted out


def signed_rank(differences: ArrayLike) -> Array:
    """Two-sided p of Wilcoxon's signed-rank test for each row of paired differences (rows, samples).

    NaN is left out, zeros are dropped. Exact up to 50 samples without ties and zeros, by the normal approximation
    otherwise. Differences that are all zero have p = 1; a row without any is NaN.

    >>> signed_rank([[1.0, 2.0, 3.0, 4.0, 5.0, float("nan")], [0.0] * 6])
    array([0.0625, 1.    ])
    """
    rows = np.asarray(differences, dtype=np.float64)
    p = np.full(len(rows), np.nan)
    for places, kept in compact(rows, ~np.isnan(rows)):
        sizes = np.sort(np.abs(kept), axis=1)
        none = sizes[:, -1] == 0
        p[places[none]] = 1.0
        plain = (sizes[:, 0] > 0) & (np.diff(sizes, axis=1) > 0).all(1) & (kept.shape[1] <= EXACT)
        if plain.any():
            p[places[plain]] = wilcoxon(kept[plain], axis=1, method="exact").pvalue
        if (others := ~plain & ~none).any():
            p[places[others]] = wilcoxon(kept[others], axis=1, method="asymptotic").pvalue  # type: ignore[call-overload]
    return p


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
