"""Who is best, by how much, and whether that is more than chance.

cells: the numbers of `comparison.Comparison`; `random` and measures without direction are compared with nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lrp_bench.contracts import Measure
from lrp_bench.report.numbers.significance import LEVEL, holm, signed_rank
from lrp_bench.report.numbers.statistics import Array, bootstrap_ends, quartiles, resampled_means, resampled_medians
from lrp_bench.report.store.conditions import is_random

PAIRS = [
    *("setting", "measure", "a", "b", "n", "difference", "p", "p_holm"),
    *("rank_biserial", "low", "high", "verdict"),
]
SIGNIFICANT = "significant"
CLOSE = "not significant"
DISAGREE = "difference and ranks disagree"
SEEDS = "not over the seeds"
OTHER_SEEDS = "other seeds"
ROUNDING = 1e-12  # of a mean, relative
MEAN_RANKS = ["measure", "method", "mean_rank", "settings"]


def on_common_samples(
    cells: pd.DataFrame, by_sample: Array, measures: Mapping[str, Measure]
) -> tuple[pd.DataFrame, Array]:
    """What methods are compared by: what is shown, of the samples that all that are compared define.

    A method that defines none is not compared. by_sample: (cells, samples).

    Returns:
        The cells with two more columns, compared (equal where numbers differ by rounding alone) and common (how many
        samples), and by_sample, NaN elsewhere.
    """
    defined = ~np.isnan(by_sample)
    contest = cells[_signs(cells, measures).notna() & (cells["n"] > 0)]
    shared = np.zeros_like(defined)
    for places in contest.groupby(["setting", "measure"], observed=True, sort=False).groups.values():
        shared[places] = defined[places].all(0)
    kept = np.where(shared, by_sample, np.nan)
    compared = np.full(len(cells), np.nan)
    for place, shown, name in contest[["shown", "measure"]].itertuples():
        here = shared[place]
        if (here == defined[place]).all():
            compared[place] = shown
        elif here.any():
            median = measures[name].summary == "median"
            compared[place] = quartiles(kept[place])[1] if median else by_sample[place][here].mean()
    cells = cells.assign(compared=compared, common=shared.sum(1))
    return cells.assign(compared=_without_rounding(cells, measures)), kept


def _without_rounding(cells: pd.DataFrame, measures: Mapping[str, Measure]) -> Array:
    by_median = cells["measure"].map({name: each.summary == "median" for name, each in measures.items()}).astype(bool)
    summed = cells[["low", "high"]].abs().max(axis=1).mask(by_median, 0.0)  # a mean rounds as what it is a mean of
    level = cells["compared"].to_numpy(dtype=np.float64, copy=True)
    sizes: Array = np.fmax(np.abs(level), summed.to_numpy(dtype=np.float64))
    for places in cells.groupby(["setting", "measure"], observed=True, sort=False).indices.values():
        order = places[np.argsort(level[places], kind="stable")]
        values, room = level[order], ROUNDING * np.where(np.isfinite(sizes[order]), sizes[order], 0.0)
        with np.errstate(invalid="ignore"):  # infinite values of one sign
            apart = np.concatenate([[True], ~(np.diff(values) <= np.maximum(room[1:], room[:-1]))])
        level[order] = values[apart][np.cumsum(apart) - 1]
    return level


def ranks(
    cells: pd.DataFrame, measures: Mapping[str, Measure], ties: Literal["min", "average"] = "min"
) -> pd.Series[float]:
    """The place of each method by what it is compared by, 1 is best; NaN where nothing is compared."""
    groups = _costs(cells, measures).groupby([cells["setting"], cells["measure"]], observed=True)
    return groups.rank(method=ties).where(groups.transform("count") > 1)  # alone nothing is best


def mean_ranks(cells: pd.DataFrame, measures: Mapping[str, Measure]) -> pd.DataFrame:
    """Each method's rank, averaged over settings: columns measure, method, mean_rank, settings (how many).

    Equal numbers share their places. Only settings that rank every method count, so that all are averaged over the
    same; nothing comes back where there are not two of them.
    """
    places = cells.assign(place=ranks(cells, measures, "average"))
    rows = []
    for measure, group in places.groupby("measure", sort=False, observed=True):
        wide = group.set_index(["setting", "method"])["place"].unstack().dropna(axis=1, how="all").dropna()  # noqa: PD010
        if len(wide) > 1:
            rows += [(measure, method, mean, len(wide)) for method, mean in wide.mean().items()]
    return pd.DataFrame(rows, columns=MEAN_RANKS)


def pairs(
    cells: pd.DataFrame, by_sample: Array, by_seed: Sequence[Array], measures: Mapping[str, Measure]
) -> pd.DataFrame:
    """Every two methods on every setting and measure, compared sample by sample; a row each.

    cells, by_sample: of `on_common_samples`; by_seed: (seeds, samples) of each cell. Columns setting, measure, a, b, n
    (samples), difference (of what is compared, a - b), p (Wilcoxon's signed-rank test, two-sided, of values averaged
    over seeds), p_holm, corrected for all pairs of that setting and measure: any two can then be compared, also the
    best, which the data chose; rank_biserial (positive where a is above b by ranks); low, high (95 % pigeonhole
    bootstrap interval of the difference over seeds and samples; NaN with one seed); verdict: significant where
    p_holm < 0.05, ranks and difference point the same way and, with several seeds, the interval leaves out 0.
    """
    cells = cells.reset_index(drop=True)
    contest = cells[_costs(cells, measures).notna()]
    medians = {name for name, measure in measures.items() if measure.summary == "median"}
    frames = [_pairs(group, by_sample, by_seed, medians) for _, group in contest.groupby("setting", sort=False)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=PAIRS)


def _pairs(cells: pd.DataFrame, by_sample: Array, by_seed: Sequence[Array], medians: set[str]) -> pd.DataFrame:
    """The pairs of one setting."""
    places = [np.asarray(group.index) for _, group in cells.groupby("measure", sort=False, observed=True)]
    first, second = (np.concatenate([each[np.triu_indices(len(each), 1)[i]] for each in places]) for i in (0, 1))
    a, b = cells.loc[first].reset_index(drop=True), cells.loc[second].reset_index(drop=True)
    with np.errstate(invalid="ignore"):  # infinite values of one sign
        differences = by_sample[first] - by_sample[second]
        compared = a["compared"] - b["compared"]
    p, biserial = signed_rank(differences)
    low, high = _over_seeds(cells, first, second, by_sample, by_seed, medians)
    found = a[["setting", "measure"]].assign(a=a["method"], b=b["method"], n=(~np.isnan(differences)).sum(1))
    found = found.assign(difference=compared, p=p)
    found["p_holm"] = found.groupby("measure", sort=False, observed=True)["p"].transform(holm)
    found = found.assign(rank_biserial=biserial, low=low, high=high)
    return found.assign(verdict=_verdicts(found, a["seeds"], b["seeds"]))


def _verdicts(pairs: pd.DataFrame, a: pd.Series, b: pd.Series) -> NDArray[np.str_]:
    """a, b: the seeds of the two methods."""
    way = np.sign(pairs["difference"])
    held = (np.sign(pairs["low"]) == way) & (np.sign(pairs["high"]) == way)
    reasons = {
        CLOSE: ~(pairs["p_holm"] < LEVEL),
        DISAGREE: np.sign(pairs["rank_biserial"]) != way,
        OTHER_SEEDS: a != b,
        SEEDS: (a.map(len) > 1) & ~held,
    }
    return np.select([each.to_numpy(dtype=bool) for each in reasons.values()], list(reasons), SIGNIFICANT)


def _over_seeds(
    cells: pd.DataFrame,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    by_sample: Array,
    by_seed: Sequence[Array],
    medians: set[str],
) -> tuple[Array, Array]:
    """Ends of the interval of each pair's difference. The same draws serve all methods of one measure."""
    low, high = np.full((2, len(first)), np.nan)
    for (measure, _), group in cells.groupby(["measure", "seeds"], sort=False, observed=True):
        columns = ~np.isnan(by_sample[group.index[0]])
        finite = [place for place in group.index if np.isfinite(by_seed[place][:, columns]).all()]
        if len(group["seeds"].iloc[0]) < 2 or len(finite) < 2 or columns.sum() < 2:
            continue
        values = np.stack([by_seed[place][:, columns].T for place in finite])  # (methods, samples, seeds)
        row = np.full(len(by_sample), -1)
        row[finite] = np.arange(len(finite))
        inside = (row[first] >= 0) & (row[second] >= 0)
        scores = partial(resampled_medians if measure in medians else resampled_means, values)
        low[inside], high[inside] = _ends(scores, row[first[inside]], row[second[inside]], values.shape[1:])
    return low, high


