"""Gradients for sentences: of ids there is none, so it is taken with respect to the embedding of each word."""

from __future__ import annotations

from abc import abstractmethod

import torch
from captum.attr import LayerGradientXActivation
from torch import Tensor, nn

from lrp_bench.contracts import BenchError
from lrp_bench.explainers.base import IsolatedExplainer


class WordGradient(IsolatedExplainer):
    """What is computed, word by word, from the gradient of the explained logit: (batch, length), 0 for padding.

    Args:
        model: has one nn.Embedding, which it calls once.
        example: see IsolatedExplainer.

    Raises:
        BenchError: if the inputs are no ids, or the model has no embedding or several.
    """

    _by_input: bool

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        super().__init__(model, example)
        layers = [module for module in self._model.modules() if isinstance(module, nn.Embedding)]
        if example.is_floating_point() or len(layers) != 1:
            raise BenchError(
                f"Expected ids for a model with one nn.Embedding, got {example.dtype} and {len(layers)} embeddings: "
                "use captum_saliency or captum_input_x_gradient, or leave this method out."
            )
        self._method = LayerGradientXActivation(self._model, layers[0], multiply_by_inputs=self._by_input)

    def _relevance(self, inputs: Tensor, target: Tensor) -> Tensor:
        with torch.backends.cudnn.flags(enabled=False):  # its recurrent networks have gradients in training mode only
            each: Tensor = self._method.attribute(inputs, target=target)
        return self._of_words(each)

    @abstractmethod
    def _of_words(self, each: Tensor) -> Tensor: ...


class WordGradientXInput(WordGradient):
    """R_t = sum_i x_ti dz/dx_ti over the features x_t of word t's embedding (Arras et al. 2017)."""

    _by_input = True

    def _of_words(self, each: Tensor) -> Tensor:
        return each.sum(2)


class WordSensitivity(WordGradient):
    """R_t = ||dz/dx_t||^2 for the embedding x_t of word t (Arras et al. 2017)."""

    _by_input = False

    def _of_words(self, each: Tensor) -> Tensor:
        return each.square().sum(2)
