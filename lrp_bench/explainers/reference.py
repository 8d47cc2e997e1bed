"""Attributions that know nothing of the model: what a method must beat to mean anything."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lrp_bench.contracts import BenchError
from lrp_bench.explainers.base import IsolatedExplainer

# Constants of splitmix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"), as signed int64.
_STEP = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64


class Random(IsolatedExplainer):
    """Standard normal relevance, independent of model and target: the row whose SRG must be 0.

    A sample's map depends only on the seed and the sample's values (as float32), so it is the same in any batch, in any
    order and on any device (up to the rounding of the normal quantile); two identical samples share one map. The draws
    come from a counter, not a stream: u_i = splitmix64(key + i * step), with the key a hash of seed and sample.

    Args:
        model: see IsolatedExplainer.
        example: see IsolatedExplainer.
        seed: another seed gives independent maps.
    """

    def __init__(self, model: nn.Module, example: Tensor, *, seed: int = 0) -> None:
        super().__init__(model, example)
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
            raise BenchError(f"Expected seed to be an integer from 0 to 2**63 - 1, got {seed!r}.")
        self._seed = seed

    def _relevance(self, inputs: Tensor, target: Tensor) -> Tensor:
        dtype = inputs.dtype if inputs.is_floating_point() else torch.get_default_dtype()
        return standard_normal(inputs, self._seed).to(dtype)


def standard_normal(samples: Tensor, seed: int) -> Tensor:
    """Float64 draws from N(0, 1) in the shape of samples (batch, ...), a function of seed and each sample's values.

    >>> x = torch.arange(6.0).view(3, 2)
    >>> bool((standard_normal(x, 0)[1:] == standard_normal(x[1:], 0)).all())
    True
    """
    # Adding 0 makes -0 and 0, which are equal values, equal bits.
    bits = (samples.flatten(1).to(torch.float32) + 0.0).view(torch.int32).to(torch.int64)
    counter = torch.arange(bits.shape[1], device=bits.device) * _STEP
    key = _mix(_mix(bits + counter).sum(1, keepdim=True) ^ _mix(counter.new_tensor([seed])))
    uniform = _shifted(_mix(key + counter), 12).double()  # 52 bits, so that u + 1/2 is exact
    normal: Tensor = torch.special.ndtri((uniform + 0.5) * 2.0**-52)
    return normal.view(samples.shape)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shifted(z, 30)) * _FIRST
    z = (z ^ _shifted(z, 27)) * _SECOND
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, by: int) -> Tensor:
    """Right shift that fills with zeros; torch's own copies the sign."""
    mask: int = 2 ** (64 - by) - 1
    return (z >> by) & mask
