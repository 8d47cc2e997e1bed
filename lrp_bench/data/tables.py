"""Tables beside scikit-learn's own split: a shuffled one, samples as they stand in a config, and a regression."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Unpack

import torch
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.data.arguments import whole
from lrp_bench.data.base import Contents, Settings, Task, TensorData
from lrp_bench.data.batching import Split

TEST_FRACTION = 0.2


class ShuffledIris(TensorData):
    """Iris as `train_test_split(test_size=0.2, random_state=split_seed)` leaves it: shuffled, not stratified.

    Args:
        split_seed: of the shuffling.
        **settings: those of every data set, see TensorData.
    """

    def __init__(self, *, split_seed: int, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.split_seed = whole("dataset.split_seed", split_seed, 0)

    def read(self) -> Contents:
        """Read the table from scikit-learn's own files."""
        bunch = load_iris()
        parts = train_test_split(bunch.data, bunch.target, test_size=TEST_FRACTION, random_state=self.split_seed)
        train, test, train_labels, test_labels = map(torch.from_numpy, parts)
        names = [str(name) for name in bunch.target_names]
        return Contents(Split(train, train_labels.long()), Split(test, test_labels.long()), names)


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


class Given(Regression):
    """Samples that stand in the config, for a network that is not trained: every split holds them all.

    Args:
        inputs: one list of numbers per sample.
        **settings: those of every regression.
    """

    def __init__(self, *, inputs: Sequence[Sequence[float]], **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.inputs = inputs

    def read(self) -> Contents:
        """The samples; their labels are not known (NaN)."""
        try:
            inputs = torch.tensor([list(sample) for sample in self.inputs], dtype=self.dtype)
        except (TypeError, ValueError) as error:
            raise BenchError(f"Expected dataset.inputs to list numbers, got {error}: correct it") from error
        split = Split(inputs, torch.full((len(inputs),), math.nan, dtype=self.dtype))
        return Contents(split, split, [f"output {number}" for number in range(self.classes)])

    @cached_property
    def _cut(self) -> tuple[Tensor, Tensor]:
        everything = torch.arange(len(self.contents.train.labels))
        return everything, everything


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


class Halves(DrawnRegression):
    """Uniform numbers in [0, 1); 1 where the first half of them has the larger sum, else 0.

    So the first half of the features speaks for the output, the other against it. Arguments as in DrawnRegression.
    """

    def _draw(self, size: int, generator: torch.Generator) -> Split:
        inputs = torch.rand(size, *self.shape, generator=generator)
        half = self.shape[0] // 2
        return Split(inputs, (inputs[:, :half].sum(1) > inputs[:, half:].sum(1)).to(self.dtype))
