"""What faithfulness costs: seconds per sample beside the area of the flip curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, Locator, LogLocator, MaxNLocator, NullLocator

from lrp_bench.contracts import Measure
from lrp_bench.report.figures.style import GREY, color, drawing, marker, panels, save_both, size
from lrp_bench.report.numbers.comparison import Comparison
from lrp_bench.report.store.conditions import is_random, labelled
from lrp_bench.report.store.results import Results

MEASURED = "cost/seconds"
PREFERRED = ("srg", "aopc", "")  # in the names of measures, the first that there is


def faithfulness(measures: Mapping[str, Measure]) -> str | None:
    """The measure of faithfulness to set against the cost: SRG, else AOPC, else another headline of perturbation."""
    names = [
        name for name, m in measures.items() if m.headline and m.family == "flipping" and m.higher_is_better is not None
    ]
    return next((name for word in PREFERRED for name in names if word in name), None)


def costs(results: Results, comparison: Comparison) -> pd.DataFrame:
    """Columns setting, method, seconds (per sample), mean, low, high (of the faithfulness).

    The seconds of the evaluator `cost` where it measured every method, else those that the run took to explain.
    """
    name = faithfulness(comparison.measures)
    keys = ["setting", "method"]
    cells = comparison.cells[comparison.cells["measure"] == name][[*keys, "mean", "low", "high"]]
    timed = comparison.cells[comparison.cells["measure"] == MEASURED][[*keys, "mean"]]
    runs = labelled(results.runs)
    each = runs["seconds"].astype(float) / runs["samples"].map(len)
    whole = each.groupby([runs["setting"], runs["label"].rename("method")], sort=False).mean()
    measured = timed.set_index(keys)["mean"]
    complete = set(cells.set_index(keys).index) <= set(measured.index)
    seconds = (measured if complete else whole).rename("seconds")
    found = cells.join(seconds, on=keys)
    told: pd.DataFrame = found[np.isfinite(found["seconds"]) & np.isfinite(found["mean"]) & (found["seconds"] > 0)]
    return told


@drawing()
def draw_costs(found: pd.DataFrame, title: str, folder: Path, name: str) -> tuple[Path, ...]:
    """A panel per setting, as PNG and PDF: seconds on a logarithmic axis. title: of the faithfulness."""
    return save_both(_figure(found, title), folder, name)


def _figure(found: pd.DataFrame, title: str) -> Figure:
    settings = found["setting"].drop_duplicates().tolist()
    methods = sorted(found["method"].drop_duplicates(), key=is_random)
    handles = [
        Line2D([], [], linestyle="", marker=marker(m, methods), color=color(m, methods), markersize=5, label=m)
        for m in methods
    ]
    figure, axes = panels(len(settings), 2.2, handles, sharey=True)
    for axis, setting in zip(axes, settings, strict=True):
        _points(axis, found[found["setting"] == setting], methods)
        axis.set_title(setting)
    for axis in axes[:: size(len(settings)).columns]:
        axis.set_ylabel(title)
    return figure


def _points(axis: Axes, found: pd.DataFrame, methods: list[str]) -> None:
    for method, seconds, mean, low, high in found[["method", "seconds", "mean", "low", "high"]].itertuples(index=False):
        ends = None if np.isnan(low) else [[max(0.0, mean - low)], [max(0.0, high - mean)]]
        axis.errorbar(
            seconds, mean, yerr=ends, fmt=marker(method, methods), color=color(method, methods), markersize=5, capsize=2
        )
    axis.axhline(0, color=GREY, linewidth=0.6)
    axis.set_xscale("log")
    axis.set_xlabel("ms per sample")
    axis.xaxis.set_major_locator(_ticks(found["seconds"].max() / found["seconds"].min()))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{1000 * value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)


def _ticks(span: float) -> Locator:
    """Of a logarithmic axis that reaches from one value to `span` times it."""
    if 1 < span < 5:  # too narrow for powers of ten and what stands between them
        return MaxNLocator(4)
    return LogLocator(subs=(1, 2, 5) if span < 20 else (1,))
