"""Linear, bilinear and trilinear interpolation: an affine operator with one matrix for each dimension of space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lrp_bench.engine.rules.affine import Affine


@dataclass(frozen=True, eq=False)
class Interpolation(Affine):
    """(batch, channels, *space) resampled along each dimension of space; weight is a factor.

    axes: for each dimension of space the weights (inputs, outputs), none of them negative; an output's sum to one.
    """

    axes: Sequence[Tensor]

    def linear(self, x: Tensor) -> Tensor:  # noqa: D102
        return _resampled(x, self.axes) * self.weight

    def pull(self, s: Tensor, x: Tensor) -> Tensor:  # noqa: D102
        return _resampled(s * self.weight, [axis.T for axis in self.axes])

    @property
    def flat(self) -> Interpolation:
        """Weight one for whatever an output is interpolated from."""
        return self._reweighted(lambda axis: (axis != 0).to(axis.dtype))

    @property
    def squared(self) -> Interpolation:
        """Weight ** 2."""
        return self._reweighted(torch.square)

    def _reweighted(self, change: Callable[[Tensor], Tensor]) -> Interpolation:
        return replace(self, axes=[change(axis) for axis in self.axes])


def linear_weights(length: int, like: Tensor, size: int, scale: float | None, *, align_corners: bool) -> Tensor:
    """How `size` outputs are interpolated from `length` inputs: (length, size), read off torch's own operator."""
    one = torch.eye(length, dtype=like.dtype, device=like.device)[None]
    return torch.ops.aten.upsample_linear1d(one, [size], align_corners, scale)[0]  # type: ignore[no-any-return]


def _resampled(x: Tensor, axes: Sequence[Tensor]) -> Tensor:
    for number, axis in enumerate(axes, start=2):
        x = torch.matmul(x.transpose(number, -1), axis).transpose(number, -1)
    return x
