"""A small network under the names of its layers, fc1, fc2 ... output, whose weights may be given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_bench.contracts import BenchError


class FullyConnected(nn.Module):
    """Linear layers fc1, fc2 ... with a ReLU after each but the last, and `output` at the end.

    Args:
        shape: of one sample; flattened.
        classes: number of outputs.
        hidden: width of each hidden layer.
        output: makes the module after the last linear layer; None for none.
        weights: per layer a mapping of `weight` (outputs x inputs) and `bias` (a number, or one per output). A network
            with given weights is frozen.
    """

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        hidden: Sequence[int],
        output: Callable[[], nn.Module] | None = None,
        weights: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        widths = [prod(shape), *hidden, classes]
        self.names = [f"fc{number}" for number in range(1, len(widths))]
        for name, (inputs, outputs) in zip(self.names, pairwise(widths), strict=True):
            self.add_module(name, nn.Linear(inputs, outputs))
        self.output = nn.Identity() if output is None else output()
        if weights is not None:
            self._fill(weights)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, *shape) -> (batch, classes)."""
        *hidden, last = (self.get_submodule(name) for name in self.names)
        x = torch.flatten(x, 1)
        for layer in hidden:
            x = F.relu(layer(x))
        logits: Tensor = self.output(last(x))
        return logits

    def _fill(self, weights: Sequence[Mapping[str, Any]]) -> None:
        if len(weights) != len(self.names):
            raise BenchError(f"Expected weights for {', '.join(self.names)}, got {len(weights)}: set model.weights")
        self.double()  # the numbers as they stand in the config, whatever the data's type will be
        for name, given in zip(self.names, weights, strict=True):
            self._fill_layer(name, given)
        self.requires_grad_(False)

    def _fill_layer(self, name: str, given: Mapping[str, Any]) -> None:
        layer = self.get_submodule(name)
        try:
            for part in ("weight", "bias"):
                values = torch.tensor(given[part], dtype=torch.float64)
                parameter = layer.get_parameter(part)
                parameter.data.copy_(values.expand_as(parameter) if values.dim() == 0 else values.view_as(parameter))
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise BenchError(
                f"Expected weight and bias that fit {name} ({layer}), got {error}: set model.weights"
            ) from error
