"""The stability of a sweep's rankings as table and figure."""

from __future__ import annotations

from pathlib import Path

from lrp_bench.report.numbers.stability import ALL, Stability, stability
from lrp_bench.report.pages.files import write
from lrp_bench.report.store.results import Results
from lrp_bench.report.tables import formats
from lrp_bench.report.tables.cells import Cell, bracketed
from lrp_bench.report.tables.layout import ARROWS, Column, Layout, unique_titles

PLACES = 3


def write_stability(results: Results, folder: Path) -> tuple[Layout | None, list[Path]]:
    """Write stability.csv, .md and .tex and stability_pairs.csv, where there are rankings to compare."""
    found = stability(results)
    if found is None or found.summary.empty:
        return None, []
    layout = lay_out_stability(found)
    texts = {
        "stability.csv": found.summary.to_csv(index=False, lineterminator="\n"),
        "stability_pairs.csv": found.distances.to_csv(index=False, lineterminator="\n"),
        "stability.md": formats.markdown(layout),
        "stability.tex": formats.latex(layout, "lrp-bench-stability"),
    }
    return layout, [write(folder / name, text) for name, text in texts.items()]


def lay_out_stability(found: Stability) -> Layout:
    """A row per measure and a column for what conditions differ in: mean Kendall distance [95 % interval]."""
    measures, over = list(found.measures), list(dict.fromkeys(found.summary["over"]))
    cells = found.summary.set_index(["measure", "over"])[["distance", "low", "high"]]
    columns = [
        Column(
            measure=key,
            setting="",
            family="stability",
            title="over all conditions" if key == ALL else f"over {key}",
            arrow=ARROWS[False],
            cells=tuple(_cell(*map(float, cells.loc[(name, key)])) for name in measures),
        )
        for key in over
    ]
    titles = unique_titles(found.measures)
    left_out = f"Left out, since not measured under all conditions: {', '.join(found.left_out)}."
    return Layout(
        methods=tuple(titles[name] for name in measures),
        columns=tuple(_ranked(column, found) for column in columns),
        several=False,
        caption=(
            f"Mean Kendall distance [95 % bootstrap interval over samples] between the rankings of "
            f"{len(found.methods)} methods ({', '.join(found.methods)}) under {len(found.conditions)} conditions "
            f"({'; '.join(found.conditions)}). 0: the same order, 0.5: unrelated, 1: reversed. Most stable in bold, "
            "second underlined."
        ),
        notes=(left_out,) if found.left_out else (),
        stub="measure",
    )


def _cell(distance: float, low: float, high: float) -> Cell:
    return bracketed(distance, (low, high), PLACES)


def _ranked(column: Column, found: Stability) -> Column:
    here = found.summary[found.summary["over"] == column.measure]
    ranks = here["distance"].rank(method="min").astype(int)
    cells = zip(column.cells, ranks, strict=True)
    return column._replace(cells=tuple(cell._replace(rank=rank) for cell, rank in cells))
