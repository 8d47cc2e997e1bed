"""Claims as text: paper beside ours, the difference and the verdict, for Markdown, HTML, CSV and LaTeX."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lrp_bench.report.claims.study import Study
from lrp_bench.report.claims.verdicts import place, sentences
from lrp_bench.report.tables.formats import PREAMBLE, latex_text, paper_table

HEADER = ("claim", "row, column", "published", "ours", "difference", "allowed", "verdict")
IN_PAPER = ("claim", "published", "ours", "difference", "verdict")
CAPTION = (
    "Ours is a mean with its 95 % bootstrap interval over samples and seeds, or a median with the quartiles (the mean "
    "of those of each seed), or a number of the model with the range over seeds; n counts samples, or seeds. Beside a "
    "rank correlation or a Kendall distance, n counts the samples behind the means. A verdict goes by the number, not "
    "by its interval: where the interval holds the published number, the claim is not settled."
)


@dataclass(frozen=True)
class Row:
    """One claim. cells: its text, in the order of HEADER; published, ours, difference: the numbers, NaN where none."""

    cells: tuple[str, ...]
    published: float
    ours: float
    difference: float

    @property
    def verdict(self) -> str:
        """Reached, not reached or not run."""
        return self.cells[-1]


@dataclass(frozen=True)
class ClaimsTable:
    """The claims of one study, judged. said: its sentences; measured: when, and with which versions."""

    study: Study
    rows: tuple[Row, ...]
    said: tuple[str, ...]
    sources: tuple[str, ...]
    deviations: tuple[str, ...]
    measured: str

    @property
    def counts(self) -> str:
        """How many claims got which verdict, in words."""
        found = Counter(row.verdict for row in self.rows)
        return ", ".join(f"{count} {verdict}" for verdict, count in found.items())


def claims_table(study: Study, judged: pd.DataFrame) -> ClaimsTable:
    """The table of a study. judged: of `verdicts.judge`."""
    when = sorted({text for text in judged["measured"] if text})
    told = judged[judged["deviation"] != ""].groupby("deviation", sort=False)["what"].apply(", ".join)
    return ClaimsTable(
        study=study,
        rows=tuple(_row(row) for row in judged.to_dict("records")),
        said=tuple(sentences(study, judged)),
        sources=tuple(f"Source: {text}." for text in dict.fromkeys(judged["source"])),
        deviations=tuple(f"{what}: {deviation}" for deviation, what in told.items()),
        measured=f"Measured {'; '.join(when)}." if when else "Not measured yet.",
    )


def latex(tables: Sequence[ClaimsTable]) -> str:
    r"""A `table*` with booktabs rules for each study, to \input; the first one's caption says how to read them.

    Rows and columns of the store, which are long, are left to the other formats.
    """
    return "\n".join([PREAMBLE, *(_latex(table, CAPTION if table is tables[0] else "") for table in tables)])


def _latex(table: ClaimsTable, caption: str) -> str:
    shown = [HEADER.index(name) for name in IN_PAPER]
    lines = [[latex_text(row.cells[place]) for place in shown] for row in table.rows]
    frame = pd.DataFrame(lines, columns=[latex_text(name) for name in IN_PAPER])
    deviations = (f"{each.rstrip('.')}." for each in table.deviations)
    words = (f"{table.study.title.rstrip('.')}.", caption, *table.sources, *deviations, table.measured)
    return paper_table(
        frame.style.hide(axis=0),
        column_format=r"p{0.23\linewidth}rlrl",
        label=f"tab:claims-{table.study.name}",
        caption=latex_text(" ".join(filter(None, words))),
    )


def _row(row: Mapping[Any, Any]) -> Row:
    published, ours = row["published"], row["ours"]
    places = _places(published, row["tolerance"])
    sign = {">=": "≥ ", "<=": "≤ "}.get(row["relation"], "")
    difference = "" if math.isnan(ours) else f"{ours - published:+.1e}"
    told = (row["what"], place(row), f"{sign}{published:.{places}f}", _ours(row, places), difference, _allowed(row))
    return Row((*map(str, told), row["verdict"]), published, ours, ours - published)


def _allowed(row: Mapping[Any, Any]) -> str:
    if row["relation"] != "=":
        return ""
    return f"{100 * row['tolerance']:g} %" if row["relative"] else f"{row['tolerance']:g}"


def _ours(row: Mapping[Any, Any], places: int) -> str:
    ours, low, high = row["ours"], row["low"], row["high"]
    if math.isnan(ours):
        return "n.a."
    if math.isnan(low):
        return f"{ours:.{places}f}"
    return f"{ours:.{places}f} [{low:.{places}f}, {high:.{places}f}], n = {row['n']}"


def _places(published: float, tolerance: float) -> int:
    """Decimals that show the published number whole, and a difference as large as the tolerance."""
    typed = len(f"{published:.10f}".rstrip("0").partition(".")[2])
    return max(typed, 2, -math.floor(math.log10(tolerance)) if tolerance else 0)
