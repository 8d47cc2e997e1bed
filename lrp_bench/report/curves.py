"""Perturbation curves of a sweep: means with their bands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pandas as pd

from lrp_bench.report.comparison import labelled
from lrp_bench.report.results import Results
from lrp_bench.report.statistics import interval

COLUMNS = ["setting", "score", "method", "order", "fraction", "mean", "low", "high"]
ORDERS = re.compile(r"(morf|lerf|random)(?:_(?P<score>\w+))?$")


def bands(results: Results) -> pd.DataFrame:
    """Mean score and 95 % interval at each fraction, a row per setting x score x method x order x fraction.

    The order is read from the end of a curve's name, as in `flipping/morf_logit`; curves of other names are left out.
    """
    by_run = dict(iter(results.curves.groupby("run", observed=True)))
    rows = [
        (setting, score, label, order, *point)
        for (setting, label), runs in labelled(results.runs).groupby(["setting", "label"], sort=False)
        for score, order, *point in _points([by_run[run] for run in runs.index if run in by_run])
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _points(runs: Sequence[pd.DataFrame]) -> Iterator[tuple[object, ...]]:
    """Score, order, fraction, mean and interval of the curves of one method, averaged over its runs for each sample."""
    if not runs:
        return
    averaged = pd.concat(runs).groupby(["curve", "fraction", "sample"], observed=True, sort=False)["value"].mean()
    keys = ["curve", "fraction"]
    for (curve, fraction), values in averaged.reset_index().groupby(keys, observed=True, sort=False)["value"]:
        if match := ORDERS.search(str(curve)):
            band = interval(values.to_numpy())
            yield match["score"] or "score", match[1], fraction, band.mean, band.low, band.high
