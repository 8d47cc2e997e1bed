"""Maps side by side: drawn in their colours, on one scale a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from lrp_bench.report.figures.panels import panel_grid


@pytest.mark.parametrize("channels", [1, 3])
def test_maps_of_a_row_share_a_scale_with_red_above_zero(channels: int, tmp_path: Path) -> None:
    images = np.full((2, channels, 4, 6), 0.5)
    ones = np.stack([np.ones((4, 6)), np.zeros((4, 6))])  # the second sample has nothing to show
    path = panel_grid(images, {"mean": ones, "half": 0.5 * ones, "minus": -ones}, ["a", "b"], tmp_path / "maps.png")
    colours = (imread(path)[..., :3] * 255).round().astype(int).reshape(-1, 3)
    seen = {tuple(each) for each in np.unique(colours, axis=0).tolist()}
    assert {(103, 0, 31), (5, 48, 97), (127, 127, 127)} <= seen  # the ends of RdBu_r: dark red, dark blue; a grey input
    area = {end: (colours == end).all(1).sum() for end in ((103, 0, 31), (5, 48, 97))}
    assert area[103, 0, 31] == pytest.approx(area[5, 48, 97], rel=0.2)  # the half is not drawn as the whole


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    path = panel_grid(np.ones((1, 1, 4, 4)), {"$\\x$": np.ones((1, 4, 4))}, ["true $\\x\nnow $"], tmp_path / "maps.png")
    assert path.exists()
