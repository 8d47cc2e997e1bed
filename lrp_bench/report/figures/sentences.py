"""Sentences with their words on a coloured ground: red speaks for the explained class, blue against it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from lrp_bench.contracts import BenchError
from lrp_bench.report.figures.heatmaps import scale
from lrp_bench.report.figures.style import drawing, save

COLORS = mpl.colormaps["RdBu_r"]
UNDEFINED = "#cccccc"
DARK = 0.6  # share of the scale from which on letters are white
COLUMNS = 96  # characters of a line of the picture
FONT, ROW, CHARACTER = 9.0, 0.26, 0.0753  # points; inches: the distance of lines, the width of a character at 9 points


@dataclass(frozen=True)
class Sentence:
    """Words, the relevance of each, and what stands above them."""

    words: tuple[str, ...]
    relevance: NDArray[np.floating[Any]]
    title: str

    @property
    def scale(self) -> float:
        """The largest |relevance|; 1 where there is none."""
        return scale(self.relevance)

    @property
    def marked(self) -> list[tuple[str, float, str, str]]:
        """Word, relevance, colour of the ground and of the letters; what is undefined stands on grey."""
        shares = self.relevance / self.scale
        grounds = [to_hex(COLORS(0.5 + share / 2)) if np.isfinite(share) else UNDEFINED for share in shares]
        inks = ["#ffffff" if abs(share) > DARK else "#000000" for share in shares]
        return list(zip(self.words, self.relevance.tolist(), grounds, inks, strict=True))


def sentences(words: Sequence[Sequence[str]], relevance: ArrayLike, titles: Sequence[str]) -> list[Sentence]:
    """One sentence of each row of relevance (samples, length), whose first numbers belong to the words."""
    rows = np.asarray(relevance, dtype=np.float64)
    if rows.ndim != 2 or not len(words) == len(rows) == len(titles) or any(len(w) > rows.shape[1] for w in words):
        raise BenchError(
            f"Expected relevance (samples, length) and a title for each of {len(words)} sentences, got {rows.shape} "
            f"and {len(titles)} titles: pass one of each per sentence."
        )
    return [
        Sentence(tuple(each), row[: len(each)], title) for each, row, title in zip(words, rows, titles, strict=True)
    ]


@drawing()
def write_png(told: Sequence[Sentence], path: Path) -> Path:
    """The same as a picture, in letters of one width."""
    broken = [list(lines(sentence, COLUMNS)) for sentence in told]
    rows = sum(len(each) + 1.6 for each in broken)
    width, height = CHARACTER * (COLUMNS + 2), ROW * rows + 0.1
    figure = Figure(figsize=(width, height))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set(xlim=(0, COLUMNS + 2), ylim=(rows, -0.4))
    axis.axis("off")
    top = 0.0
    for sentence, each in zip(told, broken, strict=True):
        title = f"{sentence.title}, relevance up to {sentence.scale:.3g}"
        axis.text(1, top + 0.5, title, color="#555555", va="center")
        for line, marked in enumerate(each, start=1):
            mark(axis, marked, 1, top + line, FONT)
        top += len(each) + 1.6
    return save(figure, path, crop=False)


def mark(axis: Axes, line: Sequence[tuple[int, str, str, str]], left: float, top: float, size: float) -> None:
    """One line of words on their ground, on an axis whose units are characters and lines."""
    for column, word, ground, ink in line:
        place = (left + column - 0.4, top + 0.08)
        axis.add_patch(Rectangle(place, len(word) + 0.8, 0.84, facecolor=ground, linewidth=0))
        axis.text(
            left + column + len(word) / 2,
            top + 0.5,
            word,
            fontsize=size,
            family="monospace",
            color=ink,
            ha="center",
            va="center",
        )


def lines(sentence: Sentence, width: int) -> Iterator[list[tuple[int, str, str, str]]]:
    """Lines of (column, word, ground, ink), broken between words."""
    line, column = list[tuple[int, str, str, str]](), 0
    for word, _, ground, ink in sentence.marked:
        if line and column + len(word) > width:
            yield line
            line, column = [], 0
        line.append((column, word, ground, ink))
        column += len(word) + 1
    yield line
