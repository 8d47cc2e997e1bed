"""A comparison as columns of text, before any medium (terminal, Markdown, LaTeX) writes it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import pandas as pd

from lrp_bench.contracts import Measure
from lrp_bench.report.comparison import Comparison

ARROWS = {True: "↑", False: "↓", None: ""}
GATE = "†"  # behind the name of a method that fails a sanity check
LARGE = 1e5


class Cell(NamedTuple):
    """One number as text: mean and half-width, either may be empty; rank 1 is best, 0 none."""

    mean: str
    half: str = ""
    rank: int = 0

    @property
    def text(self) -> str:
        """The cell in plain characters."""
        return f"{self.mean} ± {self.half}" if self.half else self.mean


class Column(NamedTuple):
    """One measure on one setting: its header, and a cell for each method."""

    measure: str
    setting: str
    family: str
    title: str
    arrow: str
    cells: tuple[Cell, ...]

    @property
    def width(self) -> int:
        """Characters it takes where the header may break at spaces."""
        words = f"{self.header} {self.setting}".split(" ")
        return max(map(len, [*words, *(cell.text for cell in self.cells)]))

    @property
    def header(self) -> str:
        """Title and arrow, which a line break does not part."""
        return f"{self.title}\N{NO-BREAK SPACE}{self.arrow}" if self.arrow else self.title


@dataclass(frozen=True)
class Layout:
    """What every medium writes: method names, columns, and the sentences above and below."""

    methods: tuple[str, ...]
    columns: tuple[Column, ...]
    several: bool
    caption: str
    notes: tuple[str, ...]
    failures: tuple[str, ...]

    def blocks(self, width: int) -> list[tuple[Column, ...]]:
        """The columns, cut into tables of at most `width` characters, where possible between families.

        The settings of one measure stay together, even where they alone are wider.
        """
        room = width - max(map(len, ("", *self.methods))) - 2
        blocks: list[list[Column]] = []
        for _, family in groupby(self.columns, key=lambda column: column.family):
            columns = list(family)
            if blocks and _fits([*blocks[-1], *columns], room):
                blocks[-1] += columns
            else:
                blocks += _cut(columns, room)
        return [tuple(block) for block in blocks]


def lay_out(comparison: Comparison, *, every: bool = False) -> Layout:
    """The comparison's headline measures, or every measure, as text."""
    shown = {name: measure for name, measure in comparison.measures.items() if every or measure.headline}
    titles = _titles(shown)
    failed = {
        (setting, each.method)
        for each in comparison.failures
        for setting in (each.dataset, f"{each.dataset}, {each.model}")
    }
    columns = [
        Column(name, setting, measure.family, titles[name], ARROWS[measure.higher_is_better], cells)
        for name, measure in shown.items()
        for setting, cells in _columns(comparison, name, failed)
    ]
    gates = dict(_gates(comparison))
    failing = {method for methods in gates.values() for method in methods}
    return Layout(
        methods=tuple(f"{method} {GATE}" if method in failing else method for method in comparison.methods),
        columns=tuple(columns),
        several=len(comparison.settings) > 1,
        caption=_caption(comparison),
        notes=(*_on_gates(gates), *(f"{note}." for note in comparison.notes)),
        failures=tuple(
            f"{failure.method} on {failure.dataset} ({failure.model}) failed: {failure.reason.rstrip('. ')}."
            for failure in comparison.failures
        ),
    )


def decimals(means: Iterable[float]) -> int:
    """Decimals for a column: up to three, so that its smallest mean from 0.01 on shows three significant digits.

    A column that is smaller throughout gets up to five.

    >>> decimals([0.853, 0.021]), decimals([12.3, 45.6]), decimals([1234.5]), decimals([0.00123])
    (3, 1, 0, 5)
    """
    sizes = [abs(mean) for mean in means if math.isfinite(mean) and 0 < abs(mean) < LARGE]
    large = [size for size in sizes if size >= 0.01]
    if not sizes:
        return 3
    places = 2 - math.floor(math.log10(min(large) if large else max(sizes)))
    return max(0, min(places, 3 if large else 5))


