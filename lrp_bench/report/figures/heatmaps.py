"""Maps of one run: inputs beside their relevance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lrp_bench.contracts import BenchError
from lrp_bench.report.figures.style import GREY, NEGATIVE, POSITIVE, drawing, save

PANEL = 1.25  # inches: the width of an image

Array = NDArray[np.floating[Any]]


@drawing()
def heatmap_grid(
    images: Array,
    relevance: Array,
    titles: Sequence[str],
    path: Path,
    features: Sequence[str] = (),
    unit: str = "",
) -> Path:
    """Inputs beside their relevance, one row a sample, as a PNG.

    images: (samples, channels, height, width), (samples, height, width) or (samples, features); relevance: of the same
    shape, or without channels, which are summed. Red is positive, blue negative, white zero, on one symmetric scale a
    row. A table's features become green and red bars, named by `features`; unit: of their relevance. titles: what
    stands at the left of each row.
    """
    if not len(images) == len(relevance) == len(titles) > 0:
        counts = (len(images), len(relevance), len(titles))
        raise BenchError(f"Expected as many images as maps and titles, got {counts}: pass one of each per sample.")
    if relevance.ndim == 2:
        return save(_bars(images, relevance, titles, features, unit), path)
    return save(_maps(images, relevance.sum(1) if relevance.ndim == 4 else relevance, titles), path)


def _maps(images: Array, relevance: Array, titles: Sequence[str]) -> Figure:
    margin = 0.25 + 0.068 * max(len(line) for title in titles for line in title.split("\n"))
    rows, high = len(images), PANEL * images.shape[-2] / images.shape[-1]
    width, height = margin + 2 * PANEL + 0.7, 0.35 + (high + 0.1) * rows
    across = ((margin, PANEL), (margin + PANEL + 0.1, PANEL), (margin + 2 * PANEL + 0.17, 0.09))
    figure = Figure(figsize=(width, height))
    for place, (image, R, title) in enumerate(zip(images, relevance, titles, strict=True)):
        bottom, top = (height - 0.3 - (high + 0.1) * place - high) / height, scale(R)
        box = [figure.add_axes((x / width, bottom, w / width, high / height)) for x, w in across]
        box[0].imshow(picture(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        shown = box[1].imshow(R, cmap="RdBu_r", vmin=-top, vmax=top, interpolation="nearest", aspect="auto")
        bar = figure.colorbar(shown, cax=box[2], ticks=[-top, 0, top])
        bar.ax.tick_params(length=2)
        bar.ax.set_yticklabels([f"−{top:.2g}", "0", f"+{top:.2g}"], fontsize=7)  # noqa: RUF001 (a minus sign)
        bar.ax.get_yticklabels()[0].set_verticalalignment("bottom")
        bar.ax.get_yticklabels()[2].set_verticalalignment("top")
        figure.text(0.08 / width, bottom + high / height / 2, title, va="center", fontsize=8, linespacing=1.4)
        plain(box[0], "input" if place == 0 else "")
        plain(box[1], "relevance" if place == 0 else "")
    return figure


def _bars(inputs: Array, relevance: Array, titles: Sequence[str], features: Sequence[str], unit: str) -> Figure:
    samples, count = relevance.shape
    names = list(features) or [f"feature {place}" for place in range(count)]
    figure = Figure(figsize=(6.4, 0.4 + (0.45 + 0.2 * count) * samples), layout="constrained")
    axes = figure.subplots(samples, 1, squeeze=False)[:, 0]
    for axis, x, R, title in zip(axes, inputs, relevance, titles, strict=True):
        labels = [f"{name} = {value:.3g}" for name, value in zip(names, x, strict=True)]
        bars = axis.barh(labels, R, color=np.where(R >= 0, POSITIVE, NEGATIVE), height=0.7)
        axis.bar_label(bars, fmt="{:+.3g}", fontsize=7, padding=3)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set(xlim=(-1.25 * scale(R), 1.25 * scale(R)))
        axis.invert_yaxis()
        axis.set_title(" ".join(title.split()), fontsize=9, loc="left")
        axis.tick_params(labelsize=8, length=2)
        axis.spines[["top", "right", "left"]].set_visible(False)
    axes[-1].set_xlabel(f"relevance ({unit})" if unit else "relevance", fontsize=9)
    return figure


def picture(image: Array) -> Array:
    """One input as grey (height, width) or RGB (height, width, 3) in [0, 1]; standardised values are spread over it."""
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 1:
        image = (image - low) / max(high - low, 1e-12)
    if image.ndim == 2:
        return image
    return image.transpose(1, 2, 0) if len(image) == 3 else image.mean(0)


def scale(R: Array) -> float:
    """The largest |R| that is defined; 1 for a map of nothing but zeros."""
    sizes = np.abs(R[np.isfinite(R)])
    return float(sizes.max()) if sizes.any() else 1.0


def plain(axis: Axes, heading: str) -> None:
    """A frame without ticks."""
    axis.set_title(heading, fontsize=9)
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(linewidth=0.4, color=GREY)
