"""Random numbers that belong to a sample: a function of seed, values and position, the same in any batch.

They come from a counter, not from a stream: u_i = splitmix64(key + i * step), the key being a hash of the seed and of
the sample's values (as float32). So they do not depend on the batch or its order, and on the device only up to the
rounding of the normal quantile; two identical samples share their draws.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

# Constants of splitmix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"), as signed int64.
_STEP = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64

# Each purpose has 2**40 draws of its own, so that no map is made of another map's noise.
Purpose = Literal["map", "noise", "baseline", "place", "order", "generator"]
_PURPOSES: dict[Purpose, int] = {"map": 0, "noise": 1, "baseline": 2, "place": 3, "order": 4, "generator": 5}


def bits(samples: Tensor, count: int, seed: int, purpose: Purpose, start: int = 0) -> Tensor:
    """(batch, ...) -> (batch, count) int64, all bits random: the draws start, ..., start + count - 1 of each sample."""
    # Adding 0 makes -0 and 0, which are equal values, equal bits.
    content = (samples.flatten(1).to(torch.float32) + 0.0).view(torch.int32).to(torch.int64)
    hashed = _mix(content + _counter(0, content.shape[1], content.device)).sum(1, keepdim=True)
    key = _mix(hashed ^ _mix(content.new_tensor([seed])))
    return _mix(key + _counter((_PURPOSES[purpose] << 40) + start, count, content.device))


def uniform(samples: Tensor, count: int, seed: int, purpose: Purpose, start: int = 0) -> Tensor:
    """(batch, count) float64 draws from the open interval (0, 1); arguments as in `bits`."""
    high = _shifted(bits(samples, count, seed, purpose, start), 12)  # 52 bits, so that u + 1/2 is exact
    return (high.double() + 0.5) * 2.0**-52


def normal(samples: Tensor, count: int, seed: int, purpose: Purpose, start: int = 0) -> Tensor:
    """(batch, count) float64 draws from N(0, 1); arguments as in `bits`."""
    quantile: Tensor = torch.special.ndtri(uniform(samples, count, seed, purpose, start))
    return quantile


def _counter(start: int, count: int, device: torch.device) -> Tensor:
    return torch.arange(start, start + count, device=device) * _STEP


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shifted(z, 30)) * _FIRST
    z = (z ^ _shifted(z, 27)) * _SECOND
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, by: int) -> Tensor:
    """Right shift that fills with zeros; torch's own copies the sign."""
    mask: int = 2 ** (64 - by) - 1
    return (z >> by) & mask
