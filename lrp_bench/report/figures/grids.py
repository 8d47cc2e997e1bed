"""The same samples under every method: heatmaps, bars of a table's features, words on a coloured ground."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from lrp_bench.report.figures.heatmaps import Array, picture, plain, scale
from lrp_bench.report.figures.sentences import Sentence, lines, mark
from lrp_bench.report.figures.style import (
    CHARACTER,
    COLORS,
    NEGATIVE,
    PAGE,
    POSITIVE,
    SMALL,
    broken,
    drawing,
    save_both,
)
from lrp_bench.report.store.conditions import is_random, labelled, pictured
from lrp_bench.report.store.maps import Maps
from lrp_bench.report.store.results import Results

SIDE, GAP = 0.95, 0.05  # inches: the largest width of a map, and what parts two
HIGHEST = 8.0  # inches: what fits on a page, above a caption
BESIDE = {"image": 10, "table": 4, "text": 12}  # methods in one figure


class Grid(NamedTuple):
    """One data set and model, trained in one way, under several methods, `random` last.

    seed: of the model, where there are several.
    """

    title: str
    seed: str
    methods: Mapping[str, Maps]

    @property
    def first(self) -> Maps:
        """The maps that say which samples are shown."""
        return next(iter(self.methods.values()))


def grids(results: Results) -> Iterator[Grid]:
    """What can be shown side by side: of each model and target the methods of the first seed that kept their maps."""
    runs = labelled(results.runs)
    runs = runs[runs.index.isin(list(results.maps))]
    for title, group in runs.groupby(pictured(runs), sort=False):
        seeds = group["seed"].unique().tolist()
        places = group[group["seed"] == seeds[0]].drop_duplicates("label")["label"]
        methods = {label: results.maps[run] for run, label in places.items()}
        ordered = {label: methods[label] for label in sorted(methods, key=is_random)}
        yield Grid(str(title), seeds[0] if len(seeds) > 1 else "", ordered)


def parts(grid: Grid) -> Iterator[Grid]:
    """A grid cut into what fits beside each other."""
    names = list(grid.methods)
    count = -(-len(names) // BESIDE[grid.first.kind])
    for some in np.array_split(np.array(names, dtype=object), count):
        yield grid._replace(methods={name: grid.methods[name] for name in some})


def draw_grid(grid: Grid, folder: Path, name: str) -> tuple[Path, ...]:
    """One row a sample (of text: a block), one column a method (of text: a row), as PNG and PDF."""
    draw = {"image": _images, "table": _tables, "text": _texts}[grid.first.kind]
    with drawing():
        return save_both(draw(grid), folder, name)


def _places(grid: Grid, sample: int) -> Iterator[tuple[str, Maps, int | None]]:
    """Each method's maps, and where the sample is among them."""
    for method, maps in grid.methods.items():
        found = np.flatnonzero(maps.sample == sample)
        yield method, maps, int(found[0]) if len(found) else None


