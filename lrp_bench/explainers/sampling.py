"""Gradients averaged over random points near the input; the points belong to the sample, not to the batch."""

from __future__ import annotations

from abc import abstractmethod

import torch
from captum import attr
from torch import Tensor, nn

from lrp_bench import chance
from lrp_bench.chance import Purpose
from lrp_bench.explainers.arguments import expect_count, expect_flag, expect_number, expect_seed
from lrp_bench.explainers.base import LibraryExplainer


class SampledGradient(LibraryExplainer):
    """The mean over n_samples random points of factor * df/dx at the point, with Captum's gradients.

    Captum's own loops draw from the global generators, so that a sample's map would depend on the batch it is in.

    Args:
        model: see IsolatedExplainer.
        example: see IsolatedExplainer.
        n_samples: points per sample.
        seed: another seed gives independent points.
        internal_batch_size: points sent through the model at once; bounds the memory (one per sample at the least).
    """

    def __init__(self, model: nn.Module, example: Tensor, n_samples: int, seed: int, internal_batch_size: int) -> None:
        expect_count("n_samples", n_samples)
        expect_count("internal_batch_size", internal_batch_size)
        expect_seed(seed)
        self._n_samples, self._seed, self._internal_batch_size = n_samples, seed, internal_batch_size
        super().__init__(model, example)

    @abstractmethod
    def _points(self, inputs: Tensor, start: int, count: int) -> tuple[Tensor, Tensor | float]:
        """Points `start` to `start + count` of each sample, (batch, count, ...), and the factors of their gradients."""

    def _attribute(self, inputs: Tensor, target: Tensor) -> Tensor:
        inputs, total = inputs.detach(), torch.zeros_like(inputs)
        method, at_once = attr.Saliency(self._net), max(1, self._internal_batch_size // len(inputs))
        for start in range(0, self._n_samples, at_once):
            count = min(at_once, self._n_samples - start)
            points, factors = self._points(inputs, start, count)
            flat = points.flatten(0, 1).requires_grad_()
            gradient = method.attribute(flat, target=target.repeat_interleave(count), abs=False)
            total += (factors * gradient.view(points.shape)).sum(1)
        return total / self._n_samples

    def _normal(self, inputs: Tensor, start: int, count: int, purpose: Purpose) -> Tensor:
        size = inputs[0].numel()
        draws = chance.normal(inputs, count * size, self._seed, purpose, start * size).to(inputs.dtype)
        return draws.view(len(inputs), count, *inputs.shape[1:])


class SmoothGrad(SampledGradient):
    """The mean gradient over inputs with Gaussian noise (Smilkov et al. 2017).

    Args:
        model: see IsolatedExplainer.
        example: see IsolatedExplainer.
        noise_level: standard deviation of the noise as a share of max - min of the sample, as in the paper.
        absolute: |mean gradient|, as captum_saliency; false keeps the sign.
        n_samples: see SampledGradient.
        seed: see SampledGradient.
        internal_batch_size: see SampledGradient.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        *,
        noise_level: float = 0.15,
        absolute: bool = True,
        n_samples: int = 25,
        seed: int = 0,
        internal_batch_size: int = 256,
    ) -> None:
        expect_number("noise_level", noise_level, least=0)
        expect_flag("absolute", absolute)
        self._noise_level, self._absolute = noise_level, absolute
        super().__init__(model, example, n_samples, seed, internal_batch_size)

    def _points(self, inputs: Tensor, start: int, count: int) -> tuple[Tensor, float]:
        flat = inputs.flatten(1)
        deviation = self._noise_level * (flat.amax(1) - flat.amin(1)).view(-1, 1, *[1] * (inputs.dim() - 1))
        return inputs[:, None] + deviation * self._normal(inputs, start, count, Purpose.INPUT_NOISE), 1.0

    def _attribute(self, inputs: Tensor, target: Tensor) -> Tensor:
        relevance = super()._attribute(inputs, target)
        return relevance.abs() if self._absolute else relevance


class GradientShap(SampledGradient):
    """Expected gradients: the mean of (x' - x0) * df/dx at a random place between x0 and x' (Lundberg, Lee 2017).

    x' = x + N(0, stdev^2), x0 = baseline + N(0, baseline_stdev^2), the place uniform on the line: as Captum's
    GradientShap, with baselines from a normal distribution.

    Args:
        model: see IsolatedExplainer.
        example: see IsolatedExplainer.
        baseline: mean of x0, one value for every feature, in the units the model takes.
        baseline_stdev: spread of x0 about it.
        stdev: of the noise on the input.
        n_samples: see SampledGradient.
        seed: see SampledGradient.
        internal_batch_size: see SampledGradient.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        *,
        baseline: float = 0.0,
        baseline_stdev: float = 0.1,
        stdev: float = 0.1,
        n_samples: int = 25,
        seed: int = 0,
        internal_batch_size: int = 256,
    ) -> None:
        expect_number("baseline", baseline)
        expect_number("baseline_stdev", baseline_stdev, least=0)
        expect_number("stdev", stdev, least=0)
        self._baseline, self._baseline_stdev, self._stdev = baseline, baseline_stdev, stdev
        super().__init__(model, example, n_samples, seed, internal_batch_size)

    def _points(self, inputs: Tensor, start: int, count: int) -> tuple[Tensor, Tensor]:
        end = inputs[:, None] + self._stdev * self._normal(inputs, start, count, Purpose.INPUT_NOISE)
        begin = self._baseline + self._baseline_stdev * self._normal(inputs, start, count, Purpose.BASELINE)
        place = chance.uniform(inputs, count, self._seed, Purpose.PLACE_ON_LINE, start).to(inputs.dtype)
        difference = end - begin
        return begin + place.view(*place.shape, *[1] * (inputs.dim() - 1)) * difference, difference
