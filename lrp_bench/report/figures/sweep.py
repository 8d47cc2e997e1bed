"""Every figure that a sweep's numbers allow, with the words that explain it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TypeVar

from lrp_bench.report.figures import bars, costs, curves, differences, grids, ledger, matrices
from lrp_bench.report.figures.matrices import Matrix
from lrp_bench.report.figures.picture import Picture
from lrp_bench.report.numbers import agreement
from lrp_bench.report.numbers.comparison import Comparison
from lrp_bench.report.numbers.curves import bands
from lrp_bench.report.numbers.stability import stability
from lrp_bench.report.store.conditions import is_random, labelled
from lrp_bench.report.store.results import Results
from lrp_bench.report.tables.layout import unique_titles

T = TypeVar("T")
PANELS = 9  # settings in one figure
MOST = 3  # figures of one kind: of a sweep over many settings the first ones


def draw_all(results: Results, comparison: Comparison, folder: Path) -> list[Picture]:
    """Draw what there are numbers for, as PNG and PDF into folder. comparison: of these results."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        *_grids(results, folder),
        *_curves(results, folder),
        *_differences(results, folder),
        *_costs(results, comparison, folder),
        *_layers(results, folder),
        *_agreement(comparison, folder),
        *_likeness(results, folder),
        *_features(results, folder),
        *_stability(results, folder),
    ]


def _named(name: str, found: Sequence[T]) -> Iterator[tuple[str, str, T]]:
    """The first few, each with its file's name and, where there are more, a sentence that says so."""
    left = f" Of {len(found)} such figures the first {MOST} are drawn." if len(found) > MOST else ""
    for place, each in enumerate(found[:MOST], 1):
        yield (name if len(found) == 1 else f"{name}_{place}"), left, each


READING = {
    "image": "Each map has its own symmetric scale, up to its largest |relevance|: red pixels speak for the explained "
    "class, blue ones against it, white ones not at all.",
    "table": "Each panel has its own scale; green features raise the explained output, red ones lower it.",
    "text": "Each line has its own scale, up to its largest |relevance|: red words speak for the explained class, blue "
    "ones against it.",
}


def _grids(results: Results, folder: Path) -> Iterator[Picture]:
    found = [part for grid in grids.grids(results) for part in grids.parts(grid)]
    for name, left, grid in _named("heatmaps", found):
        kind = grid.first.kind
        seed = f" The model is that of seed {grid.seed}." if grid.seed else ""
        wrong = " The words beside wrong predictions are coloured." if kind == "image" else ""
        unit = f" The unit is {grid.first.unit}." if grid.first.unit else ""
        caption = f"The same samples under each method. {READING[kind]}{wrong}{unit}{seed}{left}"
        yield Picture(name, f"Relevance, {grid.title}", caption, grids.draw_grid(grid, folder, name))


def _curves(results: Results, folder: Path) -> Iterator[Picture]:
    settings = labelled(results.runs)["setting"].drop_duplicates().tolist()
    found = bands(results, settings[:PANELS])
    if len(found):
        left = f" Of {len(settings)} settings the first {PANELS} are drawn." if len(settings) > PANELS else ""
        lot = ", in random order (dotted)" if "random" in set(found["order"]) else ""
        caption = (
            "The explained output as more and more of the input is removed: most relevant first (solid), least "
            f"relevant first (dashed){lot}, with 95 % bootstrap bands. Under a good map the solid line falls at once "
            f"and the dashed one late. Methods of equal maps lie on one line.{left}"
        )
        yield Picture("flip_curves", "Flip curves", caption, curves.flip_curves(found, folder, "flip_curves"))


def _differences(results: Results, folder: Path) -> Iterator[Picture]:
    found = groupby(differences.differences(results), key=lambda each: each.setting)
    groups = [list(group) for _, group in found]
    for name, left, group in _named("ranks", groups):
        caption = (
            "Mean rank of each method over the samples that all methods define, 1 is best (Demsar 2006). Methods that "
            "a thick bar joins cannot be told apart: their ranks differ by less than Nemenyi's critical difference CD "
            f"(5 %), or Friedman's test finds no difference at all. Agreement, cost and random are left out.{left}"
        )
        yield Picture(name, f"Ranks, {group[0].setting}", caption, differences.draw_differences(group, folder, name))


