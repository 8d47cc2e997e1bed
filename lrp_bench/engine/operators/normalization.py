"""Layer, group, instance and RMS norm: affine operators once their scale is taken for a constant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from lrp_bench.engine.rules.affine import Affine, Scale


@dataclass(frozen=True, eq=False)
class Normalization(Affine):
    """(x - mean) / deviation * weight + bias, with each group's deviation a constant; without a mean for RMS norm.

    The identity rule of Achtibat et al. 2024 (proposition 3.4), with the mean and the weights shared by LRP-epsilon.
    normalize: x -> (x - mean) * scale, which is its own adjoint, since the scale is one number per group.
    """

    cheap: ClassVar[bool] = True
    normalize: Callable[[Tensor], Tensor]

    def linear(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.normalize(x) * self.weight

    def pull(self, s: Tensor, x: Tensor) -> Tensor:  # noqa: D102
        return self.normalize(s * self.weight)

    @property
    def flat(self) -> Scale:  # type: ignore[override]
        """What a feature's bias took goes back to that feature."""
        return Scale(torch.ones_like(self.weight), None)


def normalization(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    epsilon: float,
    *,
    dims: tuple[int, ...],
    groups: tuple[int, ...] | None = None,
    centred: bool = True,
) -> Normalization:
    """The norm of this batch: over `dims` of x seen in the shape `groups`; weight and bias broadcast to x."""
    whole, shape = x.shape, x.shape if groups is None else groups
    grouped = x.reshape(shape)
    spread = grouped.var(dims, correction=0, keepdim=True) if centred else grouped.square().mean(dims, keepdim=True)
    scale = torch.rsqrt(spread + epsilon)

    def normalize(v: Tensor) -> Tensor:
        v = v.reshape(shape)
        v = v - v.mean(dims, keepdim=True) if centred else v
        return (v * scale).reshape(whole)

    return Normalization(x.new_ones(()) if weight is None else weight, bias, normalize)


def layer_norm(a: dict[str, Any]) -> Affine:
    """From the arguments of aten::layer_norm."""
    dims = tuple(range(-len(a["normalized_shape"]), 0))
    return normalization(a["input"], a["weight"], a["bias"], a["eps"], dims=dims)


def rms_norm(a: dict[str, Any]) -> Affine:
    """From the arguments of aten::rms_norm; epsilon defaults to that of the type, as torch has it."""
    dims = tuple(range(-len(a["normalized_shape"]), 0))
    epsilon = torch.finfo(a["input"].dtype).eps if a["eps"] is None else a["eps"]
    return normalization(a["input"], a["weight"], None, epsilon, dims=dims, centred=False)


def group_norm(a: dict[str, Any]) -> Affine:
    """From the arguments of aten::group_norm."""
    x: Tensor = a["input"]
    weight, bias = (_per_channel(a[name], x) for name in ("weight", "bias"))
    return normalization(x, weight, bias, a["eps"], dims=(-1,), groups=(x.shape[0], a["num_groups"], -1))


def instance_norm(a: dict[str, Any]) -> Affine:
    """From the arguments of aten::instance_norm; with running statistics it is a plain scale."""
    x: Tensor = a["input"]
    weight, bias = (_per_channel(a[name], x) for name in ("weight", "bias"))
    if not a["use_input_stats"]:
        mean, variance = (_per_channel(a[name], x) for name in ("running_mean", "running_var"))
        return frozen_norm(weight, bias, mean, variance, a["eps"])
    return normalization(x, weight, bias, a["eps"], dims=tuple(range(2, x.dim())))


def batch_norm(a: dict[str, Any]) -> Affine:
    """From the arguments of a batch norm without running statistics: the batch's own, mean and scale, are constants.

    So no relevance crosses from one sample to another.
    """
    x: Tensor = a["input"]
    weight, bias = (_per_channel(a[name], x) for name in ("weight", "bias"))
    variance, mean = torch.var_mean(x, (0, *range(2, x.dim())), correction=0, keepdim=True)
    return frozen_norm(weight, bias, mean, variance, a["eps"])


def frozen_norm(weight: Tensor | None, bias: Tensor | None, mean: Any, variance: Any, epsilon: float) -> Scale:
    """The scale and shift of a norm with stored statistics, in the shape of the statistics."""
    factor = torch.rsqrt(variance + epsilon)
    factor = factor if weight is None else factor * weight
    return Scale(factor, -mean * factor if bias is None else bias - mean * factor)


def _per_channel(value: Tensor | None, x: Tensor) -> Tensor | None:
    return None if value is None else value.view(-1, *[1] * (x.dim() - 2))
