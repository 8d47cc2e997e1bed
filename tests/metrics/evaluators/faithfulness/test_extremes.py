"""The search for the best order against all orders."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lrp_bench.contracts import BenchError, Explanation
from lrp_bench.metrics import Context, NormalisedAOPC
from lrp_bench.metrics.extremes import aopc_bounds
from lrp_bench.metrics.flipping import Constant, Features, PerturbationCurve, Pixels, Tokens

UNITS = 5


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X, TARGET = drawn(4, UNITS), torch.tensor([0, 1, 1, 0])
X[1, 3:] = 0  # padding, where a unit knows of it
FIRST, SECOND = drawn(UNITS, 8, seed=1), drawn(8, 2, seed=2)
CURVE = PerturbationCurve(Features(), imputer=Constant(0.5), score="logit", max_batch=7)


def model(x: Tensor) -> Tensor:
    return (x.flatten(1) @ FIRST).tanh() @ SECOND


def every_aopc(sample: int, units: int = UNITS) -> Tensor:
    """AOPC of every order of the first units, one by one."""
    values = []
    for order in permutations(range(units)):
        x = X[sample].clone()
        scores = [model(x[None])[0, TARGET[sample]]]
        for unit in order:
            x[unit] = 0.5
            scores.append(model(x[None])[0, TARGET[sample]])
        values.append(scores[0] - sum(scores) / len(scores))
    return torch.stack(values)


@pytest.mark.parametrize("unit", [Features(), Tokens(padding=0)], ids=repr)
def test_a_wide_beam_finds_the_extremes_of_all_orders(unit: Features | Tokens) -> None:
    lower, upper = aopc_bounds(CURVE, model, X, unit(X, X), TARGET, beam=10)
    for sample in range(len(X)):
        values = every_aopc(sample, 3 if sample == 1 and isinstance(unit, Tokens) else UNITS)
        assert_close(upper[sample], values.max())
        assert_close(lower[sample], values.min())


@pytest.mark.parametrize("beam", [1, 2, 3])
def test_a_narrow_beam_stays_inside(beam: int) -> None:
    lower, upper = aopc_bounds(CURVE, model, X, Features()(X, X), TARGET, beam)
    widest = aopc_bounds(CURVE, model, X, Features()(X, X), TARGET, beam=10)
    assert (lower >= widest[0] - 1e-12).all()
    assert (upper <= widest[1] + 1e-12).all()
    assert (lower < upper).all()


def test_on_a_linear_model_the_extremes_are_the_sorted_orders() -> None:
    x, weight = drawn(3, 30, seed=3), drawn(30, 2, seed=4)
    contributions, target = weight.T[TARGET[:3]] * x, TARGET[:3]
    curve = PerturbationCurve(Features(), imputer=Constant(0.0), score="logit")
    lower, upper = aopc_bounds(curve, lambda z: z @ weight, x, Features()(x, x), target, beam=1)
    for bound, descending in ((upper, True), (lower, False)):
        assert_close(bound, contributions.sort(1, descending=descending).values.cumsum(1).sum(1) / 31)
    evaluator = NormalisedAOPC(beam=1, score="logit")
    for relevance in (contributions, -contributions):
        explanation = Explanation(x, x @ weight, target, x[:, 0], relevance)
        evaluator.update(explanation, Context(lambda z: z @ weight))
    best, worst = evaluator.compute().values["naopc/naopc_logit"].split(3)
    assert_close(best, torch.ones_like(best))
    assert_close(worst, torch.zeros_like(worst))


@pytest.mark.parametrize("size", [1.0, 256.0])
@pytest.mark.parametrize(("steps", "told"), [(2, False), (4096, True)])
def test_bounds_that_differ_by_rounding_alone_are_the_same(size: float, steps: int, told: bool) -> None:
    """The first unit is worth some of the steps in which float32 can represent the score."""
    x, target = torch.ones(3, 6), torch.tensor([0, 0, 0])
    relevance = drawn(3, 6, seed=6).float()
    worth = steps * torch.finfo(torch.float32).eps * size

    def score(z: Tensor) -> Tensor:
        return size + worth * z[:, :1]

    evaluator = NormalisedAOPC(score="logit")
    lower, upper = aopc_bounds(evaluator.curve, score, x, Features()(x, relevance), target)
    assert (upper > lower).all()
    evaluator.update(Explanation(x, score(x), target, x[:, 0], relevance), Context(score))
    values = evaluator.compute().values["naopc/naopc_logit"]
    assert (values.isfinite() == told).all()
    if told:  # the first unit is removed at its place of 6
        place = relevance.argsort(1, descending=True).argsort(1)[:, 0]
        assert_close(values, 1 - place / 5, rtol=0, atol=1e-3)


def test_too_many_units_are_named() -> None:
    x = drawn(1, 1, 12, 12)
    with pytest.raises(BenchError, match=r"at most 128 units .* got 144"):
        aopc_bounds(CURVE, model, x, Pixels()(x, x), TARGET)
