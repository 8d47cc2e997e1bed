"""Digits with a mark that gives the class away: does the model look at the digit or at the mark?"""

from __future__ import annotations

import math
from typing import Unpack

import torch
from torch import Generator, Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.data.arguments import one_of, share, whole
from lrp_bench.data.base import Settings, TensorData
from lrp_bench.data.sources.contents import Contents, Split, together
from lrp_bench.data.sources.pasting import CONTENT_SEED, Window, draw, enlarged, stored, window
from lrp_bench.data.sources.scikit import read_digits


class Shortcut(TensorData):
    """scikit-learn's digits, grey on black in the middle, with a square in a corner whose colour stands for a class.

    A model that takes the shortcut is right as long as the square tells the truth; with at_test=other its test accuracy
    falls, and so much of its decision lies on the square, which the mask marks. The pictures do not depend on the run's
    seed.

    Args:
        scale: a digit is 8 scale pixels wide and high.
        ink: brightness of the digit, in [0, 1]; the fainter it is, the more the model leans on the square.
        patch: side of the square; it must fit between the digit and the edge.
        planted: share of the training pictures with the square of their own class; the others have none.
        at_test: what the test pictures have: own (the square of their class), other (that of another class) or none
            (no square, so that every mask is empty).
        **settings: those of every data set, see TensorData. shape has 3 channels.
    """

    def __init__(
        self, *, scale: int, ink: float, patch: int, planted: float, at_test: str, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        self.enlargement, self.patch = whole("dataset.scale", scale), whole("dataset.patch", patch)
        self.ink = share("dataset.ink", ink)
        self.planted = share("dataset.planted", planted)
        self.at_test = one_of("dataset.at_test", at_test, ("own", "other", "none"))
        least = 8 * self.enlargement + 2 * self.patch
        if len(self.shape) != 3 or self.shape[0] != 3 or min(self.shape[1:]) < least:
            raise BenchError(
                f"Expected dataset.shape [3, height, width] of at least {least} x {least}, for a digit of "
                f"{8 * self.enlargement} with {self.patch} at each side, got {list(self.shape)}: set dataset.shape"
            )

    def read(self) -> Contents:
        """Draw the pictures, those for training first."""
        digits, generator = read_digits(), torch.Generator().manual_seed(CONTENT_SEED)
        classes, (train, test) = len(digits.class_names), (digits.train.labels, digits.test.labels)
        told = torch.rand(len(train), generator=generator) < self.planted
        wrong = (test + torch.randint(1, classes, test.shape, generator=generator)) % classes
        own, none = self.at_test == "own", torch.full_like(test, self.at_test != "none", dtype=torch.bool)
        return Contents(
            self._drawn(digits.train, _colors(train, classes), told, generator),
            self._drawn(digits.test, _colors(test if own else wrong, classes), none, generator),
            digits.class_names,
        )

    def _drawn(self, digits: Split, colors: Tensor, planted: Tensor, generator: Generator) -> Split:
        """colors: (n, 3); planted: (n,) bool, who has a square."""
        ink = enlarged(together(digits.inputs)[:, 0], self.enlargement) * self.ink
        pictures = torch.zeros(len(ink), *self.shape[1:])
        top, left = (torch.full((len(ink),), (side - ink.shape[1]) // 2) for side in pictures.shape[1:])
        draw(pictures, window(top, left, ink.shape[1:]), ink)
        mask = torch.zeros(pictures.shape, dtype=torch.bool)
        mask[self._corner(len(ink), generator)] = planted[:, None, None]
        painted = torch.where(mask.unsqueeze(1), colors[:, :, None, None], pictures.unsqueeze(1))
        return Split(stored(painted), digits.labels, mask)

    def _corner(self, count: int, generator: Generator) -> Window:
        """A window in one of the four corners, drawn by lot."""
        sides = torch.randint(2, (2, count), generator=generator)
        top, left = (side * (size - self.patch) for side, size in zip(sides, self.shape[1:], strict=True))
        return window(top, left, (self.patch, self.patch))


def _colors(labels: Tensor, classes: int) -> Tensor:
    """One hue for each class, evenly around the circle: (n, 3) in [0, 1]."""
    angle = 2 * math.pi * (labels[:, None] / classes - torch.arange(3) / 3)
    return (1 + angle.cos()) / 2
