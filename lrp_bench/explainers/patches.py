"""Inputs cut into features that are switched on and off at once: patches of an image, columns of a table."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_FEATURES = 64  # at most, unless a patch size is given


def patch_ids(inputs: Tensor, patch: int | None = None) -> Tensor:
    """The number of the patch that each position belongs to, (1, ...), counted from 0; all channels share it.

    Args:
        inputs: (batch, channels, *positions), or (batch, features), where every column is a patch of its own.
        patch: side of a patch; None: the smallest with at most 64 patches. What is left at an edge is a smaller one.
    """
    if inputs.dim() == 2:
        return torch.arange(inputs.shape[1], device=inputs.device)[None]
    sides = inputs.shape[2:]
    along = round(_FEATURES ** (1 / len(sides)))
    ids = torch.zeros(1, 1, *sides, dtype=torch.int64, device=inputs.device)
    for axis, side in enumerate(sides):
        size = patch or math.ceil(side / along)
        place = torch.arange(side, device=inputs.device) // size
        shape = [side if at == axis else 1 for at in range(len(sides))]
        ids = ids * math.ceil(side / size) + place.view(1, 1, *shape)
    return ids.expand(1, *inputs.shape[1:])


def shared(totals: Tensor, ids: Tensor) -> Tensor:
    """The total of each patch, (batch, patches), in equal shares to its values: (batch, ...), with the same sum."""
    return (totals / torch.bincount(ids.flatten(), minlength=totals.shape[1]))[:, ids[0]]


class Switched(nn.Module):
    """The model as a function of which patches are present.

    forward: switches (batch, patches) and inputs (batch, ...) -> logits; a switch of 1 leaves a patch as it is, 0 puts
    the baseline there. order, (batch, patches), if given, says which patch each switch is for.
    """

    def __init__(self, model: nn.Module, ids: Tensor, baseline: float) -> None:
        super().__init__()
        self.model, self.ids, self.baseline = model, ids, baseline

    def forward(self, switches: Tensor, inputs: Tensor, order: Tensor | None = None) -> Tensor:
        """Logits (batch, classes)."""
        switches = switches if order is None else torch.zeros_like(switches).scatter(1, order, switches)
        on = switches[:, self.ids[0]].to(inputs.dtype)
        logits: Tensor = self.model(on * inputs + (1 - on) * self.baseline)
        return logits
