"""Perturbation curves of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from lrp_bench.report.figures.style import color, drawing, panels, save_both
from lrp_bench.report.store.conditions import is_random

LINES: dict[str, Literal["-", "--", ":"]] = {"morf": "-", "lerf": "--", "random": ":"}


@drawing()
def flip_curves(bands: pd.DataFrame, folder: Path, name: str) -> tuple[Path, ...]:
    """MoRF (solid) and LeRF (dashed) curves with 95 % bands, a panel per setting and score, as PNG and PDF.

    bands: as `numbers.curves.bands` returns them. A good map falls fast on the solid line and late on the dashed one.
    """
    groups = list(bands.groupby(["setting", "score"], sort=False))
    methods = sorted(dict.fromkeys(bands["method"]), key=is_random)
    lines = _legend(methods, [order for order in LINES if order in set(bands["order"])])
    figure, axes = panels(len(groups), 2.0, lines, sharey="row")
    for axis, (_, points) in zip(axes, groups, strict=True):
        _panel(axis, points, methods)
    return save_both(figure, folder, name)


def _panel(axis: Axes, points: pd.DataFrame, methods: Sequence[str]) -> None:
    for (method, order), line in points.groupby(["method", "order"], sort=False):
        shade, fraction = color(str(method), methods), line["fraction"].to_numpy()
        axis.plot(fraction, line["mean"], LINES[str(order)], color=shade, linewidth=1.3)
        axis.fill_between(fraction, line["low"], line["high"], color=shade, alpha=0.15, linewidth=0)
    axis.set_title(str(points["setting"].iloc[0]))
    axis.set_ylabel(str(points["score"].iloc[0]).replace("_", " "))
    axis.set_xlabel("removed")
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axis.set_xlim(0, 1)
    axis.tick_params(labelleft=True)
    axis.grid(alpha=0.25, linewidth=0.6)
    axis.spines[["top", "right"]].set_visible(False)


def _legend(methods: Sequence[str], orders: Sequence[str]) -> list[Line2D]:
    words = {"morf": "most relevant first", "lerf": "least relevant first", "random": "random order"}
    lines = [Line2D([], [], color=color(method, methods), linewidth=3, label=method) for method in methods]
    return lines + [Line2D([], [], color="black", linestyle=LINES[order], label=words[order]) for order in orders]
