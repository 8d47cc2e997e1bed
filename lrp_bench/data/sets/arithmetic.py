"""Two numbers hidden in a sequence of others, to be added or subtracted: what each contributes is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.data.arguments import one_of
from lrp_bench.data.base import Settings
from lrp_bench.data.regression import DrawnRegression
from lrp_bench.data.sources.contents import Split

CHANNELS = 3  # of a step: a number that does not count, the first number that does, the second
SIGNS: Mapping[str, float] = {"sum": 1.0, "difference": -1.0}


class Arithmetic(DrawnRegression):
    """The arithmetic task for recurrent networks, after Arras et al. 2019 (LNCS 11700, chapter 11).

    A sample is a sequence of steps (noise, first, second), flattened. Each step holds one number: at two of them, drawn
    for each sample, `first` holds n_a and later `second` holds n_b; at all others `noise` holds a number. The target is
    n_a + n_b or n_a - n_b. All numbers are uniform in [-1, 1).

    Args:
        operation: sum or difference.
        train: see DrawnRegression.
        test: see DrawnRegression.
        content_seed: see DrawnRegression.
        **settings: those of every regression; shape is [3 * steps].
    """

    def __init__(
        self, *, operation: str, train: int, test: int, content_seed: int = 0, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(train=train, test=test, content_seed=content_seed, **settings)
        self.sign = SIGNS[one_of("dataset.operation", operation, SIGNS)]
        if len(self.shape) != 1 or self.shape[0] % CHANNELS or self.shape[0] < 2 * CHANNELS:
            raise BenchError(f"Expected dataset.shape [{CHANNELS} * steps], 2 steps or more, got {list(self.shape)}")

    def _draw(self, size: int, generator: torch.Generator) -> Split:
        steps = self.shape[0] // CHANNELS
        numbers = torch.rand(size, steps, generator=generator) * 2 - 1
        drawn = torch.rand(size, steps, generator=generator).argsort(1)[:, :2].sort(1).values
        channel = torch.zeros(size, steps, dtype=torch.int64).scatter(1, drawn, torch.tensor([1, 2]).expand(size, 2))
        inputs = torch.zeros(size, steps, CHANNELS).scatter(2, channel.unsqueeze(2), numbers.unsqueeze(2))
        first, second = numbers.gather(1, drawn).unbind(1)
        labels: Tensor = (first + self.sign * second).to(self.dtype)
        return Split(inputs.flatten(1).to(self.dtype), labels)
