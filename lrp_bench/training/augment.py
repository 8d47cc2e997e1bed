"""Changes of training inputs that leave their label as it is, made for a whole batch at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lrp_bench.contracts import BenchError


@dataclass(frozen=True)
class Affine:
    """Turn, shift, scale and mirror each picture by itself; what comes in from outside repeats the edge.

    Args:
        degrees: turned by at most this, either way.
        shift: shifted by at most this share of the side, either way.
        scale: made larger or smaller by at most this factor less 1.
        mirror: left and right exchanged in half of the pictures.
    """

    degrees: float = 0.0
    shift: float = 0.0
    scale: float = 0.0
    mirror: bool = False

    def __post_init__(self) -> None:
        for name, most in (("degrees", 180), ("shift", 1), ("scale", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                raise BenchError(f"Expected {name} from 0 to {most}, got {value!r}: correct trainer.augment.{name}")

    def __call__(self, x: Tensor) -> Tensor:
        """Change x (batch, channels, height, width) by draws from torch's generator."""
        if x.dim() != 4:
            raise BenchError(f"Expected pictures to augment, got {tuple(x.shape)}: set trainer.augment to null")
        grid = F.affine_grid(self._matrices(x), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)

    def _matrices(self, x: Tensor) -> Tensor:
        """(batch, 2, 3): where each picture's pixels come from, in units of half a side."""
        angle, size, *shift = torch.empty(4, len(x), device=x.device, dtype=x.dtype).uniform_(-1, 1)
        angle, size = angle * math.radians(self.degrees), 1 + size * self.scale
        side = 1 - 2 * (torch.rand_like(angle) < 0.5).to(x.dtype) if self.mirror else torch.ones_like(angle)
        cosine, sine = angle.cos() * size, angle.sin() * size
        rows = [cosine * side, -sine, 2 * self.shift * shift[0], sine * side, cosine, 2 * self.shift * shift[1]]
        return torch.stack(rows, 1).view(-1, 2, 3)


@dataclass(frozen=True)
class Trim:
    """Cut a batch of sentences to the longest of them, which is nothing but faster.

    Args:
        padding: the id that fills up short sentences, on the right.
    """

    padding: int = 0

    def __call__(self, ids: Tensor) -> Tensor:
        """Change ids (batch, length)."""
        used = (ids != self.padding).any(0).nonzero()
        return ids[:, : int(used.max()) + 1 if len(used) else 1]
