"""Pictures put together from parts whose places are known: (n, height, width) float32 in [0, 1], all at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from lrp_bench.contracts import BenchError

CONTENT_SEED = 0  # of what a made data set holds, whatever the run's seed
COARSE, FINE = 0.4, 0.1  # the two scales of a texture
GRAIN = 4  # pixels

Window = tuple[Tensor, Tensor, Tensor]
"""An index: pictures[window] is (n, height, width), one window of each picture, to read and to write."""


def window(top: Tensor, left: Tensor, size: Sequence[int]) -> Window:
    """The window of `size` (height, width) whose upper left pixel is (top, left), (n,) each."""
    rows = top[:, None] + torch.arange(size[0])
    columns = left[:, None] + torch.arange(size[1])
    return torch.arange(len(top))[:, None, None], rows[:, :, None], columns[:, None, :]


def anywhere(pictures: Tensor, size: Sequence[int], generator: Generator) -> Window:
    """A window in each picture, uniform over all places. Raises BenchError if it has no room."""
    room = [have - want + 1 for have, want in zip(pictures.shape[1:], size, strict=True)]
    if min(room) < 1:
        got = list(pictures.shape[1:])
        raise BenchError(f"Expected pictures of at least {list(size)} pixels, got {got}: set dataset.shape")
    top, left = (torch.randint(span, (len(pictures),), generator=generator) for span in room)
    return window(top, left, size)


def draw(pictures: Tensor, at: Window, ink: Tensor) -> None:
    """Cover what lies in the windows with white, as far as `ink`, (n, height, width) in [0, 1], is opaque."""
    pictures[at] += (1 - pictures[at]) * ink


def enlarged(pictures: Tensor, scale: int) -> Tensor:
    """(n, h, w) -> (n, h scale, w scale), bilinear."""
    return F.interpolate(pictures.unsqueeze(1), scale_factor=scale, mode="bilinear")[:, 0]


def textures(count: int, size: Sequence[int], generator: Generator) -> Tensor:
    """Smooth patches of grey, GRAIN pixels wide, with fine noise over them: (count, height, width) in [0, 0.5]."""
    coarse = torch.rand(count, 1, *(-(-side // GRAIN) for side in size), generator=generator)
    smooth = F.interpolate(coarse, size=tuple(size), mode="bilinear")[:, 0]
    return COARSE * smooth + FINE * torch.rand(count, *size, generator=generator)


def stored(pictures: Tensor) -> Tensor:
    """To bytes: what is drawn is then the same on every machine, whatever its rounding."""
    return (pictures * 255).round().to(torch.uint8)
