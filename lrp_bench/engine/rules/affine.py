"""Affine operators as data: forward, adjoint, and the same operator with modified weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, eq=False)
class Affine:
    """An operator x -> L(x; weight) + bias, with L linear in x and in weight.

    bias has the shape of one sample's output, or broadcasts to it. Modified copies are made once and kept. cheap: its
    output takes less to compute again than to keep.
    """

    cheap: ClassVar[bool] = False
    weight: Tensor
    bias: Tensor | None
    _kept: dict[object, Affine] = field(default_factory=dict, repr=False, init=False)

    def linear(self, x: Tensor) -> Tensor:
        """L(x; weight), without the bias."""
        raise TypeError(f"{type(self).__name__} does not define its linear part")

    def pull(self, s: Tensor, x: Tensor) -> Tensor:
        """The adjoint: sum over outputs k of weight_jk * s_k, in the shape of x (its values are not used)."""
        raise TypeError(f"{type(self).__name__} does not define its adjoint")

    def __call__(self, x: Tensor) -> Tensor:
        """L(x; weight) + bias."""
        z = self.linear(x)
        return z if self.offset is None else z + self.offset

    @property
    def offset(self) -> Tensor | None:
        """The bias in a shape that broadcasts to (batch, ...) outputs."""
        return self.bias

    def modified(self, key: object, change: Callable[[Tensor], Tensor]) -> Self:
        """This operator with `change` applied to weight and to bias, made once per key."""
        if key not in self._kept:
            bias = None if self.bias is None else change(self.bias)
            self._kept[key] = self._with(change(self.weight), bias)
        return self._kept[key]  # type: ignore[return-value]

    def _with(self, weight: Tensor, bias: Tensor | None) -> Self:
        copy: Self = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, weight=weight, bias=bias, _kept={})
        return copy

    @property
    def positive(self) -> Self:
        """max(0, weight), max(0, bias)."""
        return self.modified("positive", lambda w: w.clamp(min=0))

    @property
    def negative(self) -> Self:
        """min(0, weight), min(0, bias)."""
        return self.modified("negative", lambda w: w.clamp(max=0))

    @property
    def flat(self) -> Self:
        """Every weight one, the bias too: each input counts the same."""
        return self.modified("flat", torch.ones_like)

    @property
    def squared(self) -> Self:
        """Weight ** 2, bias ** 2."""
        return self.modified("squared", torch.square)

    def favoured(self, gamma: float, *, negative: bool = False) -> Self:
        """Weight + gamma * max(0, weight), and the same for the bias; or the negative parts favoured."""
        part: Callable[[Tensor], Tensor] = (lambda w: w.clamp(max=0)) if negative else (lambda w: w.clamp(min=0))
        return self.modified((gamma, negative), lambda w: w + gamma * part(w))


@dataclass(frozen=True, eq=False)
class Dense(Affine):
    """weight (out, in), acting on the last dimension."""

    def linear(self, x: Tensor) -> Tensor:  # noqa: D102
        return F.linear(x, self.weight)

    def pull(self, s: Tensor, x: Tensor) -> Tensor:  # noqa: D102
        return s @ self.weight

    def __call__(self, x: Tensor) -> Tensor:  # noqa: D102
        return F.linear(x, self.weight, self.bias)


@dataclass(frozen=True, eq=False)
class MatrixProduct(Affine):
    """x @ weight, or weight @ x, batched and broadcast as torch.matmul does; both of two dimensions or more."""

    right: bool

    def linear(self, x: Tensor) -> Tensor:  # noqa: D102
        return x @ self.weight if self.right else self.weight @ x

    def pull(self, s: Tensor, x: Tensor) -> Tensor:  # noqa: D102
        return (s @ self.weight.mT if self.right else self.weight.mT @ s).sum_to_size(x.shape)

    @property
    def flat(self) -> Self:  # noqa: D102
        return self.modified("flat", _there)


@dataclass(frozen=True, eq=False)
class Convolution(Affine):
    """weight (out, in / groups, *kernel), or (in, out / groups, *kernel) where transposed; bias (out,).

    behind: zeros to append along each dimension, beside the padding, for an even kernel that keeps the size.
    """

    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    transposed: bool
    output_padding: Sequence[int]
    groups: int
    behind: Sequence[int] = ()

    def _geometry(self) -> tuple[Any, ...]:
        return self.stride, self.padding, self.dilation, self.transposed, self.output_padding, self.groups

    def linear(self, x: Tensor) -> Tensor:  # noqa: D102
        return torch.convolution(self._padded(x), self.weight, None, *self._geometry())

    def pull(self, s: Tensor, x: Tensor) -> Tensor:  # noqa: D102
        only_input = [True, False, False]
        given = self._padded(x)
        pulled: Tensor = torch.ops.aten.convolution_backward(
            s, given, self.weight, None, *self._geometry(), only_input
        )[0]
        return pulled if given is x else F.pad(pulled, _ends([-n for n in self.behind]))

    def __call__(self, x: Tensor) -> Tensor:  # noqa: D102
        return torch.convolution(self._padded(x), self.weight, self.bias, *self._geometry())

    def _padded(self, x: Tensor) -> Tensor:
        return F.pad(x, _ends(self.behind)) if any(self.behind) else x

    @property
    def offset(self) -> Tensor | None:  # noqa: D102
        return None if self.bias is None else self.bias.view(-1, *[1] * len(self.stride))


@dataclass(frozen=True, eq=False)
class Scale(Affine):
    """x * weight + bias, element by element: batch norm in eval mode, products and sums with a constant."""

    cheap: ClassVar[bool] = True

    def linear(self, x: Tensor) -> Tensor:  # noqa: D102
        return x * self.weight

    def pull(self, s: Tensor, x: Tensor) -> Tensor:  # noqa: D102
        return (s * self.weight).sum_to_size(x.shape)

    @property
    def flat(self) -> Self:
        """What is multiplied by zero is masked out."""
        return self.modified("flat", _there)


@dataclass(frozen=True, eq=False)
class Averaging(Affine):
    """A mean over regions: `average` is linear with equal non-negative weights, and weight is a factor."""

    average: Callable[[Tensor], Tensor]

    def linear(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.average(x) * self.weight

    def pull(self, s: Tensor, x: Tensor) -> Tensor:  # noqa: D102
        with torch.enable_grad():
            probe = x.detach().requires_grad_()
            pulled = torch.autograd.grad(self.average(probe), probe, s * self.weight)[0]
        return pulled.contiguous() if 0 in pulled.stride() else pulled  # a mean's is an expanded view


def _ends(numbers: Sequence[int]) -> list[int]:
    """What F.pad is told, to append so many zeros along each dimension."""
    return [n for number in reversed(numbers) for n in (0, number)]


def _there(weight: Tensor) -> Tensor:
    return (weight != 0).to(weight.dtype)