def _costs(results: Results, comparison: Comparison, folder: Path) -> Iterator[Picture]:
    measure = costs.faithfulness(comparison.measures)
    if measure is None:
        return
    found = costs.costs(results, comparison)
    settings = found["setting"].drop_duplicates().tolist()
    if not settings:
        return
    title = comparison.measures[measure].title
    better = "Higher" if comparison.measures[measure].higher_is_better else "Lower"
    left = f" Of {len(settings)} settings the first {PANELS} are drawn." if len(settings) > PANELS else ""
    found = found[found["setting"].isin(settings[:PANELS])]
    caption = (
        f"{title} with its 95 % bootstrap interval against the time that an explanation takes per sample, on a "
        f"logarithmic axis. {better} is more faithful, further left is cheaper.{left}"
    )
    yield Picture("cost", "Cost and faithfulness", caption, costs.draw_costs(found, title, folder, "cost"))


def _layers(results: Results, folder: Path) -> Iterator[Picture]:
    shares = ledger.by_layer(results)
    groups = [group for _, group in shares.groupby("setting", sort=False)]
    for name, left, group in _named("layers", groups):
        few = f" The {ledger.MOST} layers in which most is taken are shown." * (group["layer"].nunique() > ledger.MOST)
        caption = (
            "Where the relevance goes in each layer, from the output (top) down to the input, as shares of the "
            "explained score: what a layer passes on, and what its bias, the stabilizer and the rule itself take "
            "(negative shares are added to it). The black tick is what arrived. A method that conserves has grey bars "
            f"up to the tick alone.{few}{left}"
        )
        title = f"Conservation by layer, {group['setting'].iloc[0]}"
        yield Picture(name, title, caption, ledger.draw_layers(group, folder, name))


def _agreement(comparison: Comparison, folder: Path) -> Iterator[Picture]:
    found = [
        (setting, tables)
        for setting in comparison.settings
        if (tables := agreement.with_baselines(comparison, setting))
    ]
    for name, left, (setting, tables) in _named("agreement", found):
        panels = [
            Matrix(kind.replace("_", " "), [*table.index], [*table.columns], table.to_numpy(dtype=float))
            for kind, table in tables.items()
        ]
        caption = (
            f"Mean agreement of each method (row) with each baseline (column) over {comparison.samples[setting]} "
            "samples, in every way it was compared (Krishna et al. 2022). 1 is the same map; correlations have 0 for "
            f"unrelated ones. More alike is not more right.{left}"
        )
        files = matrices.draw_matrices(panels, folder, name, label="agreement")
        yield Picture(name, f"Agreement with baselines, {setting}", caption, files)


def _likeness(results: Results, folder: Path) -> Iterator[Picture]:
    found = [grid for grid in grids.grids(results) if sum(not is_random(m) for m in grid.methods) > 1]
    for name, left, grid in _named("likeness", found):
        values, n = agreement.likeness(list(grid.methods.values()))
        methods = list(grid.methods)
        caption = (
            f"Spearman's rank correlation between the maps of every two methods, averaged over the {n} samples whose "
            f"maps were kept. 1: the same order of pixels, 0: unrelated, -1: reversed.{left}"
        )
        panel = Matrix(grid.title, methods, methods, values)
        files = matrices.draw_matrices([panel], folder, name, label="Spearman")
        yield Picture(name, f"Agreement between the methods, {grid.title}", caption, files)


def _features(results: Results, folder: Path) -> Iterator[Picture]:
    shares = bars.feature_shares(results)
    if len(shares):
        caption = (
            "How much of the relevance each feature gets: its mean |relevance| as a share of the sum over all "
            "features, a colour for each method. Longer bars are features that the method holds to be more important."
        )
        yield Picture("features", "Relevance by feature", caption, bars.feature_bars(shares, folder, "features"))


def _stability(results: Results, folder: Path) -> Iterator[Picture]:
    found = stability(results, resample=False)
    if found is not None and len(found.summary):
        headline = {name: measure for name, measure in found.measures.items() if measure.headline}
        panels = matrices.distances(found.distances, unique_titles(headline or found.measures), found.conditions)
        label = "Kendall distance between rankings"
        caption = (
            f"How far apart the rankings of {len(found.methods)} methods are under every two conditions: Kendall's "
            "distance, 0 the same order, 0.5 unrelated, 1 reversed. A dark field is a pair of conditions that "
            "order the methods differently."
        )
        files = matrices.draw_matrices(panels, folder, "stability", label=label, low=0.0)
        yield Picture("stability", "Stability of the rankings", caption, files)
