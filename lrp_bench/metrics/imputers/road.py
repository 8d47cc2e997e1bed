"""Noisy linear imputation: what is removed becomes the weighted mean of its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.linalg import vecdot, vector_norm
from torch.nn import functional as F

from lrp_bench import chance
from lrp_bench.chance import Purpose
from lrp_bench.contracts import BenchError
from lrp_bench.metrics.checks import check_floating, check_images, check_number
from lrp_bench.metrics.imputers.fills import Fill

_CHECKED_EVERY = 4  # iterations; a look at the residuals makes a GPU wait


@dataclass(frozen=True)
class Road:
    """ROAD's imputation (Rong et al. 2022): each removed pixel is the weighted mean of its 8 neighbours, plus noise.

    Weights are 1/6 for direct and 1/12 for diagonal neighbours, over their sum at an edge: one sparse linear system for
    each image and set of removed pixels. All are solved at once, on the inputs' device, by conjugate gradients. Where
    the whole image is removed nothing determines a value: it becomes 0, for standardised inputs the data set's mean.

    Args:
        sigma: standard deviation of the Gaussian noise, in units of the model's input; one draw for each input value
            and sample. 0.01 in the authors' code.
        tolerance: of the residual, relative to the right-hand side, in the Euclidean norm of each channel.
    """

    sigma: float = 0.01
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        check_number("sigma", self.sigma, least=0)
        check_number("tolerance", self.tolerance, above=0, below=1)

    def __call__(self, x: Tensor, seed: int) -> Fill:
        """See Imputer."""
        check_images(x, "Road", "use Constant or Sample")
        check_floating(x, "Road", "use images of real numbers")
        noise = self.sigma * chance.normal_like(x, seed, Purpose.ROAD_NOISE)

        def fill(rows: Tensor, removed: Tensor) -> Tensor:
            removed = removed.expand(-1, -1, *x.shape[2:])
            return torch.where(removed, interpolated(x[rows], removed, self.tolerance) + noise[rows], x[rows])

        return fill


def interpolated(x: Tensor, removed: Tensor, tolerance: float) -> Tensor:
    """The removed pixels of images, each the weighted mean of its 8 neighbours, without noise.

    Args:
        x: (m, channels, height, width).
        removed: (m, 1, height, width) bool.
        tolerance: see Road.

    Returns:
        The shape of x; 0 at the other pixels.
    """
    grid = _Grid(x.shape[2] + 2, x.shape[3] + 2)
    diagonal = grid.around(grid.pad(torch.ones_like(x[:1, :1]))) / 12
    share = grid.inner(grid.pad(removed.to(x.dtype) / 12))
    residual = grid.around(grid.pad(x.masked_fill(removed, 0.0))) * share
    squared = _squared(residual)
    direction = F.pad(residual, (grid.margin, grid.margin))
    image = torch.arange(len(x), device=x.device)
    search = _Search(image, share, torch.zeros_like(residual), residual, direction, squared, tolerance**2 * squared)
    found = torch.zeros_like(residual)
    for _ in range(0, 10 * x[0, 0].numel() + 100, _CHECKED_EVERY):  # in exact arithmetic one per pixel is enough
        unsolved = (search.squared > search.goal).any(1).nonzero()[:, 0]
        if len(unsolved) < len(search.image):
            found[search.image] = search.solution  # of the others there is more to come
            search = search.only(unsolved)
        if not len(search.image):
            return grid.image(found)
        for _ in range(_CHECKED_EVERY):
            search = _step(search, diagonal, grid)
    raise BenchError(f"Expected Road's system to be solved, got stuck above {tolerance}: give a larger tolerance")


class _Grid(NamedTuple):
    """Images with a border of zeros, read as one long line: a neighbour is a shift, and memory is walked in order."""

    height: int
    width: int

    @property
    def margin(self) -> int:
        return self.width + 1

    def pad(self, x: Tensor) -> Tensor:
        return F.pad(x, (1, 1, 1, 1)).flatten(2)

    def inner(self, line: Tensor) -> Tensor:
        """The line from the first pixel to the last, with the borders in between."""
        return line[..., self.margin : -self.margin]

    def around(self, line: Tensor) -> Tensor:
        """Inner part of 1 2 1 / 2 4 2 / 1 2 1 times the neighbourhoods: 12 times the weights, and 4 times the pixel."""
        row = (line[..., :-2] + line[..., 2:]).add_(line[..., 1:-1], alpha=2)
        w = self.width
        return (row[..., : -2 * w] + row[..., 2 * w :]).add_(row[..., w:-w], alpha=2)

    def image(self, inner: Tensor) -> Tensor:
        whole = F.pad(inner, (self.margin, self.margin))
        return whole.reshape(*whole.shape[:2], self.height, self.width)[..., 1:-1, 1:-1]


class _Search(NamedTuple):
    """Conjugate gradients for the images that are not solved yet, all (m, channels, line), 0 at known pixels.

    image: (m,), which image; share: (m, 1, line), 1/12 at removed pixels; direction has its margins; squared: (m,
    channels), the squared residual, and goal, where to stop.
    """

    image: Tensor
    share: Tensor
    solution: Tensor
    residual: Tensor
    direction: Tensor
    squared: Tensor
    goal: Tensor

    def only(self, kept: Tensor) -> _Search:
        return _Search(*(part[kept] for part in self))


def _step(at: _Search, diagonal: Tensor, grid: _Grid) -> _Search:
    # in place: memory traffic is all that this costs
    direction, tiny = grid.inner(at.direction), torch.finfo(at.residual.dtype).tiny
    turned = grid.around(at.direction).mul_(at.share).neg_().addcmul_(diagonal, direction)
    length = (at.squared / vecdot(direction, turned).clamp_(min=tiny)).unsqueeze(2)
    at.solution.addcmul_(length, direction)
    at.residual.addcmul_(length, turned, value=-1)
    squared = _squared(at.residual)
    direction.mul_((squared / at.squared.clamp(min=tiny)).unsqueeze(2)).add_(at.residual)
    return at._replace(squared=squared)


def _squared(line: Tensor) -> Tensor:
    norm: Tensor = vector_norm(line, dim=-1)
    return norm.square()
