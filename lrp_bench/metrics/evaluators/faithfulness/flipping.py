"""Does the relevance point at what the model uses?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError, Curve, Explanation, Measure, Scores
from lrp_bench.metrics.checks import check_choice
from lrp_bench.metrics.evaluators.base import Context, Evaluator
from lrp_bench.metrics.evaluators.faithfulness.readings import READINGS
from lrp_bench.metrics.flipping import PerturbationCurve, Spacing, Trace, traced
from lrp_bench.metrics.imputers.fills import Constant, FromData, Imputer
from lrp_bench.metrics.scores import Score
from lrp_bench.metrics.units import Pixels, Regions, Unit, default_unit
from lrp_bench.transfers import refuse_where


class Flipping(Evaluator):
    """Perturbation curves, and what is read off them.

    Values: <name>/<reading>_<score> for each of `readings`, and <name>/ties, the share of units whose place in the
    order was drawn by lot. Curves: <name>/morf_<score>, <name>/lerf_<score>, as far as the readings need them.

    Args:
        unit: what is removed at once; None: pixels, the columns of a table, tokens of ids.
        steps: number of steps, or the fractions to remove; see PerturbationCurve, as for all up to draws.
        imputer: what takes the place of what is removed; one that needs training inputs gets the context's.
        score: logit, probability, log_odds or accuracy.
        seed: of ties and noise.
        spacing: linear, log or unit; with unit, every input must have as many units as there are steps.
        max_batch: inputs given to the model at once.
        draws: how often the imputer draws.
        readings: of aopc_morf, aopc_lerf, abpc, srg, deletion, insertion, remaining_morf, remaining_lerf,
            comprehensiveness and sufficiency (functional has the formulas); the last needs steps to be fractions, none
            of them 0 or 1.
        headlines: those of them that are shown in the table at the end of a sweep; None: all.
        name: what the values' names begin with; tells several of a sweep apart.
    """

    higher_is_better = True
    grids: list[Tensor]
    first: Tensor  # the grids of the first batch, on the CPU

    def __init__(
        self,
        unit: Unit | None = None,
        steps: int | Sequence[float] = 32,
        imputer: Imputer = Constant(0.0),  # noqa: B008 (frozen)
        score: Score = "probability",
        seed: int = 0,
        spacing: Spacing = "linear",
        max_batch: int = 128,
        draws: int = 1,
        readings: Sequence[str] = ("aopc_morf", "aopc_lerf", "srg"),
        headlines: Sequence[str] | None = None,
        name: str = "flipping",
    ) -> None:
        shown = readings if headlines is None else headlines
        _check_readings(readings, shown)
        morf = PerturbationCurve(unit or Pixels(), "morf", steps, imputer, score, seed, spacing, max_batch, draws)
        curves = _curves(morf, dict.fromkeys(kind for each in readings for kind in READINGS[each].curves))
        super().__init__("ties", "grids", *(f"{kind}_{part}" for kind in curves for part in ("shares", "scores")))
        self.unit, self.curves, self.readings, self.name, self.score = unit, curves, tuple(readings), name, score
        self.measures = {
            **{self._named(each): _measure(name, each, score, headline=each in shown) for each in self.readings},
            f"{name}/ties": Measure("Ties", name, higher_is_better=None, lower=0.0, upper=1.0, headline=False),
        }

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch."""
        x, target = explanation.inputs, explanation.target
        regions = (self.unit or default_unit(x))(x, explanation.relevance)
        _check_units(next(iter(self.curves.values())), regions)  # all have the same spacing
        curves = {kind: fitted(curve, context.background) for kind, curve in self.curves.items()}
        plans = {kind: curve.plan(x, regions) for kind, curve in curves.items()}
        grids = torch.stack([plan.grid for plan in plans.values()]).unsqueeze(0)
        if self.grids and not torch.equal(grids, self.first):
            raise BenchError(
                f"Expected inputs of the first batch's size, got {tuple(x.shape)}: evaluate each size by itself"
            )
        traces, self.first = traced(plans, context.model, target), grids
        self.keep(ties=regions.ties(), grids=torch.stack([trace.grid for trace in traces.values()]).unsqueeze(0))
        for kind, trace in traces.items():
            self.keep(**{f"{kind}_shares": trace.fractions, f"{kind}_scores": trace.scores})

    def compute(self) -> Scores:
        """The values and curves of all samples seen since the last reset."""
        traces = {
            kind: Trace(grid, self.kept(f"{kind}_shares"), self.kept(f"{kind}_scores"))
            for kind, grid in zip(self.curves, self.kept("grids")[0], strict=True)
        }
        values = {
            self._named(each): READINGS[each].read(*(traces[kind] for kind in READINGS[each].curves))
            for each in self.readings
        }
        curves = {self._named(kind): Curve(trace.grid, trace.scores) for kind, trace in traces.items()}
        return Scores({**values, f"{self.name}/ties": self.kept("ties")}, self.measures, curves)

    def _named(self, what: str) -> str:
        return f"{self.name}/{what}_{self.score}"


def fitted(curve: PerturbationCurve, background: Tensor | None) -> PerturbationCurve:
    """The curve with an imputer that has the training inputs it needs."""
    imputer = curve.imputer
    return replace(curve, imputer=imputer.fitted(background)) if isinstance(imputer, FromData) else curve


def _curves(morf: PerturbationCurve, kinds: Mapping[str, None]) -> dict[str, PerturbationCurve]:
    lerf = replace(morf, order="lerf")
    if "kept" not in kinds:
        return {kind: {"morf": morf, "lerf": lerf}[kind] for kind in kinds}
    if isinstance(morf.steps, int) or morf.steps[0] == 0 or morf.steps[-1] == 1:
        raise BenchError(
            f"Expected fractions between 0 and 1 as steps for sufficiency, got {morf.steps}: as in [0.01, 0.05, 0.1]"
        )
    kept = replace(lerf, steps=[1 - float(share) for share in reversed(morf.steps)])
    return {kind: {"morf": morf, "lerf": lerf, "kept": kept}[kind] for kind in kinds}


def _check_readings(readings: Sequence[str], headlines: Sequence[str]) -> None:
    if isinstance(readings, str) or not readings:
        raise BenchError(f"Expected readings to list measures, got {readings!r}: choose of {', '.join(READINGS)}")
    for reading in readings:
        check_choice("each of readings", reading, READINGS)
    for reading in headlines:
        check_choice("each of headlines", reading, readings)


def _check_units(curve: PerturbationCurve, regions: Regions) -> None:
    if curve.spacing != "unit" or not isinstance(curve.steps, int):
        return
    steps, units = curve.steps, regions.scores.shape[1]
    if regions.sizes is not None:
        existing = (regions.sizes > 0).sum(1)
        refuse_where(existing < steps, lambda: _too_few_units(steps, int(existing.min())))
    elif units < steps:
        raise _too_few_units(steps, units)


def _too_few_units(steps: int, fewest: int) -> BenchError:
    return BenchError(
        f"Expected at least {steps} units, one for each step of spacing=unit, got {fewest} in an input: set "
        "steps to at most that, or make units smaller (unit.size)"
    )


def _measure(family: str, reading: str, score: Score, *, headline: bool) -> Measure:
    title, higher_is_better, _, _, change = READINGS[reading]
    bound = 1.0 if score in ("probability", "accuracy") else float("inf")
    lower = 0.0 if bound == 1 and not change else -bound
    title = f"{title} ({score.replace('_', ' ')})"
    title = title if family == "flipping" else f"{family.replace('_', ' ')}: {title}"
    return Measure(title, family, higher_is_better, lower, bound, headline=headline)
