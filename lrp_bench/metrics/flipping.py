"""Perturbation curves: remove units of the input in order of relevance, and watch the model's score.

Every faithfulness measure by perturbation is read off such curves: pixel flipping, AOPC, SRG, insertion, deletion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lrp_bench import chance
from lrp_bench.chance import Purpose
from lrp_bench.contracts import BenchError
from lrp_bench.metrics.checks import check_choice, check_number, check_whole
from lrp_bench.metrics.imputers import (
    Blur,
    Constant,
    DatasetMean,
    Fill,
    ImageMean,
    Imputer,
    Inpaint,
    Noise,
    Road,
    Sample,
)
from lrp_bench.metrics.scores import SCORES, Score
from lrp_bench.metrics.superpixels import Superpixels
from lrp_bench.metrics.units import Features, Patches, Pixels, Regions, Tokens, Unit, default_unit

__all__ = [
    "Blur",
    "Constant",
    "DatasetMean",
    "Features",
    "Fill",
    "ImageMean",
    "Imputer",
    "Inpaint",
    "Noise",
    "Patches",
    "PerturbationCurve",
    "Pixels",
    "Regions",
    "Road",
    "Sample",
    "Superpixels",
    "Tokens",
    "Trace",
    "Unit",
    "default_unit",
]

Order = Literal["morf", "lerf", "random"]
Spacing = Literal["linear", "log", "unit"]

_NEXT_DRAW = 2**32  # seeds of a sweep lie closer together than that, so no two of their draws are the same


class Trace(NamedTuple):
    """Curves in full.

    grid: (steps+1,), the fractions that were asked for, or, with units of one size, exactly what was removed;
    fractions: (batch, steps+1), the share of positions that was removed of each sample; scores: (batch, steps+1).
    """

    grid: Tensor
    fractions: Tensor
    scores: Tensor


@dataclass(frozen=True)
class PerturbationCurve:
    """Scores of inputs from which ever more units were removed.

    A sample's curve depends on the sample and the seed alone, not on the batch it came in: units of equal relevance are
    put in an order drawn for each sample from its content, the same for morf and lerf.

    A step removes whole units, so many that their share of the positions comes nearest to the step's fraction. Where
    steps are fractions, each above 0 removes at least one unit and each below 1 leaves at least one (a single unit is
    left by lerf and removed by the others). Where units are of one size the share is the same for all samples; where
    they are not (superpixels, texts of several lengths, patches cut off at an edge) each sample has its own, which
    `trace` gives.

    Args:
        unit: what is removed at once.
        order: morf (most relevant first), lerf (least relevant first) or random.
        steps: number of steps after step 0, the untouched input; or the fractions to remove, ascending in [0, 1], the
            last above 0.
        imputer: what takes the place of what is removed.
        score: logit, probability, log_odds or accuracy of the target.
        seed: of ties, of the random order and of noise.
        spacing: linear or log, equal steps or equal factors, both ending with everything removed, or unit, one unit a
            step. With fewer units than steps some states repeat; they are not computed twice.
        max_batch: inputs given to the model at once; bounds the memory, whatever the number of samples and steps.
        draws: how often an imputer that draws (Noise, Sample, Road) draws; the scores are averaged.
    """

    unit: Unit = field(default_factory=Pixels)
    order: Order = "morf"
    steps: int | Sequence[float] = 32
    imputer: Imputer = field(default_factory=Constant)
    score: Score = "probability"
    seed: int = 0
    spacing: Spacing = "linear"
    max_batch: int = 128
    draws: int = 1

    def __post_init__(self) -> None:
        check_choice("order", self.order, ("morf", "lerf", "random"))
        check_choice("score", self.score, SCORES)
        check_choice("spacing", self.spacing, ("linear", "log", "unit"))
        check_whole("seed", self.seed, least=0)
        check_whole("max_batch", self.max_batch)
        check_whole("draws", self.draws)
        _check_steps(self.steps)

    @torch.no_grad()
    def __call__(
        self, model: Callable[[Tensor], Tensor], x: Tensor, relevance: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The curve of every sample.

        Args:
            model: inputs -> logits (batch, classes); in eval mode.
            x: (batch, ...).
            relevance: the shape of x, signed; for Tokens also (batch, tokens).
            target: (batch,) class numbers, or (batch, classes) weights (score logit or probability only).

        Returns:
            fractions: (steps+1,), the share removed, exactly, or to the nearest unit where units differ in size;
            scores: (batch, steps+1).
        """
        trace = self.trace(model, x, self.unit(x, relevance), target)
        return trace.grid, trace.scores

    @torch.no_grad()
    def trace(self, model: Callable[[Tensor], Tensor], x: Tensor, regions: Regions, target: Tensor) -> Trace:
        """The curve of every sample, for inputs already cut by `unit`."""
        _check_target(target, x)
        order = self._order(x, regions)
        sizes = regions.positions().gather(1, order)
        grid = self._grid(regions)
        removed = torch.cat([sizes.new_zeros(len(sizes), 1), sizes.cumsum(1)], 1)
        counts = self._counts(removed, grid)
        fractions = removed.gather(1, counts) / removed[:, -1:].clamp(min=1).to(grid.dtype)
        removed_at = regions.spread(order.argsort(1).to(torch.int32))
        draws = (self.imputer(x, self.seed + draw * _NEXT_DRAW) for draw in range(self.draws))
        scores = torch.stack([self._scores(model, fill, removed_at, counts, target) for fill in draws]).mean(0)
        exact = fractions[0] if regions.sizes is None else grid
        return Trace(exact.to(scores.dtype), fractions.to(scores.dtype), scores)

    def _grid(self, regions: Regions) -> Tensor:
        """(steps+1,) float64: the fractions to come near to."""
        units = regions.nominal or regions.scores.shape[1]
        if not isinstance(self.steps, int):
            shares = [float(step) for step in self.steps]
            wanted = ([] if shares[0] == 0 else [0.0]) + shares
        elif self.spacing == "linear":
            wanted = [step / self.steps for step in range(self.steps + 1)]
        elif self.spacing == "log":
            wanted = [0.0] + [units ** (step / self.steps - 1) for step in range(1, self.steps + 1)]
        else:
            wanted = [min(step / units, 1.0) for step in range(self.steps + 1)]
        return torch.tensor(wanted, dtype=torch.float64, device=regions.scores.device)

    def _order(self, x: Tensor, regions: Regions) -> Tensor:
        """(batch, units): the units in the order of their removal; those that a sample does not have come last."""
        scores = regions.scores
        keys = {"morf": -scores, "lerf": scores, "random": torch.zeros_like(scores)}[self.order]
        if regions.sizes is not None:
            keys = keys.masked_fill(regions.sizes == 0, float("inf"))
        shuffled = chance.order(x, scores.shape[1], self.seed, Purpose.TIED_UNITS)
        return shuffled.gather(1, keys.gather(1, shuffled).argsort(dim=1, stable=True))

    def _counts(self, removed: Tensor, grid: Tensor) -> Tensor:
        """(batch, steps+1): how many units are gone at each step.

        removed: (batch, units+1), the positions that are gone with the first 0, 1, ... units.
        """
        total = removed[:, -1:]
        existing = (removed < total).sum(1, keepdim=True)
        if self.spacing == "unit" and isinstance(self.steps, int):
            return torch.arange(self.steps + 1, device=removed.device).minimum(existing)
        middles = (removed[:, 1:] + removed[:, :-1]).double() / 2
        slack = 1e-9 * total  # a half rounds up, whatever the rounding of the fraction
        counts = torch.searchsorted(middles, grid * total + slack, right=True)
        if not isinstance(self.steps, int):
            least, most = (grid > 0).long(), existing - (grid < 1).long()
            lerf = self.order == "lerf"
            counts = counts.maximum(least).minimum(most) if lerf else counts.minimum(most).maximum(least)
        return counts.clamp(min=0).minimum(existing)

    def _scores(
        self, model: Callable[[Tensor], Tensor], fill: Fill, removed_at: Tensor, counts: Tensor, target: Tensor
    ) -> Tensor:
        """(batch, steps+1). Samples and their different steps are laid end to end and cut into nearly equal batches."""
        stride = removed_at[0].numel() + 1  # more than there are units
        rows = torch.arange(len(counts), device=counts.device).unsqueeze(1)
        states, places = torch.unique(rows * stride + counts, return_inverse=True)
        scores = []
        for chunk in states.tensor_split(-(-len(states) // self.max_batch)):
            rows, limits = chunk // stride, (chunk % stride).reshape(-1, *(1,) * (removed_at.dim() - 1))
            logits = model(fill(rows, removed_at[rows] < limits))
            scores.append(SCORES[self.score](logits, target[rows]))
        return torch.cat(scores)[places]


def _check_target(target: Tensor, x: Tensor) -> None:
    if target.dim() not in (1, 2) or len(target) != len(x):
        raise BenchError(
            f"Expected a target ({len(x)},) or ({len(x)}, classes), got {tuple(target.shape)}: give one for each sample"
        )


def _check_steps(steps: object) -> None:
    if not isinstance(steps, Sequence) or isinstance(steps, str):
        check_whole("steps", steps)
        return
    for fraction in steps:
        check_number("each fraction of steps", fraction)
    if not steps or steps[0] < 0 or steps[-1] > 1 or any(b <= a for a, b in pairwise(steps)):
        raise BenchError(f"Expected steps to ascend within [0, 1], got {list(steps)}: sort the fractions")
    if steps[-1] == 0:
        raise BenchError(f"Expected steps that remove something, got {list(steps)}: add fractions above 0")
