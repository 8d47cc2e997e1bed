"""Digits in a picture full of other things: the evidence lies where the digit was put."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Generator, Tensor

from lrp_bench.data.arguments import one_of, whole
from lrp_bench.data.base import Settings, TensorData
from lrp_bench.data.sources.contents import Contents, Split, together
from lrp_bench.data.sources.pasting import CONTENT_SEED, anywhere, draw, enlarged, stored, textures
from lrp_bench.data.sources.scikit import read_digits

INK = 0.5  # from here on a pixel belongs to the digit's shape


class DigitsOnTexture(TensorData):
    """scikit-learn's digits on a grey texture, among pieces of other digits (after Mnih et al. 2014, cluttered MNIST).

    Each digit lies at a place drawn for it; the pieces, half its side, lie anywhere outside its square and say nothing
    about the class. Test pictures are made of test digits only. The pictures do not depend on the run's seed.

    Args:
        scale: a digit is 8 scale pixels wide and high.
        copies: pictures made of each training digit, each at another place.
        clutter: pieces of other digits in a picture.
        truth: what the mask holds. box: the square of the digit, where all the evidence is, the gaps between strokes
            included; shape: the pixels of its strokes alone.
        **settings: those of every data set, see TensorData.
    """

    def __init__(self, *, scale: int, copies: int, clutter: int, truth: str, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.enlargement, self.copies = whole("dataset.scale", scale), whole("dataset.copies", copies)
        self.clutter = whole("dataset.clutter", clutter, 0)
        self.truth = one_of("dataset.truth", truth, ("box", "shape"))

    def read(self) -> Contents:
        """Draw the pictures, those for training first."""
        digits, generator = read_digits(), torch.Generator().manual_seed(CONTENT_SEED)
        train = self._drawn(digits.train, self.copies, generator)
        return Contents(train, self._drawn(digits.test, 1, generator), digits.class_names)

    def _drawn(self, digits: Split, copies: int, generator: Generator) -> Split:
        ink = enlarged(together(digits.inputs)[:, 0].repeat(copies, 1, 1), self.enlargement)
        plain = textures(len(ink), self.shape[1:], generator)
        pictures = plain.clone()
        for _ in range(self.clutter):
            piece = _piece(ink, generator)
            draw(pictures, anywhere(pictures, piece.shape[1:], generator), piece)
        at, mask = anywhere(pictures, ink.shape[1:], generator), torch.zeros(pictures.shape, dtype=torch.bool)
        pictures[at] = plain[at]
        draw(pictures, at, ink)
        mask[at] = (ink >= INK) | (self.truth == "box")
        grey = stored(pictures).unsqueeze(1).repeat(1, self.shape[0], 1, 1)
        return Split(grey, digits.labels.repeat(copies), mask)


def _piece(ink: Tensor, generator: Generator) -> Tensor:
    """A window of half the side, anywhere in a digit drawn by lot, for each picture."""
    other = ink[torch.randint(len(ink), (len(ink),), generator=generator)]
    return other[anywhere(other, [side // 2 for side in ink.shape[1:]], generator)]
