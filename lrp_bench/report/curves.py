"""Perturbation curves of a sweep: means with their bands."""

from __future__ import annotations

import re

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
    orders = {name: match for name in results.curves["curve"].unique() if (match := ORDERS.search(str(name)))}
    points = results.curves[results.curves["curve"].isin(list(orders))]
    points = points.join(labelled(results.runs)[["setting", "label"]], on="run")
    keys = ["setting", "label", "curve", "fraction"]
    averaged = points.groupby([*keys, "sample"], observed=True, sort=False)["value"].mean().reset_index()
    rows = [
        (setting, orders[curve]["score"] or "score", label, orders[curve][1], fraction, band.mean, band.low, band.high)
        for (setting, label, curve, fraction), group in averaged.groupby(keys, observed=True, sort=False)["value"]
        for band in [interval(group.to_numpy())]
    ]
    return pd.DataFrame(rows, columns=COLUMNS)