def _ends(
    scores: Callable[..., Array], a: NDArray[np.int64], b: NDArray[np.int64], sizes: Sequence[int]
) -> tuple[Array, Array]:
    def differences(*drawn: NDArray[np.int64]) -> Array:
        of_methods = scores(*drawn)
        return of_methods[a] - of_methods[b]

    return bootstrap_ends(differences, sizes)


def tied(cells: pd.DataFrame, pairs: pd.DataFrame) -> pd.Series[bool]:
    """Whether a method that is not the best cannot be told from it: not significant beside any of the best."""
    best = cells[cells["rank"] == 1].groupby(["setting", "measure"], observed=True)["method"].agg(set).to_dict()
    close = pairs[pairs["verdict"] != SIGNIFICANT]
    found = {
        (setting, measure, other)
        for setting, measure, *methods in close[["setting", "measure", "a", "b"]].itertuples(index=False)
        for one, other in (methods, methods[::-1])
        if one in best.get((setting, measure), ())
    }
    keys = cells[["setting", "measure", "method"]].itertuples(index=False, name=None)
    return pd.Series([key in found for key in keys], index=cells.index, dtype=bool) & (cells["rank"] > 1)


def _costs(cells: pd.DataFrame, measures: Mapping[str, Measure]) -> pd.Series[float]:
    """What is compared, turned so that less is better; NaN where it is compared with nothing."""
    return cells["compared"] * _signs(cells, measures)


def _signs(cells: pd.DataFrame, measures: Mapping[str, Measure]) -> pd.Series[float]:
    signs = {True: -1.0, False: 1.0, None: np.nan}
    sign = cells["measure"].map({name: signs[measure.higher_is_better] for name, measure in measures.items()})
    return sign.astype(float).where(~cells["method"].map(is_random).astype(bool))
