"""Numbers as the text of a table's cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

LARGE = 1e5
TIED = "†"


class Cell(NamedTuple):
    """One number as text: value +/- half, or value [ends]; what is not shown is empty.

    rank 1 is best, 0 none; tied: not significantly different from the best.
    """

    value: str
    half: str = ""
    ends: tuple[str, ...] = ()
    rank: int = 0
    tied: bool = False

    @property
    def text(self) -> str:
        """The cell in plain characters."""
        return self.written(str, " ± ", TIED)

    def written(self, number: Callable[[str], str], plus_minus: str, tied: str) -> str:
        """The cell with each number put through `number`."""
        half = f"{plus_minus}{number(self.half)}" if self.half else ""
        ends = f" [{', '.join(map(number, self.ends))}]" if self.ends else ""
        return f"{number(self.value)}{half}{ends}{tied if self.tied else ''}"


def decimals(means: Iterable[float]) -> int:
    """Decimals for a column: up to three, so that its smallest mean from 0.01 on shows three significant digits.

    A column that is smaller throughout gets up to five.

    >>> decimals([0.853, 0.021]), decimals([12.3, 45.6]), decimals([1234.5]), decimals([0.00123])
    (3, 1, 0, 5)
    """
    sizes = [abs(mean) for mean in means if math.isfinite(mean) and 0 < abs(mean) < LARGE]
    large = [size for size in sizes if size >= 0.01]
    if not sizes:
        return 3
    places = 2 - math.floor(math.log10(min(large) if large else max(sizes)))
    return max(0, min(places, 3 if large else 5))


def number(value: float, half: float, places: int) -> Cell:
    """A mean and its half-width to `places` decimals; powers of ten for what these would show as zero or as endless."""
    if math.isnan(value):
        return Cell("n.a.")
    if _needs_power(max(abs(value), 0 if math.isnan(half) else half), places):
        return Cell(_scientific(value, 1), "" if math.isnan(half) else _scientific(half, 0))
    return Cell(_fixed(value, places), "" if math.isnan(half) else _fixed(half, places))


def bracketed(value: float, ends: tuple[float, float], places: int) -> Cell:
    """A number between two others, a median in its quartiles say, written as `number` does."""
    if math.isnan(value):
        return Cell("n.a.")
    shown = (value, *(() if math.isnan(sum(ends)) else ends))
    power = _needs_power(max(map(abs, shown)), places)
    texts = [_scientific(each, 1) if power else _fixed(each, places) for each in shown]
    return Cell(texts[0], ends=tuple(texts[1:]))


def _needs_power(size: float, places: int) -> bool:
    return size >= LARGE or 0 < size < 0.5 * 10**-places


def _fixed(value: float, places: int) -> str:
    return f"{round(value, places) + 0.0:.{places}f}"  # + 0.0: no negative zero


def _scientific(value: float, places: int) -> str:
    if value == 0 or math.isinf(value):
        return f"{value:g}"
    digits, _, exponent = f"{value:.{places}e}".partition("e")
    return f"{digits}e{int(exponent)}"
