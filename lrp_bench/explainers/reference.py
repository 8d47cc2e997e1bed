"""Attributions that know nothing of the model: what a method must beat to mean anything."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_bench import chance
from lrp_bench.chance import Purpose
from lrp_bench.contracts import BenchError
from lrp_bench.explainers.arguments import expect_seed
from lrp_bench.explainers.base import IsolatedExplainer
from lrp_bench.transfers import sent


class Random(IsolatedExplainer):
    """Standard normal relevance, independent of model and target: the row whose SRG must be 0.

    A sample's map depends only on the seed and the sample's values; see lrp_bench.chance.

    Args:
        model: see IsolatedExplainer.
        example: see IsolatedExplainer.
        seed: another seed gives independent maps.
    """

    def __init__(self, model: nn.Module, example: Tensor, *, seed: int = 0) -> None:
        super().__init__(model, example)
        expect_seed(seed)
        self._seed = seed

    def _relevance(self, inputs: Tensor, target: Tensor) -> Tensor:
        dtype = inputs.dtype if inputs.is_floating_point() else torch.get_default_dtype()
        return standard_normal(inputs, self._seed).to(dtype)


class Sobel(IsolatedExplainer):
    """The strength of edges, sqrt(g_x^2 + g_y^2), of the mean over channels, independent of model and target.

    g_x and g_y are the Sobel derivatives per pixel (weights 1/8); the border is repeated outwards. The strength is
    shared equally by the channels, so that the sum over channels is it. A method that this row beats has found edges.

    Raises:
        BenchError: if the inputs are no images (batch, channels, height, width).
    """

    def __init__(self, model: nn.Module, example: Tensor) -> None:
        super().__init__(model, example)
        if example.dim() != 4 or not example.is_floating_point():
            raise BenchError(
                f"Expected images (batch, channels, height, width) for the edges of Sobel, got "
                f"{tuple(example.shape)} of {example.dtype}: leave it out for this data set."
            )

    def _relevance(self, inputs: Tensor, target: Tensor) -> Tensor:
        return sobel(inputs.mean(1, keepdim=True)).expand_as(inputs) / inputs.shape[1]


def sobel(images: Tensor) -> Tensor:
    """(batch, 1, height, width) -> the length of the Sobel gradient at each pixel, in the same shape.

    >>> sobel(torch.arange(4.0).expand(1, 1, 3, 4))[0, 0, 1]
    tensor([0.5000, 1.0000, 1.0000, 0.5000])
    """
    across = sent([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], images, images.dtype) / 8
    kernels = torch.stack([across, across.T])[:, None]
    gradient = F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernels)
    return gradient.square().sum(1, keepdim=True).sqrt()


def standard_normal(samples: Tensor, seed: int) -> Tensor:
    """Float64 draws from N(0, 1) in the shape of samples (batch, ...), a function of seed and each sample's values.

    >>> x = torch.arange(6.0).view(3, 2)
    >>> bool((standard_normal(x, 0)[1:] == standard_normal(x[1:], 0)).all())
    True
    """
    return chance.normal(samples, samples[0].numel(), seed, Purpose.RANDOM_MAP).view(samples.shape)
