"""Several maps of each sample side by side, such as the mean and the spread over an ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lrp_bench.report.figures.heatmaps import PANEL, Array, picture, scale
from lrp_bench.report.figures.style import drawing, save


@drawing()
def panel_grid(images: Array, maps: Mapping[str, Array], titles: Sequence[str], path: Path) -> Path:
    """Inputs and their maps, one row a sample, as a PNG.

    images: (samples, channels, height, width) in [0, 1]; maps: heading -> (samples, height, width); titles: at the left
    of each row. Red is positive, blue negative, white zero; the maps of a row have one symmetric scale.
    """
    rows, headings = len(images), ["input", *maps]
    high = PANEL * images.shape[-2] / images.shape[-1]
    figure = Figure(figsize=(1.9 + PANEL * len(headings), 0.4 + (high + 0.08) * rows), layout="constrained")
    axes = figure.subplots(rows, len(headings), squeeze=False)
    for place, (row, image, title) in enumerate(zip(axes, images, titles, strict=True)):
        row[0].imshow(picture(image), cmap="gray", vmin=0, vmax=1)
        row[0].set_ylabel(title, rotation=0, ha="right", va="center")
        shown = [each[place] for each in maps.values()]
        top = scale(np.stack(shown))
        for axis, each in zip(row[1:], shown, strict=True):
            drawn = axis.imshow(each, cmap="RdBu_r", vmin=-top, vmax=top)
        bar = figure.colorbar(drawn, ax=list(row), ticks=[-top, 0, top], format="%.2g")
        bar.ax.tick_params(length=2)
    for axis in axes.ravel():
        axis.set(xticks=[], yticks=[])
    for axis, heading in zip(axes[0], headings, strict=True):
        axis.set_title(heading)
    return save(figure, path)