def _images(grid: Grid) -> Figure:
    first = grid.first
    margin = 0.15 + CHARACTER * max(len(line) for title in first.titles.tolist() for line in title.split("\n"))
    side = min(SIDE, (PAGE - margin) / (len(grid.methods) + 1) - GAP)
    heads = [broken(method, side) for method in ("input", *grid.methods)]
    above = 0.1 + 0.12 * max(head.count("\n") + 1 for head in heads)
    high = side * first.inputs.shape[-2] / first.inputs.shape[-1]
    rows = max(1, min(len(first.sample), int((HIGHEST - above - 0.6) // (high + GAP))))
    width, height = margin + len(heads) * (side + GAP), above + rows * (high + GAP) + 0.5
    figure = Figure(figsize=(width, height))

    def axis(row: int, column: int) -> Axes:
        left, top = margin + column * (side + GAP), above + row * (high + GAP)
        made = figure.add_axes((left / width, 1 - (top + high) / height, side / width, high / height))
        plain(made, "")
        made.set_title(heads[column] if row == 0 else "", fontsize=SMALL)
        return made

    for row, sample in enumerate(first.sample[:rows].tolist()):
        axis(row, 0).imshow(
            picture(first.inputs[row]), cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto"
        )
        middle = 1 - (above + row * (high + GAP) + high / 2) / height
        figure.text(0.05 / width, middle, first.titles[row], va="center", fontsize=SMALL, color=_ink(first, row))
        for column, (_, maps, place) in enumerate(_places(grid, sample), start=1):
            _map(axis(row, column), None if place is None else maps.relevance[place])
    _scale_of_all(figure, (margin / width, 0.3 / height, min(2.0, width - margin - 0.2) / width, 0.08 / height))
    return figure


def _scale_of_all(figure: Figure, box: tuple[float, float, float, float]) -> None:
    colors = ScalarMappable(Normalize(-1, 1), "RdBu_r")
    bar = figure.colorbar(colors, cax=figure.add_axes(box), orientation="horizontal", ticks=[-1, 0, 1])
    bar.ax.set_xticklabels(["against", "0", "for"])
    bar.ax.tick_params(length=2, pad=1)


def _map(axis: Axes, R: Array | None) -> None:
    """One map, white at zero; blank where the method did not explain the sample."""
    if R is None:
        axis.text(0.5, 0.5, "n.a.", ha="center", va="center", transform=axis.transAxes, fontsize=SMALL)
        return
    top = scale(R)
    axis.imshow(R, cmap="RdBu_r", vmin=-top, vmax=top, interpolation="nearest", aspect="auto")


def _ink(maps: Maps, place: int) -> str:
    """Of a sample's title: coloured where the predicted class is not the label."""
    classes = maps.label.dtype.kind == maps.prediction.dtype.kind == "i"
    return COLORS[1] if classes and maps.label[place] != maps.prediction[place] else "black"


def _tables(grid: Grid) -> Figure:
    first = grid.first
    count = first.relevance.shape[1]
    names = list(first.features) or [f"feature {place}" for place in range(count)]
    margin = 0.2 + CHARACTER * (8 + max(map(len, names)))
    heads = [broken(method, (PAGE - margin) / len(grid.methods) - 0.15) for method in grid.methods]
    lines = 1 + max(head.count("\n") for head in heads)
    high = 0.53 + 0.12 * lines + 0.15 * count
    rows = max(1, min(len(first.sample), int(HIGHEST // high)))
    layout = ConstrainedLayoutEngine(h_pad=0.07, rect=(0, 0, 1, 1 - 0.05 / (rows * high)))  # room for the first title
    figure = Figure(figsize=(PAGE, rows * high), layout=layout)
    for row, axes in enumerate(figure.subplots(rows, len(heads), squeeze=False, sharey="row")):
        labels = [f"{name} = {value:.4g}" for name, value in zip(names, first.inputs[row], strict=True)]
        places = _places(grid, int(first.sample[row]))
        for axis, head, (_, maps, place) in zip(axes, heads, places, strict=True):
            _bars(axis, labels, None if place is None else maps.relevance[place])
            axis.set_title(f"\n{head}", fontsize=SMALL)  # the sample's title stands in the free line
        axes[0].invert_yaxis()
        title = ", ".join(first.titles[row].splitlines())
        where = {"xycoords": ("figure fraction", "axes fraction"), "textcoords": "offset points"}
        axes[0].annotate(title, (0.01, 1), (0, 8 + 10 * lines), **where, annotation_clip=False).set_in_layout(False)
    return figure


def _bars(axis: Axes, labels: list[str], R: Array | None) -> None:
    """Green raises the output, red lowers it."""
    widths = np.full(len(labels), np.nan) if R is None else R
    axis.barh(labels, widths, color=np.where(widths >= 0, POSITIVE, NEGATIVE), height=0.7)
    axis.axvline(0, color="black", linewidth=0.6)
    axis.set_xlim(-1.08 * scale(widths), 1.08 * scale(widths))
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)


def _texts(grid: Grid) -> Figure:
    first = grid.first
    letter = 0.0585  # inches: the width of a character of one width at 7 points
    indent = 2 + max(map(len, grid.methods))
    columns = int(PAGE / letter) - 2
    blocks = [
        (title, [(m, list(lines(told, columns - indent))) for m, told in _sentences(grid, place)])
        for place, title in enumerate(first.titles.tolist())
    ]
    heights = np.cumsum([1.8 + sum(max(1, len(each)) for _, each in rows) for _, rows in blocks]) * 0.2
    shown = max(1, int(np.searchsorted(heights, HIGHEST)))
    high = float(heights[shown - 1])
    figure = Figure(figsize=(PAGE, high))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, PAGE / letter), ylim=(high / 0.2, 0))
    axis.axis("off")
    top = 0.2
    for title, rows in blocks[:shown]:
        axis.text(1, top + 0.5, ", ".join(title.splitlines()), fontsize=8, va="center")
        top += 1.1
        for method, each in rows:
            axis.text(1, top + 0.5, method, fontsize=SMALL, va="center", color="#555555")
            for line in each:
                mark(axis, line, 1 + indent, top, SMALL)
                top += 1
        top += 0.7
    return figure


def _sentences(grid: Grid, place: int) -> Iterator[tuple[str, Sentence]]:
    for method, maps, where in _places(grid, int(grid.first.sample[place])):
        words = grid.first.sentence(place)
        R = np.full(len(words), np.nan) if where is None else maps.relevance[where][: len(words)]
        yield method, Sentence(words, R.astype(np.float64), method)
