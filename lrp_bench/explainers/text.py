"""Gradients for sentences: of ids there is none, so it is taken with respect to the embedding of each word."""

from __future__ import annotations

from abc import abstractmethod

import torch
from captum.attr import LayerGradientXActivation, LayerIntegratedGradients
from torch import Tensor, nn

from lrp_bench.contracts import BenchError
from lrp_bench.explainers.arguments import expect, expect_count
from lrp_bench.explainers.base import IsolatedExplainer


class WordMethod(IsolatedExplainer):
    """A relevance of words, (batch, length), 0 for padding, from attributions to their embeddings.

    Args:
        model: has one nn.Embedding, which it calls once.
        example: see IsolatedExplainer.

    Raises:
        BenchError: if the inputs are no ids, or the model has no embedding or several.
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        super().__init__(model, example)
        layers = [module for module in self._model.modules() if isinstance(module, nn.Embedding)]
        if example.is_floating_point() or len(layers) != 1:
            raise BenchError(
                f"Expected ids for a model with one nn.Embedding, got {example.dtype} and {len(layers)} embeddings: "
                "use captum_saliency or captum_input_x_gradient, or leave this method out."
            )
        self._embedding = layers[0]

    def _relevance(self, inputs: Tensor, target: Tensor) -> Tensor:
        with torch.backends.cudnn.flags(enabled=False):  # its recurrent networks have gradients in training mode only
            return self._of_words(inputs, target)

    @abstractmethod
    def _of_words(self, inputs: Tensor, target: Tensor) -> Tensor: ...

    def _gradient(self, inputs: Tensor, target: Tensor, *, by_input: bool) -> Tensor:
        """(batch, length, features), of the explained logit."""
        method = LayerGradientXActivation(self._model, self._embedding, multiply_by_inputs=by_input)
        gradient: Tensor = method.attribute(inputs, target=target)
        return gradient


class WordGradientXInput(WordMethod):
    """R_t = sum_i x_ti dz/dx_ti over the features x_t of word t's embedding (Arras et al. 2017)."""

    def _of_words(self, inputs: Tensor, target: Tensor) -> Tensor:
        return self._gradient(inputs, target, by_input=True).sum(2)


class WordSensitivity(WordMethod):
    """R_t = ||dz/dx_t||^2 for the embedding x_t of word t (Arras et al. 2017)."""

    def _of_words(self, inputs: Tensor, target: Tensor) -> Tensor:
        return self._gradient(inputs, target, by_input=False).square().sum(2)


class WordIntegratedGradients(WordMethod):
    """R_t = sum_i (x_ti - b_i) * mean of dz/dx_ti on the line from b to x_t (Sundararajan et al. 2017), Gauss-Legendre.

    All words take the way together; what else the model sees of the ids, which are padding for instance, stays.

    Args:
        model: see WordMethod.
        example: see IsolatedExplainer.
        baseline: the id whose embedding is b; that of padding is zeros under nn.Embedding(padding_idx=...).
        n_steps: points of the quadrature.
        internal_batch_size: samples x steps sent through the model at once; bounds the memory (one step at the least).
    """

    def __init__(
        self, model: nn.Module, example: Tensor, *, baseline: int = 0, n_steps: int = 50, internal_batch_size: int = 512
    ) -> None:
        expect_count("n_steps", n_steps)
        expect_count("internal_batch_size", internal_batch_size)
        super().__init__(model, example)
        ids = self._embedding.num_embeddings
        expect(type(baseline) is int and 0 <= baseline < ids, f"baseline to be an id below {ids}", baseline)
        self._baseline, self._n_steps, self._at_once = baseline, n_steps, internal_batch_size

    def _of_words(self, inputs: Tensor, target: Tensor) -> Tensor:
        each: Tensor = LayerIntegratedGradients(self._model, self._embedding).attribute(
            inputs,
            baselines=torch.full_like(inputs, self._baseline),
            target=target,
            n_steps=self._n_steps,
            internal_batch_size=max(self._at_once, len(inputs)),
        )
        return each.sum(2)
