"""Perturbation curves: remove units of the input in order of relevance, and watch the model's score.

Every faithfulness measure by perturbation is read off such curves: pixel flipping, AOPC, SRG, insertion, deletion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lrp_bench import chance
from lrp_bench.chance import Purpose
from lrp_bench.contracts import BenchError
from lrp_bench.metrics.checks import check_choice, check_steps, check_whole
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
from lrp_bench.transfers import read, sent

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
    "Plan",
    "Regions",
    "Road",
    "Sample",
    "Superpixels",
    "Tokens",
    "Trace",
    "Unit",
    "default_unit",
    "traced",
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
        check_steps(self.steps)

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
        return traced({"": self.plan(x, regions)}, model, target)[""]

    def plan(self, x: Tensor, regions: Regions) -> Plan:
        """What is removed when. Of units of one size that is known without looking at any value."""
        order, grid = self._order(x, regions), self._grid(regions)
        alike = torch.ones(1, regions.scores.shape[1], dtype=torch.int64, device="cpu")
        sizes = alike if regions.sizes is None else regions.sizes.gather(1, order)
        removed = torch.cat([sizes.new_zeros(len(sizes), 1), sizes.cumsum(1)], 1)
        counts = self._counts(removed, sent(grid, removed))
        fractions = removed.gather(1, counts) / removed[:, -1:].clamp(min=1).to(grid.dtype)
        exact = fractions[0] if regions.sizes is None else grid
        return Plan(self, x, regions.spread(order.argsort(1).to(torch.int32)), counts, exact, fractions)

    def _grid(self, regions: Regions) -> Tensor:
        """(steps+1,) float64 on the CPU: the fractions to come near to."""
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
        return torch.tensor(wanted, dtype=torch.float64, device="cpu")

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


@dataclass(frozen=True, eq=False)
class Plan:
    """Which units of the inputs x are gone at each step.

    removed_at: against x, the place in the order at which each position goes; counts: (batch, steps+1), units that are
    gone; grid, fractions: see Trace. grid is on the CPU; with units of one size counts and fractions are, too, one row
    for all.
    """

    curve: PerturbationCurve
    x: Tensor
    removed_at: Tensor
    counts: Tensor
    grid: Tensor
    fractions: Tensor

    def run(self, counts: Tensor, model: Callable[[Tensor], Tensor], target: Tensor) -> Trace:
        """The scores; counts: those above, on the CPU."""
        curve, rows = self.curve, torch.arange(len(self.x), device="cpu").unsqueeze(1)
        states, places = torch.unique(rows * self._stride + counts, return_inverse=True)
        states, places = sent(states, self.x), sent(places, self.x)
        draws = (curve.imputer(self.x, curve.seed + draw * _NEXT_DRAW) for draw in range(curve.draws))
        scores = torch.stack([self._scores(model, fill, states, target)[places] for fill in draws]).mean(0)
        grid, fractions = (sent(each, scores, scores.dtype) for each in (self.grid, self.fractions))
        return Trace(grid, fractions.expand(scores.shape), scores)

    @property
    def _stride(self) -> int:
        return self.removed_at[0].numel() + 1  # more than there are units

    def _scores(self, model: Callable[[Tensor], Tensor], fill: Fill, states: Tensor, target: Tensor) -> Tensor:
        """(states,). Samples and their different steps are laid end to end and cut into nearly equal batches."""
        scores = []
        for chunk in states.tensor_split(-(-len(states) // self.curve.max_batch)):
            rows, limits = chunk // self._stride, chunk % self._stride
            removed = self.removed_at[rows] < limits.reshape(-1, *(1,) * (self.removed_at.dim() - 1))
            scores.append(SCORES[self.curve.score](model(fill(rows, removed)), target[rows]))
        return torch.cat(scores)


@torch.no_grad()
def traced(plans: Mapping[str, Plan], model: Callable[[Tensor], Tensor], target: Tensor) -> dict[str, Trace]:
    """The curves that were planned; a device is waited for once at most."""
    for plan in plans.values():
        _check_target(target, plan.x)
    counts = read(*(plan.counts for plan in plans.values()))
    return {name: plan.run(known, model, target) for (name, plan), known in zip(plans.items(), counts, strict=True)}


def _check_target(target: Tensor, x: Tensor) -> None:
    if target.dim() not in (1, 2) or len(target) != len(x):
        raise BenchError(
            f"Expected a target ({len(x)},) or ({len(x)}, classes), got {tuple(target.shape)}: give one for each sample"
        )
