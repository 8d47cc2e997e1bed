"""What data sets with one number to predict share."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar, Unpack

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.data.arguments import whole
from lrp_bench.data.base import Settings, TensorData
from lrp_bench.data.protocol import Task
from lrp_bench.data.sources.contents import Contents, Split


class Regression(TensorData):
    """A table with one number to predict. The model learns it standardised; pictures and texts show it in its unit.

    Args:
        target: what it is called.
        unit: of the target.
        target_mean, target_std: of its standardisation.
        **settings: those of every data set, see TensorData.
    """

    task: ClassVar[Task] = "regression"

    def __init__(
        self,
        *,
        target: str = "output",
        unit: str = "",
        target_mean: float = 0.0,
        target_std: float = 1.0,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        if not target_std > 0:
            raise BenchError(f"Expected dataset.target_std above 0, got {target_std!r}: a target without spread")
        self.target, self.unit, self.target_mean, self.scale = target, unit, target_mean, target_std

    def title(self, label: float, prediction: float) -> str:
        """What a picture says of a sample, in a line each."""
        told = {"true": label, "predicted": prediction}
        return "\n".join(f"{word} {self._shown(value)}" for word, value in told.items() if not math.isnan(value))

    def _shown(self, value: float) -> str:
        return f"{value * self.scale + self.target_mean:.3g} {self.unit}".strip()

    def _strata(self, split: Split) -> Tensor:
        return torch.zeros(len(split.labels), dtype=torch.int64)


class DrawnRegression(Regression):
    """Samples that are drawn, the same in every run: they do not depend on its seed.

    Args:
        train: training samples.
        test: test samples.
        content_seed: of the samples.
        **settings: those of every regression.
    """

    def __init__(self, *, train: int, test: int, content_seed: int = 0, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.sizes = whole("dataset.train", train, 2), whole("dataset.test", test, 2)
        self.content_seed = whole("dataset.content_seed", content_seed, 0)

    def read(self) -> Contents:
        """Draw the samples, those for training first."""
        generator = torch.Generator().manual_seed(self.content_seed)
        train, test = (self._draw(size, generator) for size in self.sizes)
        return Contents(train, test, [self.target])

    @abstractmethod
    def _draw(self, size: int, generator: torch.Generator) -> Split: ...
