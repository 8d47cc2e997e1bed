"""What a perturbation removes at once: a pixel, a patch, a superpixel, a feature, a token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from lrp_bench.contracts import BenchError, NotApplicable
from lrp_bench.metrics.checks import check_finite, check_images, check_relevance, check_whole


class Regions(NamedTuple):
    """One batch cut into units.

    scores: (batch, units), the mean signed relevance of each unit; spread: (batch, units) -> a tensor that broadcasts
    against the inputs and holds at each position the number of the unit it belongs to. sizes: (batch, units) int64, the
    positions of each unit, 0 for one that this sample does not have; None: all of one size. nominal: about how many
    units an input has, whatever the batch; None: exactly `units`.
    """

    scores: Tensor
    spread: Callable[[Tensor], Tensor]
    sizes: Tensor | None = None
    nominal: int | None = None

    def positions(self) -> Tensor:
        """(batch, units) int64: the positions of each unit."""
        return torch.ones_like(self.scores, dtype=torch.int64) if self.sizes is None else self.sizes

    def ties(self) -> Tensor:
        """Share of units whose relevance equals that of another unit: (batch,) in [0, 1]."""
        exists = self.positions() > 0
        scores = self.scores.masked_fill(~exists, float("nan")).sort(1).values  # NaN equals nothing
        same = scores[:, 1:] == scores[:, :-1]
        none = same.new_zeros(len(same), 1)
        tied = torch.cat([none, same], 1) | torch.cat([same, none], 1)
        return tied.sum(1) / exists.sum(1).to(scores.dtype)


class Unit(Protocol):
    """A way to cut inputs into units."""

    def __call__(self, x: Tensor, relevance: Tensor) -> Regions:
        """Cut x (batch, ...), with relevance of the same shape.

        Raises BenchError for relevance that cannot be used, NotApplicable for inputs that have no such units.
        """
        ...


@dataclass(frozen=True)
class Pixels:
    """Every position is a unit, with all its channels: x is (batch, channels, ...); scores are sums over channels."""

    def __call__(self, x: Tensor, relevance: Tensor) -> Regions:
        """See Unit."""
        if x.dim() < 3:
            raise NotApplicable(
                f"Expected inputs (batch, channels, ...) for Pixels, got {tuple(x.shape)}: use Features or Tokens"
            )
        check_relevance(relevance, x)
        return Regions(relevance.sum(1).flatten(1), lambda values: values.reshape(-1, 1, *x.shape[2:]))


@dataclass(frozen=True)
class Patches:
    """Squares of size x size pixels from the upper left; what is left at an edge is a smaller patch of its own.

    x is (batch, channels, height, width); a patch scores the mean, over its pixels, of the sum over channels.
    """

    size: int = 4

    def __post_init__(self) -> None:
        check_whole("size", self.size)

    def __call__(self, x: Tensor, relevance: Tensor) -> Regions:
        """See Unit."""
        check_images(x, "Patches", "use Features or Tokens")
        check_relevance(relevance, x)
        height, width = x.shape[2:]
        if self.size > min(height, width):
            raise BenchError(
                f"Expected a patch size of at most {min(height, width)}, got {self.size}: make patches smaller"
            )
        scores = F.avg_pool2d(relevance.sum(1, keepdim=True), self.size, ceil_mode=True, count_include_pad=False)

        def spread(values: Tensor) -> Tensor:
            coarse = values.reshape(scores.shape)
            fine = coarse.repeat_interleave(self.size, 2).repeat_interleave(self.size, 3)
            return fine[:, :, :height, :width]

        return Regions(scores.flatten(1), spread, self._sizes(x))

    def _sizes(self, x: Tensor) -> Tensor | None:
        if not any(length % self.size for length in x.shape[2:]):
            return None
        down, across = (
            (length - torch.arange(0, length, self.size, device=x.device)).clamp(max=self.size)
            for length in x.shape[2:]
        )
        return torch.outer(down, across).reshape(1, -1).expand(len(x), -1)


@dataclass(frozen=True)
class Features:
    """Every column of a table is a unit: x is (batch, features)."""

    def __call__(self, x: Tensor, relevance: Tensor) -> Regions:
        """See Unit."""
        if x.dim() != 2:
            raise NotApplicable(
                f"Expected inputs (batch, features) for Features, got {tuple(x.shape)}: use Pixels or Patches"
            )
        check_relevance(relevance, x)
        return Regions(relevance, lambda values: values)


@dataclass(frozen=True)
class Tokens:
    """Every token is a unit: x is (batch, tokens) ids, or (batch, tokens, embedding).

    Relevance is (batch, tokens), or the shape of x, whose embedding axis is then summed. What takes the place of a
    token is the imputer's business: Constant(id of the mask token) for ids, Constant(0.0) for embeddings.

    Args:
        padding: the id that fills up short texts. It is never removed, and is no part of the fractions. Of embeddings
            the vectors of zeros count as padding, as nn.Embedding(padding_idx=...) makes them. None: there is none.
    """

    padding: int | None = None

    def __post_init__(self) -> None:
        if self.padding is not None:
            check_whole("padding", self.padding, least=0)

    def __call__(self, x: Tensor, relevance: Tensor) -> Regions:
        """See Unit."""
        if x.dim() not in (2, 3):
            raise NotApplicable(
                f"Expected inputs (batch, tokens) or (batch, tokens, embedding) for Tokens, got {tuple(x.shape)}: "
                "use Pixels or Patches"
            )
        if relevance.dim() == 2 and relevance.shape == x.shape[:2]:
            check_finite(relevance)
        else:
            check_relevance(relevance, x)
        scores = relevance.sum(2) if relevance.dim() == 3 else relevance
        return Regions(scores, lambda values: values.reshape(*values.shape, *(1,) * (x.dim() - 2)), self._sizes(x))

    def _sizes(self, x: Tensor) -> Tensor | None:
        if self.padding is None:
            return None
        return (x != self.padding if x.dim() == 2 else (x != 0).any(2)).long()


def default_unit(x: Tensor) -> Unit:
    """The finest unit: columns of a table, tokens of ids, pixels of everything else."""
    if x.dim() != 2:
        return Pixels()
    return Features() if x.is_floating_point() else Tokens()
