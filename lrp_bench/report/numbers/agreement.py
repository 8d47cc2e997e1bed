"""Who agrees with whom: the rows of a sweep with the baselines (Krishna et al. 2022), and with one another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from lrp_bench.report.numbers.comparison import Comparison
from lrp_bench.report.numbers.statistics import Array
from lrp_bench.report.store.maps import Maps

FAMILY = "agreement"


def with_baselines(comparison: Comparison, setting: str) -> dict[str, pd.DataFrame]:
    """Mean agreement on one setting, a table methods x baselines for each way to compare, the headline's first."""
    names = {
        name: name.split("/")[1:]
        for name, measure in comparison.measures.items()
        if measure.family == FAMILY and name.count("/") == 2
    }
    cells = comparison.cells[comparison.cells["measure"].isin(names) & (comparison.cells["setting"] == setting)]
    told = pd.DataFrame([names[name] for name in cells["measure"]], index=cells.index, columns=["baseline", "kind"])
    cells = cells[["method", "measure", "mean"]].join(told)
    headline = cells["measure"].map({name: comparison.measures[name].headline for name in names}).astype(bool)
    kinds = dict.fromkeys([*cells.loc[headline, "kind"], *cells["kind"]])
    return {kind: _table(cells[cells["kind"] == kind], comparison.methods) for kind in kinds}


def _table(cells: pd.DataFrame, methods: Sequence[str]) -> pd.DataFrame:
    wide = cells.pivot_table(index="method", columns="baseline", values="mean", sort=False, dropna=False)
    return wide.reindex(index=[method for method in methods if method in wide.index])


def likeness(maps: Sequence[Maps]) -> tuple[Array, int]:
    """Spearman's correlation of every two methods' maps over the units of a sample, averaged over samples.

    Returns:
        (methods, methods), NaN where a map is constant in every sample; and the number of samples that all methods
        share.
    """
    shared = [sample for sample in maps[0].sample.tolist() if all(sample in each.sample for each in maps)]
    each = [_correlations(stack) for stack in _stacks(maps, shared)]
    if not each:
        return np.full((len(maps), len(maps)), np.nan), 0
    cube = np.stack(each)
    counts = np.isfinite(cube).sum(0)
    return np.where(counts > 0, np.nansum(cube, 0) / np.maximum(counts, 1), np.nan), len(shared)


def _stacks(maps: Sequence[Maps], samples: Sequence[int]) -> Iterator[Array]:
    """For each sample, the units of all its maps (methods, units); of a sentence its words alone."""
    for sample in samples:
        places = [each.sample.tolist().index(sample) for each in maps]
        rows = [each.relevance[place].ravel() for each, place in zip(maps, places, strict=True)]
        units = len(maps[0].sentence(places[0])) or len(rows[0])
        yield np.stack([row[:units] for row in rows]).astype(np.float64)


def _correlations(rows: Array) -> Array:
    ranks = rankdata(rows, axis=1, nan_policy="omit")
    centred = ranks - ranks.mean(1, keepdims=True)
    length = np.sqrt(np.square(centred).sum(1))
    unit = centred / np.where(length > 0, length, np.nan)[:, None]
    return np.asarray(unit @ unit.T)
