"""Where the relevance goes, layer by layer: the ledger as stacked bars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lrp_bench.report.figures.style import COLORS, GREY, PAGE, broken, drawing, save_both
from lrp_bench.report.store.conditions import labelled
from lrp_bench.report.store.results import Results

PARTS = {"passed": GREY, "bias": COLORS[0], "stabilizer": COLORS[4], "rule": COLORS[1]}
MOST = 40  # layers in one figure
LONGEST = 24  # characters of a layer's name
BESIDE = 4  # panels
HALF = 0.36  # of a bar's height, in distances of bars


def by_layer(results: Results) -> pd.DataFrame:
    """Shares of the score: columns setting, method, layer, arrived, passed, bias, stabilizer, rule, layers downwards.

    A share is the quantity, summed over samples (and seeds), each with the sign of its score, over the sum of the
    scores' magnitudes: it is defined where single scores are near zero, and the parts add up to what arrived.
    """
    wanted = ["arrived", *PARTS]
    if not set(wanted) <= set(results.layers.columns):
        return pd.DataFrame(columns=["setting", "method", "layer", *wanted])
    runs = labelled(results.runs)[["setting", "label"]].rename(columns={"label": "method"})
    scores = {run: each.set_index("sample")["score"] for run, each in results.outputs.groupby("run", observed=True)}
    by_run = results.layers.groupby("run", observed=True, sort=False)
    sums = pd.concat({run: _sums(layers, scores[run], wanted) for run, layers in by_run}, names=["run"]).reset_index()
    sums = sums.join(runs, on="run").groupby(["setting", "method", "layer"], sort=False)[[*wanted, "whole"]].sum()
    return sums[wanted].div(sums["whole"], axis=0).reset_index()


def _sums(layers: pd.DataFrame, scores: pd.Series, wanted: list[str]) -> pd.DataFrame:
    """One run's quantities, summed over samples, and the sum of |score|: a row per layer."""
    score = layers["sample"].map(scores)
    signed = layers[wanted].mul(np.sign(score), axis=0).assign(whole=score.abs(), layer=layers["layer"])
    return signed.groupby("layer", sort=False, observed=True).sum()


def most_eventful(shares: pd.DataFrame) -> list[str]:
    """The layers to draw, from the output down: all, or those in which most is taken."""
    layers = shares["layer"].drop_duplicates().tolist()
    taken = shares[["bias", "stabilizer", "rule"]].abs().sum(axis=1).groupby(shares["layer"]).max()
    kept = set(taken.nlargest(MOST).index)
    return [layer for layer in layers if layer in kept]


@drawing()
def draw_layers(shares: pd.DataFrame, folder: Path, name: str) -> tuple[Path, ...]:
    """A panel per method of one setting, as PNG and PDF. shares: as `by_layer` returns them."""
    layers, methods = most_eventful(shares), shares["method"].drop_duplicates().tolist()
    rows = -(-len(methods) // BESIDE)
    columns = -(-len(methods) // rows)
    figure = Figure(figsize=(PAGE, 0.4 + rows * (0.6 + 0.15 * len(layers))), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axis, method in zip(axes, methods, strict=False):
        _stack(axis, shares[shares["method"] == method].set_index("layer").reindex(layers))
        axis.set_title(broken(method, 5.5 / columns))
    for axis in axes[len(methods) :]:
        axis.remove()
    axes[0].set(xlim=_ends(shares), ylim=(len(layers) - 0.5, -0.5))
    handles = [Patch(color=color, label=part) for part, color in PARTS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(PARTS))
    for axis in axes[max(0, len(methods) - columns) : len(methods)]:
        axis.set_xlabel("share of the score")
        axis.tick_params(labelbottom=True)
    return save_both(figure, folder, name)


def _ends(shares: pd.DataFrame) -> tuple[float, float]:
    """Of the axis: all bars and ticks, with some room."""
    values = shares[[*PARTS]].to_numpy(dtype=float)
    low = min(np.minimum(values, 0).sum(1).min(), shares["arrived"].min(), 0.0)
    high = max(np.maximum(values, 0).sum(1).max(), shares["arrived"].max(), 0.0)
    room = 0.04 * (high - low)
    return float(low - room), float(high + room)


def _stack(axis: Axes, shares: pd.DataFrame) -> None:
    """One bar a layer: what is positive to the right of zero, what is negative to its left; a tick at what arrived."""
    places, values = np.arange(len(shares)), shares[[*PARTS]].to_numpy(dtype=float)
    lefts = np.where(values > 0, np.cumsum(np.maximum(values, 0), 1), np.cumsum(np.minimum(values, 0), 1)) - values
    for column, color in enumerate(PARTS.values()):  # one collection a part: hundreds of bars take their time
        left, right = lefts[:, column], lefts[:, column] + values[:, column]
        corners = [(left, places - HALF), (right, places - HALF), (right, places + HALF), (left, places + HALF)]
        bars = np.array(corners).transpose(2, 0, 1)
        axis.add_collection(PolyCollection(list(bars), facecolors=color, label=list(PARTS)[column]))
    axis.plot(shares["arrived"], places, "|", color="black", markersize=7, markeredgewidth=1.0)
    axis.axvline(0, color="black", linewidth=0.6)
    axis.set_yticks(places, _names(shares.index.tolist()))
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", alpha=0.25, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)


def _names(layers: Sequence[str]) -> list[str]:
    return [layer if len(layer) <= LONGEST else f"…{layer[1 - LONGEST :]}" for layer in layers]
