from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib import colormaps
from matplotlib.image import imread
from matplotlib.lines import Line2D

from lrp_bench.contracts import BenchError
from lrp_bench.report.figures import heatmaps, style
from lrp_bench.report.figures.curves import flip_curves
from lrp_bench.report.figures.heatmaps import heatmap_grid


def share(picture: np.ndarray, color: Sequence[float]) -> float:
    """How much of a picture has about this colour."""
    return float((np.abs(picture[..., :3] - color).max(-1) < 0.1).mean())


def test_relevance_is_red_blue_and_centred_at_white(tmp_path: Path) -> None:
    R = np.zeros((1, 3, 8, 8))
    R[0, :, 0, 0], R[0, 0, 7, 7] = 1.0, -1.5  # channels are summed: 3.0 and -1.5 on a scale of 3.0
    path = heatmap_grid(np.full((1, 3, 8, 8), 0.5), R, ["true 1\npredicted 1"], tmp_path / "maps.png")
    picture = imread(path)
    panel = (heatmaps.PANEL * style.DPI) ** 2 / picture[..., 0].size
    assert share(picture, (0.5, 0.5, 0.5)) == pytest.approx(panel, rel=0.1)
    most, half, least = colormaps["RdBu_r"]([1.0, 0.25, 0.0])[:, :3]
    assert share(picture, most) == pytest.approx(panel / 64, rel=0.4)  # one pixel of 64, and the end of the colour bar
    assert share(picture, half) == pytest.approx(panel / 64, rel=0.4)
    assert share(picture, least) < panel / 200


@pytest.mark.parametrize("shape", [(10, 1, 8, 8), (6, 3, 32, 32), (4, 28, 28), (3, 2, 20, 30)])
def test_heatmaps_of_every_shape_are_small_files(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=shape)
    path = heatmap_grid(x, x, ["true automobile\npredicted ship\nlogit 3.21"] * len(x), tmp_path / "maps.png")
    assert path.stat().st_size < 300_000
    assert [file.name for file in tmp_path.iterdir()] == ["maps.png"]
    height, width, _ = imread(path).shape
    assert height > len(x) * 80
    assert 300 < width < 700


def test_maps_of_zeros_and_undefined_values_are_drawn(tmp_path: Path) -> None:
    R = np.zeros((2, 8, 8))
    R[1, 0, 0], R[1, 1, 1] = np.nan, np.inf
    assert heatmap_grid(np.zeros((2, 1, 8, 8)), R, ["a", "b"], tmp_path / "maps.png").exists()


def test_a_table_becomes_green_and_red_bars(tmp_path: Path) -> None:
    path = heatmap_grid(
        np.ones((2, 3)), np.array([[1.0, -1.0, 0.0]] * 2), ["a", "b"], tmp_path / "bars.png", list("xyz")
    )
    picture = imread(path)
    green, red = share(picture, (0.1, 0.6, 0.31)), share(picture, (0.84, 0.19, 0.15))
    assert green == pytest.approx(red, rel=0.05)
    assert green > 0.03


def test_numbers_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"\(2, 2, 1\)"):
        heatmap_grid(np.zeros((2, 8, 8)), np.zeros((2, 8, 8)), ["one"], tmp_path / "maps.png")
    assert list(tmp_path.iterdir()) == []


def test_flip_curves_are_written_as_picture_and_as_pdf(tmp_path: Path) -> None:
    fraction = np.linspace(0, 1, 5)
    bands = pd.concat(
        pd.DataFrame(
            {"setting": setting, "score": "logit", "method": method, "order": order, "fraction": fraction}
            | {"mean": 1 - fraction, "low": 0.9 - fraction, "high": 1.1 - fraction}
        )
        for setting in ("digits", "mnist", "cifar10", "iris")
        for method in ("random", "epsilon")
        for order in ("morf", "lerf")
    )
    png, pdf = flip_curves(bands, tmp_path, "curves")
    assert (png.name, pdf.name) == ("curves.png", "curves.pdf")
    assert share(imread(png), (0.0, 0.45, 0.7)) > 0.001  # epsilon
    assert share(imread(png), (0.55, 0.55, 0.55)) > 0.0005  # random is grey
    assert pdf.read_bytes().startswith(b"%PDF")
    first = pdf.read_bytes()
    flip_curves(bands, tmp_path, "curves")
    assert pdf.read_bytes() == first


def test_long_names_are_broken_where_words_end() -> None:
    room = 20 * style.CHARACTER
    assert style.broken("epsilon(bias=redistribute)", room) == "epsilon(bias=\nredistribute)"
    assert style.broken("captum_integrated_gradients", room) == "captum_integrated_\ngradients"
    assert style.broken("SRG (probability)\nmean 0.2", room) == "SRG (probability)\nmean 0.2"
    assert style.broken("x" * 30, room).replace("\n", "") == "x" * 30


@style.drawing()
def test_a_legend_stays_within_the_figure_whatever_the_names() -> None:
    handles = [Line2D([], [], label=name) for name in ("a method of many words and an epsilon=" * 4, "b" * 150, "c")]
    figure, _ = style.panels(1, 2.0, handles)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent().transformed(figure.transFigure.inverted())
    assert 0 <= box.x0 < box.x1 <= 1
    assert box.y0 >= 0
