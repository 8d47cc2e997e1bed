"""Samples as they stand in a config."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Unpack

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.data.base import Settings
from lrp_bench.data.regression import Regression
from lrp_bench.data.sources.contents import Contents, Split


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
