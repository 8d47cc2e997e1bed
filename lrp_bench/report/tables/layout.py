"""A comparison as columns of text, before any medium (terminal, Markdown, LaTeX) writes it."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from lrp_bench.contracts import Measure
from lrp_bench.report.numbers.comparison import Comparison
from lrp_bench.report.numbers.findings import findings
from lrp_bench.report.numbers.gates import GATE, failed_gates, told, untested
from lrp_bench.report.tables.cells import TIED, Cell, bracketed, decimals, number

ARROWS = {True: "↑", False: "↓", None: ""}
MEAN_RANK = f"mean rank\N{NO-BREAK SPACE}{ARROWS[False]}"  # whichever way its measure goes
NUMBERS = ("mean", "low", "high", "q1", "median", "q3", "rank", "tied")


class Column(NamedTuple):
    """One measure on one setting: its header, and a cell for each method. group: the table it belongs to, if chosen."""

    measure: str
    setting: str
    family: str
    title: str
    arrow: str
    cells: tuple[Cell, ...]
    group: str = ""

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
    """What every medium writes: the rows' names, columns, the sentences above and below, and what the numbers say.

    several: whether a header names its setting, too; stub: what the rows are.
    """

    methods: tuple[str, ...]
    columns: tuple[Column, ...]
    several: bool
    caption: str
    findings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    stub: str = "method"

    def blocks(self, width: int) -> list[tuple[Column, ...]]:
        """The columns, cut into tables of at most `width` characters, where possible between families.

        Groups are tables of their own. The settings of one measure stay together, where they fit into one table.
        """
        room = width - max(map(len, ("", *self.methods))) - 2
        groups = [list(group) for _, group in groupby(self.columns, key=lambda column: column.group)]
        return [tuple(block) for group in groups for block in _blocks(group, room)]


def lay_out(comparison: Comparison, *, every: bool = False) -> Layout:
    """The comparison's headline measures, or every measure, as text."""
    shown = {name: measure for name, measure in comparison.measures.items() if every or measure.headline}
    titles = unique_titles(shown)
    columns = [
        Column(name, setting, measure.family, titles[name], _arrow(measure, setting), cells)
        for name, measure in shown.items()
        for setting, cells in (*_columns(comparison, name), *_mean_ranks(comparison, name))
    ]
    gates = failed_gates(comparison)
    failing = {method for methods in gates.values() for method in methods}
    return Layout(
        methods=tuple(f"{method} {GATE}" if method in failing else method for method in comparison.methods),
        columns=tuple(columns),
        several=len(comparison.settings) > 1,
        caption=_caption(comparison, columns),
        findings=findings(comparison),
        notes=(*told(gates), *untested(comparison), *(f"{note}." for note in comparison.notes)),
        failures=tuple(
            f"{failure.method} on {failure.dataset} ({failure.model}) gave no numbers: {failure.reason.rstrip('. ')}."
            for failure in comparison.failures
        ),
    )


def _columns(comparison: Comparison, measure: str) -> Iterator[tuple[str, tuple[Cell, ...]]]:
    cells = comparison.cells[comparison.cells["measure"] == measure]
    places = decimals(cells["shown"])
    by_median = comparison.measures[measure].summary == "median"
    for setting in dict.fromkeys(cells["setting"]):
        here = cells[cells["setting"] == setting].set_index("method")[list(NUMBERS)].to_dict("index")
        failed = _failed(comparison, setting)
        yield (
            setting,
            tuple(
                _cell(here, method, places, by_median=by_median, failed=method in failed)
                for method in comparison.methods
            ),
        )


def _failed(comparison: Comparison, setting: str) -> set[str]:
    """The methods that failed on a setting's data set and model."""
    here = comparison.cells[comparison.cells["setting"] == setting][["dataset", "model"]].drop_duplicates()
    where = set(here.itertuples(index=False, name=None))
    return {each.method for each in comparison.failures if (each.dataset, each.model) in where}


def _cell(
    cells: Mapping[Hashable, Mapping[Hashable, float]], method: str, places: int, *, by_median: bool, failed: bool
) -> Cell:
    if method not in cells:
        return Cell("failed" if failed else "n.a.")
    mean, low, high, q1, middle, q3, rank, tied = (float(cells[method][key]) for key in NUMBERS)
    cell = bracketed(middle, (q1, q3), places) if by_median else number(mean, (high - low) / 2, places)
    return cell._replace(rank=0 if math.isnan(rank) else int(rank), tied=bool(tied))


def _mean_ranks(comparison: Comparison, measure: str) -> Iterator[tuple[str, tuple[Cell, ...]]]:
    """A column of ranks averaged over settings, where there are several."""
    found = comparison.mean_ranks[comparison.mean_ranks["measure"] == measure].set_index("method")["mean_rank"]
    if len(found):
        ranks = found.rank(method="min")
        cells = {str(name): Cell(f"{found[name]:.1f}", rank=int(ranks[name])) for name in found.index}
        yield MEAN_RANK, tuple(cells.get(method, Cell("")) for method in comparison.methods)


def _arrow(measure: Measure, setting: str) -> str:
    return "" if setting == MEAN_RANK else ARROWS[measure.higher_is_better]


def unique_titles(measures: Mapping[str, Measure]) -> dict[str, str]:
    """What measures are called in a table; two measures of one title are told apart by name."""
    titles = [measure.title for measure in measures.values()]
    return {
        name: measure.title if titles.count(measure.title) == 1 else f"{measure.title} ({name})"
        for name, measure in measures.items()
    }


def _caption(comparison: Comparison, columns: Sequence[Column]) -> str:
    if not comparison.methods:
        return "No method was measured."
    cells = [cell for column in columns for cell in column.cells]
    spread = ["mean ± half-width of the 95 % bootstrap interval"] * any(cell.half for cell in cells)
    spread += ["median [quartiles]"] * any(cell.ends for cell in cells)
    words = [*([" or ".join(spread)] if spread else []), _counts(comparison)]
    caption = f"{', '.join(words)}. Best in bold, second underlined"
    if any(cell.tied for cell in cells):
        caption += f"; {TIED}: not significantly different from the best (Wilcoxon, Holm-corrected, 5 %)"
    return f"{caption[0].upper()}{caption[1:]}."


def _counts(comparison: Comparison) -> str:
    if len(set(comparison.samples.values())) > 1:
        return "; ".join(f"n = {n} samples of {setting}" for setting, n in comparison.samples.items())
    datasets = comparison.cells["dataset"].drop_duplicates() if len(comparison.cells) else comparison.settings
    return f"n = {next(iter(comparison.samples.values()))} samples of {', '.join(datasets)}"


def _blocks(group: Sequence[Column], room: int) -> list[list[Column]]:
    blocks: list[list[Column]] = []
    for _, family in groupby(group, key=lambda column: column.family):
        columns = list(family)
        if blocks and _fits([*blocks[-1], *columns], room):
            blocks[-1] += columns
        else:
            blocks += _cut(columns, room)
    return blocks


def _fits(columns: Sequence[Column], room: int) -> bool:
    return sum(column.width + 2 for column in columns) <= room


def _cut(columns: Sequence[Column], room: int) -> list[list[Column]]:
    blocks: list[list[Column]] = [[]]
    for _, measure in groupby(columns, key=lambda column: column.measure):
        together = list(measure)
        for part in [together] if _fits(together, room) else [[column] for column in together]:
            if blocks[-1] and not _fits([*blocks[-1], *part], room):
                blocks.append([])
            blocks[-1] += part
    return blocks
