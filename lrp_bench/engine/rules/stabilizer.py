"""The few numerical choices that every rule shares."""

from __future__ import annotations

import torch
from torch import Tensor


def stabilize(z: Tensor, epsilon: float, *, relative: bool = False) -> Tensor:
    """The stabilised z + epsilon * sign(z), with sign(0) = +1; the shape of z.

    relative: epsilon is multiplied by the root mean square of each sample's z, so that it has no unit.
    """
    offset = epsilon * rms(z) if relative else z.new_full((), epsilon)
    return torch.copysign(offset, z).add_(z)  # IEEE's -0 is a sum of nothing but zeros, which receive nothing


def rms(z: Tensor) -> Tensor:
    """Root mean square over all dimensions but the first: (batch, 1, ...)."""
    return z.square().mean(dim=tuple(range(1, z.dim())), keepdim=True).sqrt()


def quotient(R: Tensor, z: Tensor, epsilon: float, *, relative: bool = False, sign: int = 0) -> Tensor:
    """R / stabilize(z, epsilon), in the shape of z; with epsilon 0 the quotient is 0 where z is 0 (0/0 = 0).

    z is used up: without a sign to look for, no memory but its own is touched. sign: +1 where z is known to be never
    negative, -1 where it is never positive.
    """
    if epsilon == 0.0 or relative:  # which is 0 too where all of a sample's z are
        denominator = stabilize(z, epsilon, relative=True) if relative else z
        zero = denominator == 0
        return torch.where(zero, 0.0, R / torch.where(zero, 1.0, denominator))
    denominator = z.add_(sign * epsilon) if sign else stabilize(z, epsilon)
    return torch.div(R, denominator, out=denominator)
