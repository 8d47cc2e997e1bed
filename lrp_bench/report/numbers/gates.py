"""Sanity checks: a method that fails one is marked wherever its scores are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from lrp_bench.contracts import Measure
from lrp_bench.report.numbers.comparison import Comparison

FEW = 0.5  # share of samples below which a check says little
GATE = "‡"  # behind the name of a method that fails a sanity check


def failed_gates(comparison: Comparison) -> dict[str, list[str]]:
    """Each sanity check that some method fails, in words, and the methods that fail it on any setting."""
    return dict(_failed(comparison))


def told(gates: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The note below a table."""
    if gates:
        words = "; ".join(f"{check} ({', '.join(methods)})" for check, methods in gates.items())
        yield f"{GATE} fails a sanity check: {words}."


def untested(comparison: Comparison) -> Iterator[str]:
    """Whom a sanity check did not test, since its measure is undefined for the samples, or tested on few of them."""
    for name in checks(comparison):
        cells = comparison.cells[comparison.cells["measure"] == name]
        few = cells[cells["n"] < FEW * cells["samples"]]
        if few.empty:
            continue
        where = " on " + few["setting"] if len(comparison.settings) > 1 else ""
        counts = np.where(few["n"] > 0, few["n"].astype(str) + " of " + few["samples"].astype(str), "not tested")
        words: pd.Series[str] = few["method"] + where + ": " + counts
        yield f"Sanity check {comparison.measures[name].title} is undefined for most samples ({'; '.join(words)})."


def checks(comparison: Comparison) -> dict[str, Measure]:
    """The measures that are sanity checks."""
    return {
        name: measure
        for name, measure in comparison.measures.items()
        if measure.gate is not None and measure.higher_is_better is not None
    }


def _failed(comparison: Comparison) -> Iterator[tuple[str, list[str]]]:
    for name, measure in checks(comparison).items():
        cells = comparison.cells[comparison.cells["measure"] == name]
        worse = cells["mean"] < measure.gate if measure.higher_is_better else cells["mean"] > measure.gate
        failing = set(cells.loc[worse, "method"])
        if failing:
            words = f"{measure.title} {'below' if measure.higher_is_better else 'above'} {measure.gate:g}"
            yield words, [method for method in comparison.methods if method in failing]
