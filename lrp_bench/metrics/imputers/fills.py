"""What a perturbation puts in the place of what it removes, always drawn from the original input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from lrp_bench import chance
from lrp_bench.chance import Purpose
from lrp_bench.contracts import BenchError, NotApplicable
from lrp_bench.metrics.checks import check_floating, check_images, check_number
from lrp_bench.transfers import sent

Fill = Callable[[Tensor, Tensor], Tensor]
"""(rows, removed) -> inputs: samples `rows` (m,) of the batch, with new values where `removed` (m, ...) is True."""


class Imputer(Protocol):
    """A source of replacement values."""

    def __call__(self, x: Tensor, seed: int) -> Fill:
        """Prepare to fill x (batch, ...); a draw is made once per sample, from the sample and the seed alone."""
        ...


@runtime_checkable
class FromData(Protocol):
    """An imputer that needs training inputs."""

    def fitted(self, background: Tensor | None) -> Imputer:
        """The same imputer with the training inputs (n, ...) that it needs, unless it already has what it needs."""
        ...


@dataclass(frozen=True)
class Constant:
    """One value everywhere. For standardised inputs 0 is the training set's mean.

    For Tokens: the id of the mask token where inputs are ids; 0.0, the zero vector, where they are embeddings.
    """

    value: float = 0.0

    def __post_init__(self) -> None:
        check_number("value", self.value)

    def __call__(self, x: Tensor, seed: int) -> Fill:
        """See Imputer."""
        if not x.is_floating_point() and self.value != int(self.value):
            raise BenchError(f"Expected value to be a token's id, got {self.value}: use that of the mask token")
        return lambda rows, removed: x[rows].masked_fill_(removed, self.value)


@dataclass(frozen=True)
class DatasetMean:
    """The data set's mean: one number, one per channel (or per column of a table), or one for every input value.

    mean None: that of the training inputs of `fitted`, one for every input value.
    """

    mean: float | Sequence[float] | Tensor | None = None

    def fitted(self, background: Tensor | None) -> DatasetMean:
        """See FromData."""
        if self.mean is not None or background is None:
            return self
        check_floating(background, "DatasetMean", "use Constant with the id of the mask token, or Sample")
        return replace(self, mean=background.mean(0))

    def __call__(self, x: Tensor, seed: int) -> Fill:
        """See Imputer."""
        check_floating(x, "DatasetMean", "use Constant with the id of the mask token, or Sample")
        if self.mean is None:
            raise BenchError("Expected DatasetMean to have a mean, got None: pass mean, or training inputs to fitted")
        if isinstance(self.mean, int | float):
            return _paste(x, torch.full_like(x, self.mean))
        mean = self.mean if isinstance(self.mean, Tensor) else sent(list(self.mean), x)
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
        check_floating(x, "ImageMean", "use Constant with the id of the mask token")
        if x.dim() < 3:
            raise NotApplicable(
                f"Expected images (batch, channels, ...) for ImageMean, got {tuple(x.shape)}: use DatasetMean"
            )
        return _paste(x, x.mean(tuple(range(2, x.dim())), keepdim=True).expand_as(x))


@dataclass(frozen=True)
class Noise:
    """Uniform noise from low to high, in units of the model's input; one draw for each input value and sample."""

    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_number("low", self.low)
        check_number("high", self.high, above=self.low)

    def __call__(self, x: Tensor, seed: int) -> Fill:
        """See Imputer."""
        check_floating(x, "Noise", "use Constant with the id of the mask token, or Sample")
        return _paste(x, self.low + (self.high - self.low) * chance.uniform_like(x, seed, Purpose.FILL_NOISE))


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
        check_images(x, "Blur", "use Constant or Sample")
        return _paste(x, self._weights(x, 2) @ x @ self._weights(x, 3).T)

    def _weights(self, x: Tensor, axis: int) -> Tensor:
        """(n, n): row i holds the weights with which the n pixels of one line make up pixel i."""
        position = torch.arange(x.shape[axis], device=x.device, dtype=x.dtype)
        distance = (position[:, None] - position) / self.sigma
        return torch.softmax(-distance.square() / 2, dim=1)


@dataclass(frozen=True)
class Sample:
    """Values of the training set: for images one training image, for tables and ids (batch, n) a draw for each column.

    pool: (n, ...) training inputs; None: those of `fitted`. What is drawn depends on the explained sample and the seed.
    """

    pool: Tensor | None = None

    def fitted(self, background: Tensor | None) -> Sample:
        """See FromData."""
        return self if self.pool is not None or background is None else replace(self, pool=background)

    def __call__(self, x: Tensor, seed: int) -> Fill:
        """See Imputer."""
        if self.pool is None:
            raise BenchError("Expected Sample to have training inputs, got none: pass pool, or call fitted")
        if self.pool.shape[1:] != x.shape[1:] or not len(self.pool):
            raise BenchError(
                f"Expected training inputs (n, {', '.join(map(str, x.shape[1:]))}), got {tuple(self.pool.shape)}: "
                "pass inputs as the model takes them"
            )
        pool = self.pool.to(x)
        if x.dim() > 2:
            drawn = chance.index(x, 1, len(pool), seed, Purpose.FILL_SAMPLE)[:, 0]
            return lambda rows, removed: torch.where(removed, pool[drawn[rows]], x[rows])
        return _paste(x, pool.gather(0, chance.index(x, x.shape[1], len(pool), seed, Purpose.FILL_SAMPLE)))


def _paste(x: Tensor, fill: Tensor) -> Fill:
    return lambda rows, removed: torch.where(removed, fill[rows], x[rows])
