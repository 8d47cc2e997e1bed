"""Random numbers that belong to a sample: a function of seed, purpose and values, the same in any batch.

They come from a counter, not from a stream: u_i = splitmix64(key + i * step), the key being a hash of the seed and of
the sample's values (as float32). So they do not depend on the batch or its order, and on the device only up to the
rounding of the normal quantile; two identical samples share their draws.
"""

from __future__ import annotations

from enum import IntEnum, unique

import torch
from torch import Tensor

# Constants of splitmix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators"), as signed int64.
_STEP = 0x9E3779B97F4A7C15 - 2**64
_FIRST = 0xBF58476D1CE4E5B9 - 2**64
_SECOND = 0x94D049BB133111EB - 2**64


@unique
class Purpose(IntEnum):
    """What numbers are drawn for. Each purpose has 2**40 draws of its own, so that none sees another's numbers."""

    RANDOM_MAP = 0
    INPUT_NOISE = 1  # of SmoothGrad and GradientShap
    BASELINE = 2
    PLACE_ON_LINE = 3
    PATCH_ORDER = 4
    GENERATOR_SEED = 5
    TIED_UNITS = 6
    FILL_NOISE = 7
    FILL_SAMPLE = 8
    ROAD_NOISE = 9
    SET_NAMES = 10
    OTHER_CLASS = 11
    SMPRT_NOISE = 12
    SENSITIVITY_NOISE = 13
    INFIDELITY_PIXELS = 14
    ADVERSARIAL_SIGNS = 15


def bits(samples: Tensor, count: int, seed: int, purpose: Purpose, start: int | Tensor = 0) -> Tensor:
    """(batch, ...) -> (batch, count) int64, all bits random: the draws start, ..., start + count - 1 of each sample.

    start: one number, or (batch,) int64.
    """
    # Adding 0 makes -0 and 0, which are equal values, equal bits.
    content = (samples.flatten(1).to(torch.float32) + 0.0).view(torch.int32).to(torch.int64)
    hashed = _mix(content + _counter(content.shape[1], content.device)).sum(1, keepdim=True)
    key = _mix(hashed ^ _mix(content.new_full((1,), _wrapped(seed))))
    begin = start.unsqueeze(1) if isinstance(start, Tensor) else content.new_full((1,), start)
    return _mix(key + _counter(count, content.device) + ((purpose << 40) + begin) * _STEP)


def uniform(samples: Tensor, count: int, seed: int, purpose: Purpose, start: int | Tensor = 0) -> Tensor:
    """(batch, count) float64 draws from the open interval (0, 1); arguments as in `bits`."""
    high = _shifted(bits(samples, count, seed, purpose, start), 12)  # 52 bits, so that u + 1/2 is exact
    return (high.double() + 0.5) * 2.0**-52


def normal(samples: Tensor, count: int, seed: int, purpose: Purpose, start: int | Tensor = 0) -> Tensor:
    """(batch, count) float64 draws from N(0, 1); arguments as in `bits`."""
    quantile: Tensor = torch.special.ndtri(uniform(samples, count, seed, purpose, start))
    return quantile


def uniform_like(samples: Tensor, seed: int, purpose: Purpose, draw: int | Tensor = 0) -> Tensor:
    """Uniform numbers from 0 to 1 of the shape and type of samples (batch, ...); draw: how many such came before."""
    size = samples[0].numel()
    return uniform(samples, size, seed, purpose, draw * size).view(samples.shape).to(samples.dtype)


def normal_like(samples: Tensor, seed: int, purpose: Purpose, draw: int | Tensor = 0) -> Tensor:
    """Standard normal numbers of the shape and type of samples (batch, ...); draw: how many such came before."""
    size = samples[0].numel()
    return normal(samples, size, seed, purpose, draw * size).view(samples.shape).to(samples.dtype)


def index(samples: Tensor, count: int, below: int, seed: int, purpose: Purpose) -> Tensor:
    """(batch, ...) -> (batch, count) int64: whole numbers in [0, below)."""
    return _shifted(bits(samples, count, seed, purpose), 1) % below


def order(samples: Tensor, count: int, seed: int, purpose: Purpose, draw: int | Tensor = 0) -> Tensor:
    """(batch, ...) -> (batch, count): a permutation of 0..count-1 for each sample; draw: how many came before."""
    return _shifted(bits(samples, count, seed, purpose, draw * count), 1).argsort(dim=1, stable=True)


def _counter(count: int, device: torch.device) -> Tensor:
    return torch.arange(count, device=device) * _STEP


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shifted(z, 30)) * _FIRST
    z = (z ^ _shifted(z, 27)) * _SECOND
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, by: int) -> Tensor:
    """Right shift that fills with zeros; torch's own copies the sign."""
    mask: int = 2 ** (64 - by) - 1
    return (z >> by) & mask


def _wrapped(value: int) -> int:
    """The signed 64-bit number that is left of an integer."""
    return (value + 2**63) % 2**64 - 2**63
