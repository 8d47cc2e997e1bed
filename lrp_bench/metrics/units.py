"""What a perturbation removes at once: a pixel, a patch, a feature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor
from torch.nn import functional as F

from lrp_bench.contracts import BenchError
from lrp_bench.metrics.checks import check_whole


class Regions(NamedTuple):
    """One batch cut into units.

    scores: (batch, units), the mean signed relevance of each unit; spread: (batch, units) -> a tensor that broadcasts
    against the inputs and holds at each position the number of the unit it belongs to.
    """

    scores: Tensor
    spread: Callable[[Tensor], Tensor]


class Unit(Protocol):
    """A way to cut inputs into units."""

    def __call__(self, x: Tensor, relevance: Tensor) -> Regions:
        """Cut x (batch, ...), with relevance of the same shape."""
        ...


@dataclass(frozen=True)
class Pixels:
    """Every position is a unit, with all its channels: x is (batch, channels, ...); scores are sums over channels."""

    def __call__(self, x: Tensor, relevance: Tensor) -> Regions:
        """See Unit."""
        if x.dim() < 3:
            raise BenchError(f"Expected inputs (batch, channels, ...) for Pixels, got {tuple(x.shape)}: use Features")
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
        if x.dim() != 4:
            raise BenchError(
                f"Expected images (batch, channels, height, width) for Patches, got {tuple(x.shape)}: use Features"
            )
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

        return Regions(scores.flatten(1), spread)


@dataclass(frozen=True)
class Features:
    """Every column of a table is a unit: x is (batch, features)."""

    def __call__(self, x: Tensor, relevance: Tensor) -> Regions:
        """See Unit."""
        if x.dim() != 2:
            raise BenchError(
                f"Expected inputs (batch, features) for Features, got {tuple(x.shape)}: use Pixels or Patches"
            )
        return Regions(relevance, lambda values: values)


def default_unit(x: Tensor) -> Unit:
    """The finest unit: columns of a table, pixels of everything else."""
    return Features() if x.dim() == 2 else Pixels()
