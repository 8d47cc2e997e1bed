"""Relevance shared by activation alone, as some introductions do it by hand."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from lrp_bench.contracts import BenchError, Explanation
from lrp_bench.explainers.base import IsolatedExplainer
from lrp_bench.transfers import refuse_where, together


class ActivationShares(IsolatedExplainer):
    """R_j = sum_k a_j / (sum_j a_j) R_k: the weights have no part in it, so all outputs of a layer agree on the shares.

    It conserves, and explains a network only so far as activations do. For stacks of linear layers; `layers` holds the
    relevance at the input of each.

    Args:
        model: see IsolatedExplainer.
        example: see IsolatedExplainer.
        decimals: round every message from one neuron to another to so many digits; None for not at all.
    """

    def __init__(self, model: nn.Module, example: Tensor, *, decimals: int | None = None) -> None:
        super().__init__(model, example)
        self._decimals = decimals
        if not _linear_layers(self._model):
            raise BenchError("Expected a model with linear layers, got one without: choose another explainer.")

    def explain(self, inputs: Tensor, target: Tensor | None = None) -> Explanation:
        """Explain a batch; target None means each sample's predicted class, otherwise (batch,) int64."""
        with together():
            found = super().explain(inputs, target)
            layers = dict(self._shared(inputs, found.logits, found.target))
        return Explanation(inputs, found.logits, found.target, found.score, found.relevance, layers)

    def _relevance(self, inputs: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            *_, (_, R) = self._shared(inputs, self._model(inputs), target)
        return R.view_as(inputs)

    def _shared(self, inputs: Tensor, logits: Tensor, target: Tensor) -> list[tuple[str, Tensor]]:
        """(layer, relevance at its input), from the output down."""
        R = logits * nn.functional.one_hot(target, logits.shape[1])
        shared = []
        for name, a in reversed(self._activations(inputs)):
            total = a.sum(1)
            refuse_where(total == 0, partial(_no_sum, name))
            messages = self._rounded(a[:, :, None] * (R / total[:, None])[:, None, :])
            R = messages.sum(2)
            shared.append((name, R))
        return shared

    def _activations(self, inputs: Tensor) -> list[tuple[str, Tensor]]:
        """The input of every linear layer, in the order they are computed."""
        found: list[tuple[str, Tensor]] = []
        hooks = [
            layer.register_forward_pre_hook(lambda _, args, name=name: found.append((name, args[0].flatten(1))))
            for name, layer in _linear_layers(self._model)
        ]
        try:
            with torch.no_grad():
                self._model(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        return found

    def _rounded(self, messages: Tensor) -> Tensor:
        return messages if self._decimals is None else messages.round(decimals=self._decimals)


def _no_sum(layer: str) -> BenchError:
    return BenchError(f"Expected activations with a sum that is not 0, got 0 at {layer}: use a rule.")


def _linear_layers(model: nn.Module) -> list[tuple[str, nn.Linear]]:
    return [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Linear)]
