"""A measure over the quality of the model, where a sweep holds several trainings of one network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from lrp_bench.report.claims.evidence import Evidence
from lrp_bench.report.figures.style import color, drawing, marker, panels, save_both
from lrp_bench.report.numbers.statistics import interval
from lrp_bench.report.store.conditions import is_random, trained

QUALITIES = ("test_accuracy", "test_r2")
LEAST = 3  # trainings of one network that make a trend
COLUMNS = ["dataset", "model", "measure", "method", "quality", "reached", "mean", "low", "high"]


def trends(evidence: Evidence) -> pd.DataFrame:
    """Means of the headline measures, with 95 % intervals over samples, for each training and method.

    A row per data set x model x measure x method x training, columns COLUMNS: quality is test_accuracy or test_r2,
    reached its value. Trainings differ in a setting of the trainer; seeds are averaged. Empty without three of them.
    """
    kinds = {run: trained(settings) for run, settings in evidence.settings.items()}
    frame = evidence.frame.assign(training=evidence.frame["run"].map(kinds))
    frame = frame[frame.groupby(["dataset", "model"])["training"].transform("nunique") >= LEAST]
    shown = [name for name, measure in evidence.measures.items() if measure.headline]
    keys = ["dataset", "model", "column", "method", "training"]
    models = frame[frame["column"].isin(QUALITIES)]
    reached = models.groupby([*keys[:3], "training"], sort=False)["value"].mean().reset_index().to_dict("records")
    found = {(each["dataset"], each["model"], each["training"]): (each["column"], each["value"]) for each in reached}
    rows = []
    measured = frame[frame["column"].isin(shown)].groupby(keys, sort=False)
    for (dataset, model, measure, method, training), points in measured:
        mean, low, high, _ = interval(points.groupby("sample")["value"].mean())
        quality, value = found[dataset, model, training]
        rows.append((dataset, model, measure, method, quality, value, mean, low, high))
    return pd.DataFrame(rows, columns=COLUMNS).sort_values("reached", kind="stable")


@drawing()
def draw_trends(evidence: Evidence, folder: Path) -> tuple[Path, ...]:
    """The trends with their intervals, a panel per measure and model, as PNG and PDF; no file where there is none."""
    found = trends(evidence)
    if found.empty:
        return ()
    folder.mkdir(parents=True, exist_ok=True)
    methods = sorted(dict.fromkeys(found["method"]), key=lambda method: (is_random(method), method))
    groups = list(found.groupby(["dataset", "model", "measure"], sort=False))
    handles = [Line2D([], [], label=method, **_look(method, methods)) for method in methods]
    figure, axes = panels(len(groups), 2.2, handles)
    for axis, ((dataset, model, measure), points) in zip(axes, groups, strict=True):
        _panel(axis, points, methods)
        axis.set_title(f"{model} on {dataset}")
        axis.set_ylabel(evidence.measures[str(measure)].title)
    return save_both(figure, folder, "over_quality")


def _look(method: str, methods: Sequence[str]) -> dict[str, Any]:
    return {"color": color(method, methods), "marker": marker(method, methods), "markersize": 3.5, "linewidth": 1.3}


def _panel(axis: Axes, points: pd.DataFrame, methods: Sequence[str]) -> None:
    for method in methods:
        line = points[points["method"] == method]
        axis.plot(line["reached"], line["mean"], **_look(method, methods))
        shade = color(method, methods)
        axis.fill_between(line["reached"], line["low"], line["high"], color=shade, alpha=0.15, linewidth=0)
    axis.set_xlabel(str(points["quality"].iloc[0]).replace("test_r2", "test R2").replace("_", " "))
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
