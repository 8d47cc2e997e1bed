"""What a perturbation puts in the place of what it removes, always drawn from the original input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.metrics.chance import random_uniform
from lrp_bench.metrics.checks import check_number

Fill = Callable[[Tensor, Tensor], Tensor]
"""(rows, removed) -> inputs: samples `rows` (m,) of the batch, with new values where `removed` (m, ...) is True."""

_NOISE = 2


class Imputer(Protocol):
    """A source of replacement values."""

    def __call__(self, x: Tensor, seed: int) -> Fill:
        """Prepare to fill x (batch, ...); a draw is made once per sample, from the sample and the seed alone."""
        ...


@dataclass(frozen=True)
class Constant:
    """One value everywhere. For standardised inputs 0 is the training set's mean."""

    value: float = 0.0

    def __post_init__(self) -> None:
        check_number("value", self.value)

    def __call__(self, x: Tensor, seed: int) -> Fill:
        """See Imputer."""
        return lambda rows, removed: x[rows].masked_fill_(removed, self.value)


@dataclass(frozen=True)
class DatasetMean:
    """The data set's mean: one number, one per channel (or per column of a table), or one for every input value."""

    mean: float | Sequence[float] | Tensor

    def __call__(self, x: Tensor, seed: int) -> Fill:
        """See Imputer."""
        if isinstance(self.mean, int | float):
            return _paste(x, torch.full_like(x, self.mean))
        mean = self.mean if isinstance(self.mean, Tensor) else torch.tensor(list(self.mean))
        per_channel = mean.dim() == 1 and len(mean) == x.shape[1]
        if not per_channel and mean.shape != x.shape[1:]:
            raise BenchError(
                f"Expected a mean of shape {(x.shape[1],)} or {tuple(x.shape[1:])}, got {tuple(mean.shape)}: "
                "give one value per channel or one per input value"
            )
        mean = mean.reshape(-1, *(1,) * (x.dim() - 2)) if per_channel else mean
        return _paste(x, mean.to(x).expand_as(x))


@dataclass(frozen=True)
class ImageMean:
    """The mean of the same image and channel: x is (batch, channels, ...)."""

    def __call__(self, x: Tensor, seed: int) -> Fill:
        """See Imputer."""
        if x.dim() < 3:
            raise BenchError(
                f"Expected images (batch, channels, ...) for ImageMean, got {tuple(x.shape)}: use DatasetMean"
            )
        return _paste(x, x.mean(tuple(range(2, x.dim())), keepdim=True).expand_as(x))


@dataclass(frozen=True)
class Noise:
    """Uniform noise in [low, high), in units of the model's input; one draw for each input value and sample."""

    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_number("low", self.low)
        check_number("high", self.high, above=self.low)

    def __call__(self, x: Tensor, seed: int) -> Fill:
        """See Imputer."""
        return _paste(x, self.low + (self.high - self.low) * random_uniform(x, seed, _NOISE))


@dataclass(frozen=True)
class Blur:
    """The image behind a Gaussian blur; at the edges the weights of the pixels inside are scaled to sum to 1.

    sigma: standard deviation in pixels. x is (batch, channels, height, width).
    """

    sigma: float = 3.0

    def __post_init__(self) -> None:
        check_number("sigma", self.sigma, above=0)

    def __call__(self, x: Tensor, seed: int) -> Fill:
        """See Imputer."""
        if x.dim() != 4:
            raise BenchError(
                f"Expected images (batch, channels, height, width) for Blur, got {tuple(x.shape)}: use Constant"
            )
        return _paste(x, self._weights(x, 2) @ x @ self._weights(x, 3).T)

    def _weights(self, x: Tensor, axis: int) -> Tensor:
        """(n, n): row i holds the weights with which the n pixels of one line make up pixel i."""
        position = torch.arange(x.shape[axis], device=x.device, dtype=x.dtype)
        distance = (position[:, None] - position) / self.sigma
        return torch.softmax(-distance.square() / 2, dim=1)


def _paste(x: Tensor, fill: Tensor) -> Fill:
    return lambda rows, removed: torch.where(removed, fill[rows], x[rows])
