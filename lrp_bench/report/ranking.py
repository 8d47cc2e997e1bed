"""Who is best, by how much, and whether that is more than chance.

cells: the numbers of `comparison.Comparison`; `random` and measures without direction are compared with nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import pandas as pd

from lrp_bench.contracts import Measure
from lrp_bench.report.conditions import is_random
from lrp_bench.report.significance import LEVEL, holm, signed_rank
from lrp_bench.report.statistics import Array

PAIRS = ["setting", "measure", "a", "b", "n", "difference", "p", "p_holm"]
MEAN_RANKS = ["measure", "method", "mean_rank", "settings"]


def ranks(
    cells: pd.DataFrame, measures: Mapping[str, Measure], ties: Literal["min", "average"] = "min"
) -> pd.Series[float]:
    """The place of each method by what is shown, 1 is best; NaN where nothing is compared."""
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


def pairs(cells: pd.DataFrame, by_sample: Array, measures: Mapping[str, Measure]) -> pd.DataFrame:
    """Every two methods on every setting and measure, compared sample by sample; a row each.

    by_sample: (cells, samples). Columns setting, measure, a, b, n (samples that both define), difference (of the shown
    numbers, a - b), p (Wilcoxon's signed-rank test, two-sided) and p_holm, corrected for all pairs of that setting and
    measure: any two can then be compared, also the best, which the data chose.
    """
    cells = cells.reset_index(drop=True)
    compared = cells[_costs(cells, measures).notna()]
    frames = [_pairs(group, by_sample) for _, group in compared.groupby("setting", sort=False)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=PAIRS)


def _pairs(cells: pd.DataFrame, by_sample: Array) -> pd.DataFrame:
    """The pairs of one setting."""
    places = [np.asarray(group.index) for _, group in cells.groupby("measure", sort=False, observed=True)]
    first, second = (np.concatenate([each[np.triu_indices(len(each), 1)[i]] for each in places]) for i in (0, 1))
    a, b = cells.loc[first].reset_index(drop=True), cells.loc[second].reset_index(drop=True)
    with np.errstate(invalid="ignore"):  # infinite values of one sign
        differences = by_sample[first] - by_sample[second]
        shown = a["shown"] - b["shown"]
    found = a[["setting", "measure"]].assign(a=a["method"], b=b["method"], n=(~np.isnan(differences)).sum(1))
    found = found.assign(difference=shown, p=signed_rank(differences))
    return found.assign(p_holm=found.groupby("measure", sort=False, observed=True)["p"].transform(holm))


def tied(cells: pd.DataFrame, pairs: pd.DataFrame) -> pd.Series[bool]:
    """Whether a method that is not the best cannot be told from it: p_holm is not below 0.05 beside any of the best."""
    best = cells[cells["rank"] == 1].groupby(["setting", "measure"], observed=True)["method"].agg(set).to_dict()
    close = pairs[~(pairs["p_holm"] < LEVEL)]
    found = {
        (setting, measure, other)
        for setting, measure, *methods in close[["setting", "measure", "a", "b"]].itertuples(index=False)
        for one, other in (methods, methods[::-1])
        if one in best.get((setting, measure), ())
    }
    keys = cells[["setting", "measure", "method"]].itertuples(index=False, name=None)
    return pd.Series([key in found for key in keys], index=cells.index, dtype=bool) & (cells["rank"] > 1)


def _costs(cells: pd.DataFrame, measures: Mapping[str, Measure]) -> pd.Series[float]:
    """What is shown, turned so that less is better; NaN where it is compared with nothing."""
    signs = {True: -1.0, False: 1.0, None: np.nan}
    sign = cells["measure"].map({name: signs[measure.higher_is_better] for name, measure in measures.items()})
    return (cells["shown"] * sign.astype(float)).where(~cells["method"].map(is_random).astype(bool))
