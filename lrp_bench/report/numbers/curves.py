"""Perturbation curves of a sweep: means with their bands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from lrp_bench.report.numbers.statistics import Array, intervals_of_blocks
from lrp_bench.report.store.conditions import labelled
from lrp_bench.report.store.results import Results

COLUMNS = ["setting", "score", "method", "order", "fraction", "mean", "low", "high"]
ORDERS = re.compile(r"(morf|lerf|random)(?:_(?P<score>\w+))?$")


def bands(results: Results, settings: Sequence[str] | None = None) -> pd.DataFrame:
    """Mean score and 95 % interval at each fraction, a row per setting x score x method x order x fraction.

    The order is read from the end of a curve's name, as in `flipping/morf_logit`; curves of other names are left out.
    settings: which ones, None: all.
    """
    by_run = dict(iter(results.curves.groupby("run", observed=True)))
    found = [
        (setting, match["score"] or "score", label, match[1], fractions, block)
        for (setting, label), runs in labelled(results.runs).groupby(["setting", "label"], sort=False)
        if settings is None or setting in settings
        for curve, fractions, block in _curves([by_run[run] for run in runs.index if run in by_run])
        if (match := ORDERS.search(curve))
    ]
    points = [(*names, fraction) for *names, fractions, _ in found for fraction in fractions]
    mean, low, high, _ = intervals_of_blocks([block for *_, block in found])
    return pd.DataFrame(points, columns=COLUMNS[:5]).assign(mean=mean, low=low, high=high)


def _curves(runs: Sequence[pd.DataFrame]) -> Iterator[tuple[str, Array, Array]]:
    """The curves of one method, a run for each seed: name, fractions and scores (fractions, seeds, samples)."""
    if not runs:
        return
    joined = pd.concat([run.assign(seed=seed) for seed, run in enumerate(runs)])
    for curve, points in joined.groupby("curve", observed=True, sort=False):
        fractions, row = np.unique(points["fraction"].to_numpy(), return_inverse=True)
        samples, place = np.unique(points["sample"].to_numpy(), return_inverse=True)
        block = np.full((len(fractions), len(runs), len(samples)), np.nan)
        block[row, points["seed"].to_numpy(), place] = points["value"].to_numpy()
        yield str(curve), fractions, block
