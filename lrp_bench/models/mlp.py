"""A multilayer perceptron."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from lrp_bench.contracts import BenchError


class MLP(nn.Module):
    """Linear layers with an activation after each but the last; (batch, *shape) -> (batch, classes).

    Args:
        shape: of one sample; flattened.
        classes: number of outputs.
        hidden: width of each hidden layer; none makes a linear model.
        activation: makes one activation module for each hidden layer.
    """

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        hidden: Sequence[int] = (128, 64),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        if not isinstance(hidden, Sequence) or any(type(width) is not int or width < 1 for width in hidden):
            raise BenchError(f"Expected hidden to list whole numbers >= 1, got {hidden!r}: set model.hidden")
        widths = [prod(shape), *hidden]
        # A module of its own for each use: rules that hook modules cannot tell two uses of one apart.
        blocks = [(nn.Linear(inputs, outputs), activation()) for inputs, outputs in pairwise(widths)]
        self.layers = nn.Sequential(*(module for block in blocks for module in block), nn.Linear(widths[-1], classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.layers(torch.flatten(x, 1))
        return logits
