"""Random numbers that belong to a sample: a hash of its content, a seed, a purpose and a counter.

The stream of a generator would depend on who else is in the batch. These numbers do not, are the same on every device,
and are drawn for all samples at once. Samples of equal content draw equal numbers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Purpose = int | Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit number, like the two below
_FIRST, _SECOND = -4658895280553007687, -7723592293110705685


def random_bits(x: Tensor, count: int, seed: int, purpose: Purpose) -> Tensor:
    """(batch, ...) -> (batch, count) int64, all bits random: SplitMix64 (Steele et al. 2014), keyed by the sample.

    purpose: one number, or (batch,) int64.
    """
    key = _mix(_mix(_content(x) + _wrap(seed)) + purpose)
    return _mix(key.unsqueeze(1) + _counter(count, x.device))


def random_uniform(x: Tensor, seed: int, purpose: Purpose) -> Tensor:
    """Numbers in [0, 1), of the shape, type and device of x (batch, ...)."""
    bits = random_bits(x, x[0].numel(), seed, purpose)
    return (_shift(bits, 40).to(x.dtype) * 2.0**-24).reshape(x.shape)


def random_normal(x: Tensor, seed: int, purpose: Purpose) -> Tensor:
    """Standard normal numbers, of the shape, type and device of x (batch, ...); Box and Muller's way, none above 6."""
    bits = random_bits(x, 2 * x[0].numel(), seed, purpose)
    radius, angle = (2.0**-24 * (_shift(bits, 40) + 1)).to(x.dtype).reshape(len(x), 2, -1).unbind(1)
    return ((-2 * radius.log()).sqrt() * (2 * math.pi * angle).cos()).reshape(x.shape)


def random_index(x: Tensor, count: int, below: int, seed: int, purpose: Purpose) -> Tensor:
    """(batch, ...) -> (batch, count) int64: whole numbers in [0, below)."""
    return _shift(random_bits(x, count, seed, purpose), 1) % below


def random_order(x: Tensor, count: int, seed: int, purpose: Purpose) -> Tensor:
    """(batch, ...) -> (batch, count): one permutation of 0..count-1 for each sample."""
    return random_bits(x, count, seed, purpose).argsort(dim=1, stable=True)


def _content(x: Tensor) -> Tensor:
    values = x.flatten(1)
    values = values.float().view(torch.int32) if values.is_floating_point() else values
    return _mix(values.long() ^ _counter(values.shape[1], x.device)).sum(1)


def _counter(count: int, device: torch.device) -> Tensor:
    return torch.arange(1, count + 1, device=device) * _GOLDEN


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _FIRST
    z = (z ^ _shift(z, 27)) * _SECOND
    return z ^ _shift(z, 31)


def _shift(z: Tensor, by: int) -> Tensor:
    """Shift right and fill with zeros; int64's own shift copies the sign."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def _wrap(seed: int) -> int:
    return (seed + 2**63) % 2**64 - 2**63
