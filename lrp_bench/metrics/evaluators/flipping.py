"""Does the relevance point at what the model uses?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError, Curve, Explanation, Measure, Scores
from lrp_bench.metrics.evaluators.base import Context, Evaluator
from lrp_bench.metrics.flipping import PerturbationCurve
from lrp_bench.metrics.functional import aopc, srg
from lrp_bench.metrics.imputers import Constant, Imputer
from lrp_bench.metrics.scores import Score
from lrp_bench.metrics.units import Pixels, Unit, default_unit


class Flipping(Evaluator):
    """Perturbation curves in both orders, and what is read off them.

    Values: flipping/aopc_morf_<score>, flipping/aopc_lerf_<score> and flipping/srg_<score>; and flipping/ties, the
    share of units whose place in the order was drawn by lot. Curves: flipping/morf_<score> and flipping/lerf_<score>.

    Args:
        unit: what is removed at once; None: pixels, or the columns of a table.
        steps: number of steps, or the fractions to remove; see PerturbationCurve, as for all that follow.
        imputer: what takes the place of what is removed.
        score: logit, probability, log_odds or accuracy.
        seed: of ties and noise.
        spacing: linear or log.
        max_batch: inputs given to the model at once.
    """

    higher_is_better = True
    fractions: list[Tensor]

    def __init__(
        self,
        unit: Unit | None = None,
        steps: int | Sequence[float] = 32,
        imputer: Imputer = Constant(0.0),  # noqa: B008 (frozen)
        score: Score = "probability",
        seed: int = 0,
        spacing: Literal["linear", "log"] = "linear",
        max_batch: int = 128,
    ) -> None:
        super().__init__("morf", "lerf", "ties", "fractions")
        self.unit = unit
        self.morf_curve = PerturbationCurve(unit or Pixels(), "morf", steps, imputer, score, seed, spacing, max_batch)
        self.measures = _measures(score)

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch."""
        x, R, target = explanation.inputs, explanation.relevance, explanation.target
        curve = replace(self.morf_curve, unit=self.unit or default_unit(x))
        fractions, morf = curve(context.model, x, R, target)
        if self.fractions and not torch.equal(fractions, self.fractions[0][0]):
            raise BenchError(
                f"Expected inputs of the first batch's size, got {tuple(x.shape)}: evaluate each size by itself"
            )
        _, lerf = replace(curve, order="lerf")(context.model, x, R, target)
        self.keep(morf=morf, lerf=lerf, ties=curve.ties(x, R), fractions=fractions.unsqueeze(0))

    def compute(self) -> Scores:
        """The values and curves of all samples seen since the last reset."""
        score, fractions = self.morf_curve.score, self.kept("fractions")[0]
        morf, lerf = self.kept("morf"), self.kept("lerf")
        values = {
            f"flipping/aopc_morf_{score}": aopc(morf),
            f"flipping/aopc_lerf_{score}": aopc(lerf),
            f"flipping/srg_{score}": srg(fractions, lerf, morf),
            "flipping/ties": self.kept("ties"),
        }
        curves = {f"flipping/morf_{score}": Curve(fractions, morf), f"flipping/lerf_{score}": Curve(fractions, lerf)}
        return Scores(values, self.measures, curves)


def _measures(score: Score) -> Mapping[str, Measure]:
    bound = 1.0 if score in ("probability", "accuracy") else float("inf")
    words = score.replace("_", " ")

    def change(title: str, *, higher_is_better: bool, headline: bool = True) -> Measure:
        return Measure(f"{title} ({words})", "flipping", higher_is_better, -bound, bound, headline=headline)

    return {
        f"flipping/aopc_morf_{score}": change("AOPC MoRF", higher_is_better=True),
        f"flipping/aopc_lerf_{score}": change("AOPC LeRF", higher_is_better=False, headline=False),
        f"flipping/srg_{score}": change("SRG", higher_is_better=True),
        "flipping/ties": Measure("Ties", "flipping", higher_is_better=None, lower=0.0, upper=1.0, headline=False),
    }
