"""What a sweep leaves for its reader: the comparison table in every format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import RenderableType

from lrp_bench.report.numbers.comparison import Comparison, compare
from lrp_bench.report.pages.files import write
from lrp_bench.report.pages.web import render
from lrp_bench.report.store.collect import collect
from lrp_bench.report.store.results import Results
from lrp_bench.report.tables import formats, terminal
from lrp_bench.report.tables.arrangement import By, arranged
from lrp_bench.report.tables.layout import Layout, lay_out


@dataclass(frozen=True)
class Summary:
    """A sweep's table: as numbers (comparison), as text (table), and as files."""

    comparison: Comparison
    table: Layout
    files: tuple[Path, ...]

    def render(self, width: int = 100) -> RenderableType:
        """The table for a rich console."""
        return terminal.render(self.table, width)


def summarize(uri: str, experiment: str, parent: str | None, folder: Path) -> Summary:
    """Collect a sweep (None: the latest) and write table.md, .html, .csv, .tex and pairs.csv into a folder."""
    return write_tables(collect(uri, experiment, parent), folder)


def write_tables(results: Results, folder: Path, *, every: bool = False, by: By | None = None) -> Summary:
    """Compare what was collected and write the tables; every: all measures, not the headline ones alone.

    by: what lies side by side in a table (see `arrangement.arranged`); None puts the settings below each measure.
    pairs.csv: every two methods, compared sample by sample, for all measures.
    """
    comparison = compare(results)
    table = lay_out(comparison, every=every)
    table = arranged(table, comparison, by) if by else table
    texts = {
        "table.md": formats.markdown(table),
        "table.html": render("table.html", title=results.name, table=table),
        "table.csv": formats.csv(comparison),
        "table.tex": formats.latex(table, results.sweep[:8]),
        "pairs.csv": comparison.pairs.to_csv(index=False, lineterminator="\n"),
    }
    files = tuple(write(folder / name, text) for name, text in texts.items())
    return Summary(comparison, table, files)
