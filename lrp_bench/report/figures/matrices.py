"""Matrices of numbers as coloured fields: who agrees with whom, and how far apart rankings are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from lrp_bench.report.figures.style import CHARACTER, COLUMN, PAGE, SMALL, broken, drawing, save_both
from lrp_bench.report.numbers.statistics import Array

FIELD = 0.3  # inches: a field that holds a number
HIGH = 0.2
DARK = 0.62  # of a colour's brightness, below which letters are white


class Matrix(NamedTuple):
    """Numbers (rows, columns) under a title."""

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    fields: Array


@drawing()
def draw_matrices(
    matrices: Sequence[Matrix], folder: Path, name: str, *, label: str, low: float = -1.0
) -> tuple[Path, ...]:
    """A panel per matrix, as PNG and PDF; colours from low to 1; label: what they mean."""
    return save_both(_figure(matrices, label, low), folder, name)


def _figure(matrices: Sequence[Matrix], label: str, low: float) -> Figure:
    names = [*matrices[0].rows], [*matrices[0].columns]
    margin, below = (0.15 + CHARACTER * max(map(len, each)) for each in names)
    widest = max(len(matrix.columns) for matrix in matrices)
    across = int(max(1, min(3, len(matrices), (PAGE - margin - 0.6) // (FIELD * widest + 0.15))))
    down = -(-len(matrices) // across)
    width = COLUMN if across == 1 and margin + FIELD * widest + 0.6 < COLUMN else PAGE
    panel = (width - margin - 0.6) / across - 0.1
    titles = [broken(matrix.title, panel) for matrix in matrices]
    above = 0.1 + 0.13 * max(title.count("\n") + 1 for title in titles)
    high = above + HIGH * max(len(matrix.rows) for matrix in matrices)
    figure = Figure(figsize=(width, max(1.6, down * high + below + 0.1)), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    numbered = panel / widest >= FIELD * 0.85
    for axis, matrix, title in zip(axes.ravel(), matrices, titles, strict=False):
        shown = _field(axis, matrix, "RdBu_r" if low < 0 else "Blues", low, numbered=numbered)
        axis.set_title(title)
    for axis in axes.ravel()[len(matrices) :]:
        axis.remove()
    bar = figure.colorbar(shown, ax=axes.ravel()[: len(matrices)], fraction=0.05, aspect=30)
    bar.set_label(label)
    return figure


def _field(axis: Axes, matrix: Matrix, colors: str, low: float, *, numbered: bool) -> AxesImage:
    shown = axis.imshow(matrix.fields, cmap=colors, vmin=low, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(matrix.fields if numbered else np.empty((0, 0))):
        axis.text(column, row, _told(value), ha="center", va="center", fontsize=SMALL, color=_ink(shown, value))
    axis.set_xticks(range(len(matrix.columns)), matrix.columns, rotation=90)
    axis.set_yticks(range(len(matrix.rows)), matrix.rows)
    axis.tick_params(length=0)
    return shown


def _told(value: float) -> str:
    if np.isnan(value):
        return "n.a."
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")  # + 0.0: no negative zero


def _ink(field: AxesImage, value: float) -> str:
    red, green, blue, _ = field.to_rgba(np.array([value]))[0]
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < DARK and np.isfinite(value) else "black"


def distances(pairs: pd.DataFrame, titles: Mapping[str, str], conditions: Sequence[str]) -> list[Matrix]:
    """Kendall distances between rankings, one matrix per measure. pairs: columns measure, a, b, distance."""
    return [
        Matrix(f"{title}\nmean {here['distance'].mean():.3f}", conditions, conditions, _symmetric(here, conditions))
        for measure, title in titles.items()
        for here in [pairs[pairs["measure"] == measure]]
    ]


def _symmetric(pairs: pd.DataFrame, names: Sequence[str]) -> Array:
    """From columns a, b, distance to (names, names), zero on the diagonal."""
    matrix = np.zeros((len(names), len(names)))
    a, b = (pairs[key].map([*names].index).to_numpy(dtype=int) for key in ("a", "b"))
    matrix[a, b] = matrix[b, a] = pairs["distance"]
    return matrix
