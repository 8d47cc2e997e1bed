"""The comparison table on a terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lrp_bench.report.tables.cells import Cell
from lrp_bench.report.tables.layout import Column, Layout

STYLES = {1: "bold green", 2: "underline"}


def render(layout: Layout, width: int = 100) -> RenderableType:
    """The layout as rich tables no wider than `width`, the caption above, what they say, failures and notes below."""
    blocks = [_table(layout, block) for block in layout.blocks(width)]
    failures = [Text(line, style="red") for line in layout.failures]
    notes = [Text(line, style="yellow") for line in layout.notes]
    arrows = Text("↑ higher is better, ↓ lower is better.", style="dim")
    findings = [Text(line) for line in layout.findings]
    return Group(Text(layout.caption, style="dim"), *blocks, arrows, *findings, *failures, *notes)


def _table(layout: Layout, block: tuple[Column, ...]) -> Table:
    title = Text(block[0].group) if block[0].group else None
    table = Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True
    )
    table.add_column(layout.stub, no_wrap=True)
    for column in block:
        table.add_column(_header(column, layout.several), justify="right", vertical="bottom")
    for place, method in enumerate(layout.methods):
        table.add_row(Text(method), *(_text(column.cells[place]) for column in block))
    return table


def _header(column: Column, several: bool) -> Text:
    return Text(f"{column.header}\n{column.setting}" if several else column.header, justify="right")


def _text(cell: Cell) -> Text:
    return Text(cell.text, style=STYLES.get(cell.rank, ""), no_wrap=True)
