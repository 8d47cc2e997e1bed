"""Made-up samples whose signal is known: for tests, and to see an explanation that can be checked."""

from __future__ import annotations

from functools import cached_property
from typing import Unpack

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.data.arguments import whole
from lrp_bench.data.base import Settings, TensorData
from lrp_bench.data.sources.contents import Contents, Split

CONTENT_SEED = 0
NOISE = 0.6


class Synthetic(TensorData):
    """Uniform noise in [0, 0.6]; a sample of class c is 0.4 brighter where signal[c] is 1.

    The signal of a class is a run of consecutive positions (rows, for pictures), the same in all channels. The samples
    do not depend on the run's seed.

    Args:
        train: training samples.
        test: test samples.
        **settings: those of every data set, see TensorData.
    """

    def __init__(self, *, train: int, test: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.train_size, self.test_size = whole("dataset.train", train, 2), whole("dataset.test", test)
        if self._positions < self.classes:
            raise BenchError(f"Expected at least one position per class, got {self._positions} for {self.classes}")

    @cached_property
    def signal(self) -> Tensor:
        """Where each class is brighter: (classes, *shape) of 0 and 1, no two classes at one place."""
        owner = torch.arange(self._positions) * self.classes // self._positions
        plane = torch.nn.functional.one_hot(owner, self.classes).T.float()
        spatial = self.shape[1:] if self.is_picture else self.shape
        return plane.reshape(self.classes, *[1] * self.is_picture, *spatial).expand(-1, *self.shape).contiguous()

    def read(self) -> Contents:
        """Draw the samples, classes in turn."""
        generator = torch.Generator().manual_seed(CONTENT_SEED)
        train, test = (self._draw(size, generator) for size in (self.train_size, self.test_size))
        return Contents(train, test, [f"class {c}" for c in range(self.classes)])

    @property
    def _positions(self) -> int:
        spatial = self.shape[1:] if self.is_picture else self.shape
        return torch.Size(spatial).numel()

    def _draw(self, size: int, generator: torch.Generator) -> Split:
        labels = torch.arange(size) % self.classes
        noise = torch.rand(size, *self.shape, generator=generator) * NOISE
        return Split(noise + (1 - NOISE) * self.signal[labels], labels)
