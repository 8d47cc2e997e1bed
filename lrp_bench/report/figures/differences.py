"""Rank plots with critical differences (Demsar 2006): which methods the samples tell apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from lrp_bench.contracts import Measure
from lrp_bench.report.figures.style import CHARACTER, COLORS, PAGE, SMALL, drawing, save_both, size
from lrp_bench.report.numbers.comparison import in_order, tabulate
from lrp_bench.report.numbers.significance import LEVEL
from lrp_bench.report.numbers.statistics import Array
from lrp_bench.report.store.conditions import is_random, labelled
from lrp_bench.report.store.results import Results
from lrp_bench.report.tables.layout import ARROWS, unique_titles

HEADING = 0.35  # inches: two lines of title
LEFT_OUT = ("agreement", "cost")  # more alike is not more right, and the samples of a batch share their cost


class Differences(NamedTuple):
    """Mean ranks of methods over samples, 1 is best, in ascending order.

    critical: two methods whose mean ranks differ by less cannot be told apart; p: Friedman's test that all are alike;
    n: samples that all methods define.
    """

    setting: str
    title: str
    methods: tuple[str, ...]
    ranks: Array
    critical: float
    p: float
    n: int

    @property
    def groups(self) -> list[tuple[int, int]]:
        """First and last of each longest run of methods that cannot be told apart; all, where p says so."""
        if not self.p < LEVEL:
            return [(0, len(self.methods) - 1)]
        last = [int(np.flatnonzero(self.ranks - rank <= self.critical)[-1]) for rank in self.ranks]
        return [(i, j) for i, j in enumerate(last) if j > i and (i == 0 or last[i - 1] < j)]


def critical_difference(methods: int, n: int) -> float:
    """Nemenyi's critical difference of mean ranks over n samples, at 5 %: q sqrt(k (k + 1) / 6 n).

    q is the studentized range's quantile for k methods and infinitely many degrees of freedom, over sqrt(2).

    >>> round(critical_difference(4, 14), 2)  # the example of Demsar 2006
    1.25
    """
    q = studentized_range.ppf(1 - LEVEL, methods, np.inf) / np.sqrt(2)
    return float(q * np.sqrt(methods * (methods + 1) / (6 * n)))


def differences(results: Results) -> Iterator[Differences]:
    """For each setting and headline measure with a direction that three methods share, `random` not among them."""
    names = in_order(results.measures)
    chosen = {
        name: results.measures[name]
        for name in names
        if (m := results.measures[name]).headline and m.higher_is_better is not None and m.family not in LEFT_OUT
    }
    runs = labelled(results.runs)
    table = tabulate(results.frame, list(runs.index), names)
    runs = runs.assign(place=range(len(runs)))[~runs["label"].map(is_random).astype(bool)]
    titles = unique_titles(chosen)
    for setting, group in runs.groupby("setting", sort=False):
        places = {str(label): each["place"].tolist() for label, each in group.groupby("label", sort=False)}
        for name, measure in chosen.items():
            values = {label: table.cube[rows, names.index(name)].mean(0) for label, rows in places.items()}
            yield from _differences(str(setting), f"{titles[name]} {ARROWS[measure.higher_is_better]}", values, measure)


def _differences(setting: str, title: str, values: Mapping[str, Array], measure: Measure) -> Iterator[Differences]:
    values = {method: each for method, each in values.items() if not np.isnan(each).all()}
    if len(values) < 3:
        return
    block = np.stack(list(values.values()))
    block = block[:, ~np.isnan(block).any(0)]
    if block.shape[1] < 2:
        return
    ranks = rankdata(-block if measure.higher_is_better else block, axis=0)
    p = float(friedmanchisquare(*ranks).pvalue) if np.ptp(ranks, axis=0).any() else 1.0
    mean = ranks.mean(1)
    order = np.argsort(mean, kind="stable")
    names = tuple(list(values)[place] for place in order)
    critical = critical_difference(len(names), block.shape[1])
    yield Differences(setting, title, names, mean[order], critical, p, block.shape[1])


@drawing()
def draw_differences(found: Sequence[Differences], folder: Path, name: str) -> tuple[Path, ...]:
    """A panel per measure, as PNG and PDF: methods at their mean ranks, bars join those that cannot be told apart."""
    return save_both(_figure(found), folder, name)


def _figure(found: Sequence[Differences]) -> Figure:
    label = 0.1 + CHARACTER * (7 + max(len(method) for each in found for method in each.methods))
    width, rows, columns = size(len(found), most=2 if 2 * label < 0.6 * PAGE / 2 else 1)
    width = PAGE if 2 * label > 0.6 * width else width
    lines = max(-(-len(each.methods) // 2) for each in found)
    depth = 0.6 * max(len(each.groups) for each in found)
    high = 0.155 * (depth + lines + 0.6 + 2.6) + HEADING
    figure = Figure(figsize=(width, rows * high))
    for place, each in enumerate(found):
        row, column = divmod(place, columns)
        box = (column / columns, 1 - (row + 1) / rows, 1 / columns, (1 - HEADING / high) / rows)
        axis = figure.add_axes(box)
        _plot(axis, each, depth, lines, label / (width / columns))
    return figure


def _plot(axis: Axes, found: Differences, depth: float, lines: int, label: float) -> None:
    """Axis units: mean rank; lines of text downwards. label: share of the width that names take on either side."""
    k = len(found.methods)
    room = (k - 1) * label / (1 - 2 * label)
    p = "p < 0.001" if found.p < 0.001 else f"p = {found.p:.2g}"
    axis.text(0.02, 1, f"{found.title}\nn = {found.n}, Friedman {p}", va="bottom", transform=axis.transAxes)
    axis.set(xlim=(1 - room, k + room), ylim=(depth + lines + 0.6, -2.6))
    axis.axis("off")
    axis.plot([1, k], [0, 0], color="black", linewidth=0.8)
    for rank in range(1, k + 1):
        axis.plot([rank, rank], [-0.25, 0], color="black", linewidth=0.8)
        axis.text(rank, -0.4, str(rank), ha="center", va="bottom", fontsize=SMALL)
    axis.plot([1, 1 + found.critical], [-1.9, -1.9], "|-", color=COLORS[1], linewidth=1.2, markersize=4)
    axis.text(1 + found.critical, -1.9, f"  CD = {found.critical:.2f}", va="center", fontsize=SMALL, color=COLORS[1])
    for line, (first, last) in enumerate(found.groups):
        ends = [found.ranks[first] - 0.02 * k, found.ranks[last] + 0.02 * k]
        axis.plot(ends, [0.6 * (line + 1)] * 2, color=COLORS[0], linewidth=2.5, solid_capstyle="butt")
    left, right = 1 - 0.04 * room, k + 0.04 * room
    for place, (method, rank) in enumerate(zip(found.methods, found.ranks, strict=True)):
        better = 2 * place < k
        y, end = depth + (place + 1 if better else k - place), left if better else right
        axis.plot([rank, rank, end], [0, y, y], color="black", linewidth=0.6)
        told = f"{method}  {rank:.2f} " if better else f" {rank:.2f}  {method}"
        axis.text(end, y, told, ha="right" if better else "left", va="center", fontsize=SMALL)
