"""What all figures share: widths that a paper prints without shrinking, letters, colours, and how files are written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple, cast

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure

from lrp_bench.report.store.conditions import is_random

COLUMN, PAGE = 3.3, 6.9  # inches: of one column and of both
SMALL = 7  # points: the smallest letters
CHARACTER = 0.062  # inches of one of them
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#f0e442")  # Okabe and Ito
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY = "#8c8c8c"
POSITIVE, NEGATIVE = "#1a9850", "#d73027"
DPI = 110
SHARP = 200  # dots per inch of a report's figures

STYLE = {
    "text.parse_math": False,  # a dollar in a name is a dollar
    "pdf.fonttype": 42,  # text stays text
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
}


@contextmanager
def drawing() -> Iterator[None]:
    """The style, around what draws, or as `@drawing()` before it; other figures are left alone."""
    with mpl.rc_context(cast("Any", STYLE)):
        yield


def color(method: str, methods: Sequence[str]) -> str:
    """A method's colour, the same in every figure; `random` is grey."""
    return GREY if is_random(method) else COLORS[methods.index(method) % len(COLORS)]


def marker(method: str, methods: Sequence[str]) -> str:
    """A method's mark: tells apart those that share a colour."""
    place = methods.index(method)
    return MARKERS[(place + place // len(COLORS)) % len(MARKERS)]


class Size(NamedTuple):
    """Of a figure with panels: its width in inches, and how many of them stand below and beside each other."""

    width: float
    rows: int
    columns: int


def size(panels: int, most: int = 3) -> Size:
    """The size of a figure of so many panels, at most `most` beside each other: a single one is a column wide."""
    columns = min(panels, most)
    return Size(COLUMN if columns == 1 else PAGE, -(-panels // columns), columns)


def panels(
    count: int, high: float, handles: Sequence[Artist], *, most: int = 3, **shared: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, each `high` inches, above one legend; shared: what `Figure.subplots` takes."""
    width, rows, columns = size(count, most)
    for handle in handles:
        handle.set_label(broken(str(handle.get_label()), width - 0.6))
    names = [str(handle.get_label()).split("\n") for handle in handles]
    beside = _beside([line for name in names for line in name], width)
    lines = -(-len(handles) // beside) * max(map(len, names), default=1)
    figure = Figure(figsize=(width, high * rows + 0.2 + 0.15 * lines), layout="constrained")
    figure.legend(handles=handles, loc="outside lower center", ncols=beside)
    axes = figure.subplots(rows, columns, squeeze=False, **shared).ravel()
    for axis in axes[count:]:
        axis.remove()
    return figure, list(axes[:count])


def broken(name: str, width: float) -> str:
    """A name on as many lines as its place of `width` inches asks for, broken at spaces, `_`, `=` and `(`."""
    return "\n".join(line for part in name.split("\n") for line in _lines(part, max(4, int(width / CHARACTER))))


def _lines(name: str, room: int) -> Iterator[str]:
    words = re.split(r"(?<=[_= ])|(?=\()", name)
    line = ""
    for piece in (piece for word in words for piece in wrap(word, room, drop_whitespace=False)):
        if line and len(line) + len(piece.rstrip()) > room:
            yield line.rstrip()
            line = ""
        line += piece
    yield line.rstrip()


def _beside(names: Sequence[str], width: float) -> int:
    """How many columns of a legend fit."""
    return max(1, int(width / (0.45 + CHARACTER * max(map(len, names)))))


def save(figure: Figure, path: Path, *, crop: bool = True, dpi: int = DPI) -> Path:
    """Write a PNG, whole or not at all; crop: to what is drawn."""
    draft = path.with_name(f".{path.name}")
    figure.savefig(draft, dpi=dpi, format="png", bbox_inches="tight" if crop else None)
    return draft.replace(path)


def save_both(figure: Figure, folder: Path, name: str) -> tuple[Path, ...]:
    """As PNG and PDF, in the size it was made for."""
    png = save(figure, folder / f"{name}.png", crop=False, dpi=SHARP)
    figure.set_layout_engine("none")  # laid out once; savefig would draw it twice once more
    pdf, draft = folder / f"{name}.pdf", folder / f".{name}.pdf"
    FigureCanvasPdf(figure).print_pdf(draft, metadata={"CreationDate": None})  # type: ignore[no-untyped-call]
    return png, draft.replace(pdf)
