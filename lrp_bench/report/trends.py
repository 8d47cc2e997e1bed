"""A measure over the quality of the model, where a sweep holds several trainings of one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lrp_bench.report.conditions import is_random
from lrp_bench.report.evidence import Evidence
from lrp_bench.report.statistics import interval
from lrp_bench.report.style import color, save_both

QUALITIES = ("test_accuracy", "test_r2")
LEAST = 3  # trainings of one network that make a trend
COLUMNS = ["dataset", "model", "measure", "method", "quality", "reached", "mean", "low", "high"]


def trends(evidence: Evidence) -> pd.DataFrame:
    """Means of the headline measures, with 95 % intervals over samples, for each training and method.

    A row per data set x model x measure x method x training, columns COLUMNS: quality is test_accuracy or test_r2,
    reached its value. Trainings differ in a setting of the trainer; seeds are averaged. Empty without three of them.
    """
    kinds = {run: _training(settings) for run, settings in evidence.settings.items()}
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


def draw_trends(evidence: Evidence, folder: Path, name: str = "over_quality") -> tuple[Path, ...]:
    """The trends with their intervals, a panel per measure and model, as PNG and PDF; no file where there is none."""
    found = trends(evidence)
    if found.empty:
        return ()
    folder.mkdir(parents=True, exist_ok=True)
    panels = list(found.groupby(["dataset", "model", "measure"], sort=False))
    methods = sorted(dict.fromkeys(found["method"]), key=lambda method: (is_random(method), method))
    figure = Figure(figsize=(0.6 + 4.0 * len(panels), 3.6), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, ((dataset, model, measure), points) in zip(axes, panels, strict=True):
        _panel(axis, points, methods)
        axis.set_title(f"{model} on {dataset}", fontsize=10)
        axis.set_ylabel(evidence.measures[str(measure)].title)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3 * len(panels), fontsize=8, frameon=False)
    return save_both(figure, folder, name)


def _training(settings: Mapping[str, str]) -> str:
    return str([(key, settings[key]) for key in sorted(settings) if key.startswith("trainer.")])


def _panel(axis: Axes, points: pd.DataFrame, methods: Sequence[str]) -> None:
    for method in methods:
        line, own = points[points["method"] == method], color(method, methods)
        axis.plot(line["reached"], line["mean"], "o-", color=own, linewidth=1.5, markersize=3.5, label=method)
        axis.fill_between(line["reached"], line["low"], line["high"], color=own, alpha=0.15, linewidth=0)
    axis.set_xlabel(str(points["quality"].iloc[0]).replace("test_r2", "test R2").replace("_", " "))
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)
