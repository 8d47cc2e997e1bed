"""Two tetrominoes in noise: a problem whose signal, noise and place are all set."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from lrp_bench.contracts import BenchError
from lrp_bench.data.arguments import one_of, share, whole
from lrp_bench.data.base import Settings, TensorData
from lrp_bench.data.sources.contents import Contents, Split
from lrp_bench.data.sources.pasting import CONTENT_SEED, stored

SHAPES = {"T": ((1, 0), (1, 1), (1, 0)), "L": ((1, 0), (1, 0), (1, 1))}
LEAST = 8  # pixels a side: the two shapes then lie apart
SIGNAL = 4.0  # with four pixels of 64, signal and noise have the same power at alpha 1/2
SPREAD = 4.0  # standard deviations of the noise that fit into [0, 1]
SMOOTH = 3.0  # pixels


class Tetromino(TensorData):
    """A T in the upper left or an L in the lower right, in Gaussian noise (XAI-TRIS, Clark et al. 2024, LIN and MULT).

    With S the shape, 4 pixels of 1, and N noise of variance 1: linear is x = 4 alpha S + (1 - alpha) N, multiplicative
    x = (1 - alpha S) N, where only the variance tells the classes apart. Stored as 1/2 + x / 8, cut off at 0 and 1. The
    mask holds the shape's pixels. The samples do not depend on the run's seed.

    Args:
        scenario: linear or multiplicative.
        noise: white, or correlated: smoothed with a Gaussian of 3 pixels, then of variance 1 again.
        alpha: share of the signal, in [0, 1].
        train: training samples.
        test: test samples.
        **settings: those of every data set, see TensorData.
    """

    def __init__(
        self, *, scenario: str, noise: str, alpha: float, train: int, test: int, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        self.scenario = one_of("dataset.scenario", scenario, ("linear", "multiplicative"))
        self.noise = one_of("dataset.noise", noise, ("white", "correlated"))
        self.alpha = share("dataset.alpha", alpha)
        self.train_size, self.test_size = whole("dataset.train", train, 2), whole("dataset.test", test)
        if len(self.shape) != 3 or min(self.shape[1:]) < LEAST:
            raise BenchError(
                f"Expected dataset.shape [channels, height, width] of at least {LEAST} x {LEAST}, "
                f"got {list(self.shape)}: set dataset.shape"
            )

    def read(self) -> Contents:
        """Draw the samples, classes in turn."""
        generator = torch.Generator().manual_seed(CONTENT_SEED)
        train, test = (self._drawn(size, generator) for size in (self.train_size, self.test_size))
        return Contents(train, test, list(SHAPES))

    def _drawn(self, count: int, generator: Generator) -> Split:
        labels = torch.arange(count) % len(SHAPES)
        mask = self._places()[labels]
        noise, S = self._noise(torch.randn(count, *self.shape[1:], generator=generator)), mask.float()
        if self.scenario == "linear":
            x = SIGNAL * self.alpha * S + (1 - self.alpha) * noise
        else:
            x = (1 - self.alpha * S) * noise
        pictures = stored((0.5 + x / (2 * SPREAD)).clamp(0, 1))
        return Split(pictures.unsqueeze(1).repeat(1, self.shape[0], 1, 1), labels, mask)

    def _places(self) -> Tensor:
        """Where each shape lies, one pixel off its corner: (2, height, width) bool."""
        places = torch.zeros(len(SHAPES), *self.shape[1:], dtype=torch.bool)
        T, L = (torch.tensor(shape, dtype=torch.bool) for shape in SHAPES.values())
        places[0, 1:4, 1:3], places[1, -4:-1, -3:-1] = T, L
        return places

    def _noise(self, white: Tensor) -> Tensor:
        if self.noise == "white":
            return white
        rows, columns = (_smoothing(side) for side in white.shape[1:])
        return rows @ white @ columns.T


def _smoothing(side: int) -> Tensor:
    """(side, side): Gaussian weights, each row of norm 1, so that white noise keeps its variance."""
    position = torch.arange(side) / SMOOTH
    return F.normalize(torch.exp(-(position[:, None] - position).square() / 2), dim=1)
