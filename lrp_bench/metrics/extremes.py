"""The best and the worst order in which the units of an input can be removed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lrp_bench import chance
from lrp_bench.chance import Purpose
from lrp_bench.contracts import NotApplicable
from lrp_bench.metrics.checks import check_whole
from lrp_bench.metrics.flipping import PerturbationCurve
from lrp_bench.metrics.scores import SCORES
from lrp_bench.metrics.units import Regions

_MOST_UNITS = 128


@torch.no_grad()
def aopc_bounds(
    curve: PerturbationCurve,
    model: Callable[[Tensor], Tensor],
    x: Tensor,
    regions: Regions,
    target: Tensor,
    beam: int = 5,
) -> tuple[Tensor, Tensor]:
    """The least and the greatest AOPC over the orders of the units, one unit a step (Edin et al. 2024).

    A beam search: of all sets of k units that one more unit makes of the sets kept before, the `beam` with the best sum
    of scores on the way are kept. Several ways to one set count once, so the bounds are exact as soon as `beam` is no
    less than the number of sets of one size: 6 for 4 units, 20 for 6, 70 for 8. Otherwise they lie inside the true
    ones. One search takes about beam * units^2 / 2 forward passes per sample.

    Args:
        curve: of which imputer, score, seed and max_batch are used.
        model: inputs -> logits.
        x: (batch, ...).
        regions: x cut by the curve's unit.
        target: (batch,).
        beam: sets kept.

    Returns:
        lower, upper: (batch,).
    """
    check_whole("beam", beam)
    units = regions.scores.shape[1]
    if units > _MOST_UNITS:
        raise NotApplicable(
            f"Expected at most {_MOST_UNITS} units for the bounds of AOPC, got {units}: take patches or superpixels, "
            "or leave out the metric naopc"
        )
    fill, exists = curve.imputer(x, curve.seed), regions.positions() > 0
    numbers = regions.spread(torch.arange(units, device=x.device).expand(len(x), -1))

    def score(rows: Tensor, gone: Tensor) -> Tensor:
        """Scores of samples `rows` (n,) without the sets of units `gone` (n, units)."""
        found = [x.new_empty(0)]
        for row, lacks in zip(torch.split(rows, curve.max_batch), torch.split(gone, curve.max_batch), strict=True):
            unit = numbers[row]
            logits = model(fill(row, lacks.gather(1, unit.flatten(1)).reshape(unit.shape)))
            found.append(SCORES[curve.score](logits, target[row]))
        return torch.cat(found)

    names = chance.bits(x, units, curve.seed, Purpose.SET_NAMES)
    whole = score(torch.arange(len(x), device=x.device), torch.zeros_like(exists))
    lower = -_greatest(lambda rows, gone: score(rows, gone) - whole[rows], exists, names, beam)
    return lower, _greatest(lambda rows, gone: whole[rows] - score(rows, gone), exists, names, beam)


def _greatest(gain: Callable[[Tensor, Tensor], Tensor], exists: Tensor, names: Tensor, beam: int) -> Tensor:
    """(batch,): the greatest mean gain over the states of one order, the untouched input among them.

    exists: (batch, units); names: (batch, units) random numbers; a set is known by the sum of its units' names.
    """
    batch, units = exists.shape
    counts = exists.sum(1)
    gone = torch.zeros(batch, 1, units, dtype=torch.bool, device=exists.device)
    total = result = torch.zeros(batch, 1, dtype=torch.float64, device=exists.device)
    for size in range(1, units + 1):
        possible = exists.unsqueeze(1) & ~gone & total.isfinite().unsqueeze(2)
        sets = gone.unsqueeze(2) | torch.eye(units, dtype=torch.bool, device=exists.device)
        grown = total.unsqueeze(2).expand(possible.shape).masked_fill(~possible, float("-inf")).clone()
        places = possible.flatten().nonzero()[:, 0]  # how many there are decides what is computed next
        row = places // possible[0].numel()
        grown.view(-1)[places] += gain(row, sets.flatten(0, 2)[places]).to(grown.dtype)
        keys = (sets * names[:, None, None]).sum(3).flatten(1)
        total, chosen = _distinct(keys, grown.flatten(1)).topk(min(beam, keys.shape[1]), dim=1)
        gone = sets.flatten(1, 2).gather(1, chosen.unsqueeze(2).expand(-1, -1, units))
        result = torch.where((counts == size).unsqueeze(1), total.amax(1, keepdim=True), result)
    return result[:, 0] / (counts + 1)


def _distinct(keys: Tensor, values: Tensor) -> Tensor:
    """Values (batch, n), -inf in place of all but the greatest of equal keys."""
    descending = values.argsort(dim=1, descending=True, stable=True)
    places = descending.gather(1, keys.gather(1, descending).argsort(dim=1, stable=True))
    ordered = keys.gather(1, places)
    repeated = torch.zeros_like(values, dtype=torch.bool)
    repeated.scatter_(1, places[:, 1:], ordered[:, 1:] == ordered[:, :-1])
    return values.masked_fill(repeated, float("-inf"))