def number(value: float, half: float, places: int) -> Cell:
    """A mean and its half-width to `places` decimals; powers of ten for what these would show as zero or as endless."""
    if math.isnan(value):
        return Cell("n.a.")
    size = max(abs(value), 0 if math.isnan(half) else half)
    if size >= LARGE or 0 < size < 0.5 * 10**-places:
        return Cell(_scientific(value, 1), "" if math.isnan(half) else _scientific(half, 0))
    return Cell(_fixed(value, places), "" if math.isnan(half) else _fixed(half, places))


def _fixed(value: float, places: int) -> str:
    return f"{round(value, places) + 0.0:.{places}f}"  # + 0.0: no negative zero


def _scientific(value: float, places: int) -> str:
    if value == 0 or math.isinf(value):
        return f"{value:g}"
    digits, _, exponent = f"{value:.{places}e}".partition("e")
    return f"{digits}e{int(exponent)}"


def _gates(comparison: Comparison) -> Iterable[tuple[str, list[str]]]:
    """Each sanity check that some method fails, in words, and who fails it on any setting."""
    for name, measure in comparison.measures.items():
        if measure.gate is None or measure.higher_is_better is None:
            continue
        cells = comparison.cells[comparison.cells["measure"] == name]
        worse = cells["mean"] < measure.gate if measure.higher_is_better else cells["mean"] > measure.gate
        failing = set(cells.loc[worse, "method"])
        if failing:
            words = f"{measure.title} {'below' if measure.higher_is_better else 'above'} {measure.gate:g}"
            yield words, [method for method in comparison.methods if method in failing]


def _on_gates(gates: Mapping[str, Sequence[str]]) -> Iterable[str]:
    if gates:
        told = "; ".join(f"{words} ({', '.join(methods)})" for words, methods in gates.items())
        yield f"{GATE} fails a sanity check: {told}."


def _columns(
    comparison: Comparison, measure: str, failed: set[tuple[str, str]]
) -> Iterable[tuple[str, tuple[Cell, ...]]]:
    cells = comparison.cells[comparison.cells["measure"] == measure]
    places = decimals(cells["mean"])
    for setting in comparison.settings:
        here = cells[cells["setting"] == setting].set_index("method")
        yield setting, tuple(_cell(here, method, places, (setting, method) in failed) for method in comparison.methods)


def _cell(cells: pd.DataFrame, method: str, places: int, failed: bool) -> Cell:
    if method not in cells.index:
        return Cell("failed" if failed else "n.a.")
    mean, half, rank = (float(cells[key].loc[method]) for key in ("mean", "half", "rank"))
    return number(mean, half, places)._replace(rank=0 if math.isnan(rank) else int(rank))


def _titles(measures: dict[str, Measure]) -> dict[str, str]:
    """Headers; two measures of one title are told apart by name."""
    titles = [measure.title for measure in measures.values()]
    return {
        name: measure.title if titles.count(measure.title) == 1 else f"{measure.title} ({name})"
        for name, measure in measures.items()
    }


def _caption(comparison: Comparison) -> str:
    if not comparison.methods:
        return "No method was measured."
    counts = set(comparison.samples.values())
    if len(counts) == 1:
        n = f"n = {counts.pop()} samples of {', '.join(comparison.settings)}"
    else:
        n = "n samples: " + ", ".join(f"{setting} {n}" for setting, n in comparison.samples.items())
    return f"Mean ± half-width of the 95 % interval, {n}. Best in bold, second underlined."


def _fits(columns: Sequence[Column], room: int) -> bool:
    return sum(column.width + 2 for column in columns) <= room


def _cut(columns: Sequence[Column], room: int) -> list[list[Column]]:
    blocks: list[list[Column]] = [[]]
    for _, measure in groupby(columns, key=lambda column: column.measure):
        together = list(measure)
        if blocks[-1] and not _fits([*blocks[-1], *together], room):
            blocks.append([])
        blocks[-1] += together
    return blocks
