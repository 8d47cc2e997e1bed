"""Perturbation curves: remove units of the input in order of relevance, and watch the model's score.

Every faithfulness measure by perturbation is read off such curves: pixel flipping, AOPC, SRG, insertion, deletion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.metrics.chance import random_order
from lrp_bench.metrics.checks import check_choice, check_number, check_relevance, check_whole
from lrp_bench.metrics.imputers import Blur, Constant, DatasetMean, Fill, ImageMean, Imputer, Noise
from lrp_bench.metrics.scores import SCORES, Score
from lrp_bench.metrics.units import Features, Patches, Pixels, Regions, Unit, default_unit

__all__ = [
    "Blur",
    "Constant",
    "DatasetMean",
    "Features",
    "Fill",
    "ImageMean",
    "Imputer",
    "Noise",
    "Patches",
    "PerturbationCurve",
    "Pixels",
    "Regions",
    "Unit",
    "default_unit",
]

_TIES = 1


@dataclass(frozen=True)
class PerturbationCurve:
    """Scores of inputs from which ever more units were removed.

    A sample's curve depends on the sample and the seed alone, not on the batch it came in: units of equal relevance are
    put in an order drawn for each sample from its content, the same for morf and lerf.

    Args:
        unit: what is removed at once.
        order: morf (most relevant first), lerf (least relevant first) or random.
        steps: number of steps after step 0, the untouched input; or the fractions to remove, ascending in [0, 1].
        imputer: what takes the place of what is removed.
        score: logit, probability, log_odds or accuracy of the target.
        seed: of ties, of the random order and of noise.
        spacing: linear or log, equal steps or equal factors in the number of units, to the nearest whole unit. Both end
            with everything removed. With fewer units than steps some counts repeat; they are not computed twice.
        max_batch: inputs given to the model at once; bounds the memory, whatever the number of samples and steps.
    """

    unit: Unit = field(default_factory=Pixels)
    order: Literal["morf", "lerf", "random"] = "morf"
    steps: int | Sequence[float] = 32
    imputer: Imputer = field(default_factory=Constant)
    score: Score = "probability"
    seed: int = 0
    spacing: Literal["linear", "log"] = "linear"
    max_batch: int = 128

    def __post_init__(self) -> None:
        check_choice("order", self.order, ("morf", "lerf", "random"))
        check_choice("score", self.score, SCORES)
        check_choice("spacing", self.spacing, ("linear", "log"))
        check_whole("seed", self.seed, least=0)
        check_whole("max_batch", self.max_batch)
        _check_steps(self.steps)

    @torch.no_grad()
    def __call__(
        self, model: Callable[[Tensor], Tensor], x: Tensor, relevance: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The curve of every sample.

        Args:
            model: inputs -> logits (batch, classes); in eval mode.
            x: (batch, ...).
            relevance: the shape of x, signed.
            target: (batch,) class numbers, or (batch, classes) weights (score logit or probability only).

        Returns:
            fractions: (steps+1,), the share of units removed, exactly; scores: (batch, steps+1).
        """
        check_relevance(relevance, x)
        _check_target(target, x)
        regions = self.unit(x, relevance)
        counts = self._counts(regions.scores.shape[1])
        removed_at = regions.spread(self._ranks(x, regions.scores))
        scores = self._scores(model, self.imputer(x, self.seed), removed_at, counts, target)
        return torch.tensor(counts, device=x.device, dtype=scores.dtype) / regions.scores.shape[1], scores

    def ties(self, x: Tensor, relevance: Tensor) -> Tensor:
        """Share of units whose relevance equals that of another unit: (batch,) in [0, 1]."""
        scores = self.unit(x, relevance).scores.sort(1).values
        same = (scores[:, 1:] == scores[:, :-1]).to(scores.dtype)
        none = same.new_zeros(len(same), 1)
        return torch.maximum(torch.cat([none, same], 1), torch.cat([same, none], 1)).mean(1)

    def _counts(self, units: int) -> list[int]:
        """How many units are gone at each step."""
        if not isinstance(self.steps, int):
            shares = [float(step) for step in self.steps]
            wanted = [units * share for share in ([] if shares[0] == 0 else [0.0]) + shares]
        elif self.spacing == "linear":
            wanted = [units * step / self.steps for step in range(self.steps + 1)]
        else:
            wanted = [0.0] + [units ** (step / self.steps) for step in range(1, self.steps + 1)]
        return [int(count + 0.5) for count in wanted]

    def _ranks(self, x: Tensor, scores: Tensor) -> Tensor:
        """(batch, units): when each unit is removed, 0 first."""
        keys = {"morf": -scores, "lerf": scores, "random": torch.zeros_like(scores)}[self.order]
        shuffled = random_order(x, scores.shape[1], self.seed, _TIES)
        order = shuffled.gather(1, keys.gather(1, shuffled).argsort(dim=1, stable=True))
        return order.argsort(1).to(torch.int32)

    def _scores(
        self, model: Callable[[Tensor], Tensor], fill: Fill, removed_at: Tensor, counts: list[int], target: Tensor
    ) -> Tensor:
        """(batch, steps+1). Samples and steps are laid end to end and cut into model batches of nearly one size."""
        distinct = sorted(set(counts))
        limits = torch.tensor(distinct, device=removed_at.device).reshape(-1, *(1,) * (removed_at.dim() - 1))
        pairs = torch.arange(len(removed_at) * len(distinct), device=removed_at.device)
        scores = []
        for chunk in pairs.tensor_split(-(-len(pairs) // self.max_batch)):
            rows, steps = chunk // len(distinct), chunk % len(distinct)
            logits = model(fill(rows, removed_at[rows] < limits[steps]))
            scores.append(SCORES[self.score](logits, target[rows]))
        table = torch.cat(scores).reshape(len(removed_at), len(distinct))
        return table[:, [distinct.index(count) for count in counts]]


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
