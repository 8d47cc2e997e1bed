"""How close is the order of the relevance to the best order there is for this model and input?"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lrp_bench.contracts import Explanation, Measure, Scores
from lrp_bench.metrics.checks import check_whole
from lrp_bench.metrics.evaluators.base import Context, Evaluator
from lrp_bench.metrics.evaluators.faithfulness.flipping import fitted
from lrp_bench.metrics.extremes import aopc_bounds
from lrp_bench.metrics.flipping import Order, PerturbationCurve, traced
from lrp_bench.metrics.functional import naopc
from lrp_bench.metrics.imputers.fills import Constant, Imputer
from lrp_bench.metrics.scores import Score
from lrp_bench.metrics.units import Pixels, Regions, Unit, default_unit

ORDERS: tuple[Order, ...] = ("morf", "lerf")


class NormalisedAOPC(Evaluator):
    """AOPC of the MoRF curve between the least and the greatest that a beam search finds (Edin et al. 2024).

    Comparable between models, which AOPC is not. Where the relevance itself has a better order than the search found,
    that order is the bound. NaN where every order is as good but for rounding. Values: <name>/naopc_<score>.

    Args:
        unit: what is removed at once, at most 128 in an input; None: pixels, the columns of a table, tokens of ids.
        beam: sets of units kept in the search; see metrics.extremes.
        imputer: as for Flipping, with all that follow.
        score: logit, probability, log_odds or accuracy.
        seed: of ties and noise.
        max_batch: inputs given to the model at once.
        name: what the values' names begin with.
    """

    higher_is_better = True

    def __init__(
        self,
        unit: Unit | None = None,
        beam: int = 5,
        imputer: Imputer = Constant(0.0),  # noqa: B008 (frozen)
        score: Score = "probability",
        seed: int = 0,
        max_batch: int = 128,
        name: str = "naopc",
    ) -> None:
        check_whole("beam", beam)
        self.unit, self.beam, self.value = unit, beam, f"{name}/naopc_{score}"
        self.curve = PerturbationCurve(
            unit or Pixels(), imputer=imputer, score=score, seed=seed, spacing="unit", max_batch=max_batch
        )
        super().__init__("naopc")
        title = f"NAOPC ({score.replace('_', ' ')})"
        self.measures = {self.value: Measure(title, name, higher_is_better=True, lower=0.0, upper=1.0)}

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch."""
        x, target = explanation.inputs, explanation.target
        regions = (self.unit or default_unit(x))(x, explanation.relevance)
        curve = fitted(self.curve, context.background)
        lower, upper = aopc_bounds(curve, context.model, x, regions, target, self.beam)
        curve = replace(curve, steps=regions.scores.shape[1])
        plans = {str(order): replace(curve, order=order).plan(x, regions) for order in ORDERS}
        scores = [trace.scores for trace in traced(plans, context.model, target).values()]
        size = torch.cat(scores, 1).abs().amax(1)
        morf, lerf = (_aopc(each, regions) for each in scores)
        lower, upper = lower.to(morf).minimum(morf).minimum(lerf), upper.to(morf).maximum(morf).maximum(lerf)
        self.keep(naopc=naopc(morf, lower, upper, size))

    def compute(self) -> Scores:
        """The values of all samples seen since the last reset."""
        return Scores({self.value: self.kept("naopc")}, self.measures)


def _aopc(scores: Tensor, regions: Regions) -> Tensor:
    """AOPC up to the step at which a sample has no units left; in a batch others may have more."""
    counts = (regions.positions() > 0).sum(1)
    counted = torch.arange(scores.shape[1], device=scores.device) <= counts.unsqueeze(1)
    return ((scores[:, :1] - scores) * counted).sum(1) / (counts + 1)
