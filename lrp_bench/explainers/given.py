"""Relevance that was computed elsewhere."""

from __future__ import annotations

from torch import Tensor, nn

from lrp_bench.contracts import BenchError, Explanation, NotApplicable
from lrp_bench.explainers.base import scored


class Given:
    """Maps of one batch, whoever made them: the row of a method that cannot be asked again.

    Args:
        model: any module that gives (batch, classes).
        example: (batch, ...), the inputs that the maps are of.
        relevance: their maps, in the shape of example.
    """

    def __init__(self, model: nn.Module, example: Tensor, relevance: Tensor) -> None:
        if relevance.shape != example.shape or not relevance.is_floating_point():
            raise BenchError(
                f"Expected floating-point relevance of the inputs' shape {tuple(example.shape)}, got "
                f"{relevance.dtype} of shape {tuple(relevance.shape)}: give one number for each input value."
            )
        self.model, self.inputs, self.relevance = model, example, relevance.detach().to(example.device)

    def explain(self, inputs: Tensor, target: Tensor | None = None) -> Explanation:
        """The maps, if these are their inputs; target None means each sample's predicted class."""
        if inputs is not self.inputs:
            raise NotApplicable(
                "Expected a method that explains other inputs or another model, got maps that were computed "
                "elsewhere: leave out this metric."
            )
        return Explanation(inputs, *scored(self.model, inputs, target), self.relevance)
