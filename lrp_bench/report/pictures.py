"""Every figure that a sweep's numbers allow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lrp_bench.report import bars, figures
from lrp_bench.report.comparison import Comparison
from lrp_bench.report.curves import bands
from lrp_bench.report.layout import unique_titles
from lrp_bench.report.picture import Picture
from lrp_bench.report.results import Results
from lrp_bench.report.stability import stability


def draw_all(results: Results, comparison: Comparison, folder: Path) -> list[Picture]:
    """Draw what there are numbers for, as PNG and PDF into folder. comparison: of these results."""
    folder.mkdir(parents=True, exist_ok=True)
    return [*_curves(results, folder), *_features(results, folder), *_stability(results, folder)]


def _curves(results: Results, folder: Path) -> Iterator[Picture]:
    found = bands(results)
    if len(found):
        caption = (
            "The explained output as more and more of the input is removed: most relevant first (solid), least "
            "relevant first (dashed) and in random order (dotted), with 95 % bootstrap bands. Under a good map the "
            "solid line falls at once and the dashed one late."
        )
        yield Picture("flip_curves", "Flip curves", caption, tuple(figures.flip_curves(found, folder)))


def _features(results: Results, folder: Path) -> Iterator[Picture]:
    shares = bars.feature_shares(results)
    if len(shares):
        caption = (
            "How much of the relevance each feature gets: its mean |relevance| as a share of the sum over all "
            "features, a colour for each method. Longer bars are features that the method holds to be more important."
        )
        yield Picture("features", "Relevance by feature", caption, tuple(bars.feature_bars(shares, folder)))


def _stability(results: Results, folder: Path) -> Iterator[Picture]:
    found = stability(results, resample=False)
    if found is not None and len(found.summary):
        titles = unique_titles(found.measures)
        files = figures.distance_matrices(found.distances, titles, found.conditions, folder)
        caption = (
            f"How far apart the rankings of {len(found.methods)} methods are under every two conditions: Kendall's "
            "distance, 0 the same order, 0.5 unrelated, 1 reversed. A dark field is a pair of conditions that would "
            "name other winners."
        )
        yield Picture("stability", "Stability of the rankings", caption, tuple(files))
