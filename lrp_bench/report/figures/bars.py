"""Figures of tables: relevance per feature, method beside method; samples as heatmap and overlay."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lrp_bench.report.figures.heatmaps import Array
from lrp_bench.report.figures.style import COLORS, drawing, panels, save, save_both
from lrp_bench.report.store.conditions import is_random, labelled
from lrp_bench.report.store.results import Results

FEATURE = r"relevance/(?!to_)([^/]+)"  # relevance/<feature>, not relevance/<module>/<unit>
IMPORTANCE = r"permutation/(?!spearman)(.+)"


def feature_shares(results: Results) -> pd.DataFrame:
    """How the methods weigh the features of a table: columns setting, method, feature, share.

    The share is the mean |relevance| of a feature, of the sum over the features; permutation importance, where it was
    measured, is a method of its own. Empty where the relevance is not among the measures.
    """
    runs = labelled(results.runs)
    frame = results.frame.join(runs[["setting", "label"]], on="run")
    relevance = _per_feature(frame, FEATURE, absolute=True)
    relevance = relevance[(relevance["feature"] != "sum") & ~relevance["method"].map(is_random).astype(bool)]
    importance = _per_feature(frame, IMPORTANCE, absolute=False).drop_duplicates(["setting", "feature"])
    both = pd.concat([relevance, importance.assign(method="permutation importance")], ignore_index=True)
    whole = both.groupby(["setting", "method"])["share"].transform("sum")
    return both.assign(share=both["share"] / whole)


@drawing()
def feature_bars(shares: pd.DataFrame, folder: Path, name: str) -> tuple[Path, ...]:
    """Shares of the features as bars, a panel per setting and a colour per method, as PNG and PDF."""
    settings, methods = list(shares["setting"].unique()), list(shares["method"].unique())
    colors = dict(zip(methods, cycle(COLORS), strict=False))
    handles = [Patch(color=colors[method], label=method) for method in methods]
    high = 0.6 + shares["feature"].nunique() * (0.06 + 0.08 * len(methods))
    figure, axes = panels(len(settings), high, handles, most=2, sharey=True)
    for axis, setting in zip(axes, settings, strict=True):
        here = shares[shares["setting"] == setting]
        drawn = {"hue": "method", "hue_order": methods, "palette": colors, "saturation": 1, "legend": False}
        sns.barplot(here, x="share", y="feature", ax=axis, **drawn)
        axis.set(title=setting, xlabel="share of the mean |relevance|", ylabel="")
        axis.spines[["top", "right"]].set_visible(False)
    return save_both(figure, folder, name)


@drawing()
def table_maps(
    inputs: Array, relevance: Array, rows: Sequence[str], features: Sequence[str], path: Path, unit: str = ""
) -> Path:
    """Samples x features twice: the relevance as a heatmap, and the inputs' values on its colours, as an overlay.

    inputs, relevance: (samples, features), the latter in `unit`. Red is positive, blue negative; each sample has a
    scale of its own.
    """
    names = list(features) or [str(place) for place in range(relevance.shape[1])]
    scale = np.abs(relevance).max(1, keepdims=True)
    colors = relevance / np.where(scale > 0, scale, 1.0)
    wide = 1.6 + 0.62 * len(names)
    figure = Figure(figsize=(2 * wide, 1.6 + 0.32 * len(rows)), layout="constrained")
    heading = f"relevance ({unit})" if unit else "relevance"
    panels = {heading: relevance, "input, on the colours of its relevance": inputs}
    for axis, (title, numbers) in zip(figure.subplots(1, 2, sharey=True), panels.items(), strict=True):
        sns.heatmap(
            colors, ax=axis, annot=numbers, fmt=".2g", annot_kws={"size": 7}, cmap="RdBu_r", vmin=-1, vmax=1,
            cbar=False, xticklabels=names, yticklabels=list(rows), linewidths=0.4,
        )  # fmt: skip
        axis.set_title(title, fontsize=9)
        axis.tick_params(labelsize=8, length=0)
        axis.tick_params(axis="y", rotation=0)
    return save(figure, path, crop=False)


def _per_feature(frame: pd.DataFrame, pattern: str, *, absolute: bool) -> pd.DataFrame:
    names = pd.Series(frame["measure"].unique()).astype(str)
    features = dict(zip(names, names.str.fullmatch(pattern) & True, strict=True))
    chosen = frame[frame["measure"].map(features).astype(bool)]
    values = chosen["value"].abs() if absolute else chosen["value"].clip(lower=0)
    feature = chosen["measure"].astype(str).str.replace(r"^[^/]*/", "", regex=True)
    table = chosen.assign(share=values, feature=feature, method=chosen["label"])
    mean = table.groupby(["setting", "method", "feature"], observed=True, sort=False)["share"].mean()
    means: pd.DataFrame = mean.reset_index()
    return means
