"""Model randomisation and random logit: closed forms on linear models, slow loops, and methods that must fail."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.contracts import BenchError, Explainer, Explanation, NotApplicable, Scores
from lrp_bench.engine.rules import Epsilon, ZPlus
from lrp_bench.explainers.lrp import LRPExplainer
from lrp_bench.explainers.reference import Random
from lrp_bench.metrics import Context, Evaluator, Randomisation, RandomLogit
from lrp_bench.metrics.randomisation import forward_order, shuffle

torch.manual_seed(0)
MLP = nn.Sequential(nn.Linear(12, 10), nn.Tanh(), nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 4))
CNN = nn.Sequential(
    *(layer for size in (2, 8, 8, 8, 8) for layer in (nn.Conv2d(size, 8, 3, padding=1), nn.ReLU())),
    nn.Flatten(),
    nn.Linear(8 * 36, 4),
)
ROWS, PICTURES = (
    torch.randn(9, 12, generator=torch.Generator().manual_seed(1)),
    torch.rand(9, 2, 6, 6, generator=torch.Generator().manual_seed(2)),
)


class Gradient:
    """Input x gradient by autograd."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def explain(self, inputs: Tensor, target: Tensor | None = None) -> Explanation:
        x = inputs.detach().clone().requires_grad_()
        logits = self.model(x)
        target = logits.argmax(1) if target is None else target
        score = logits.gather(1, target[:, None])[:, 0]
        (gradient,) = torch.autograd.grad(score.sum(), x)
        return Explanation(inputs, logits.detach(), target, score.detach(), gradient * inputs)


def scored(
    evaluator: Evaluator, model: nn.Module, x: Tensor, method: Callable[[nn.Module], Explainer] = Gradient
) -> Scores:
    made = method(model)
    evaluator.update(made.explain(x), Context(model, method=made, explainer=method))
    return evaluator.compute()


def rho(a: Tensor, b: Tensor) -> float:
    return abs(float(spearmanr(a.flatten(), b.flatten()).statistic))


def test_random_logit_on_a_linear_model_is_the_cosine_of_two_products() -> None:
    model = nn.Linear(12, 4, bias=False)
    evaluator = RandomLogit(seed=7)
    values = scored(evaluator, model, ROWS).values
    explanation = Gradient(model).explain(ROWS)
    for i, (x, c, d) in enumerate(zip(ROWS, explanation.target, evaluator.other(explanation), strict=True)):
        one, other = model.weight.detach()[c] * x, model.weight.detach()[d] * x
        assert c != d
        assert_close(values["random_logit/cosine"][i], (one @ other / one.norm() / other.norm()).abs())
        assert float(values["random_logit/spearman"][i]) == pytest.approx(rho(one, other), abs=1e-6)


def test_of_two_classes_the_right_answer_looks_blind_so_it_is_not_scored() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            score = (x * torch.arange(12.0)).sum(1)
            return torch.stack([score, -score], 1)

    method, target = Gradient(Two()), torch.zeros(len(ROWS), dtype=torch.int64)
    one, other = (method.explain(ROWS, target + each).relevance for each in (0, 1))
    assert_close(other, -one)
    assert rho(one, other) == pytest.approx(1)
    with pytest.raises(NotApplicable, match="at least three outputs, got 2"):
        scored(RandomLogit(), Two(), ROWS)


def test_every_other_class_has_its_chance() -> None:
    x = torch.randn(3000, 2, generator=torch.Generator().manual_seed(0))
    target = torch.arange(3000) % 4
    drawn = RandomLogit(seed=1).other(Explanation(x, torch.zeros(3000, 4), target, x[:, 0], x))
    counts = torch.bincount((drawn - target) % 4, minlength=4)
    assert counts[0] == 0
    assert ((counts[1:] - 1000).abs() < 100).all()


@pytest.mark.parametrize("steps", [None, 2])
def test_mprt_is_a_cascade_from_the_output_down(steps: int | None) -> None:
    weights = copy.deepcopy(MLP.state_dict())
    found = scored(Randomisation(layers=steps, seed=3), MLP, ROWS)
    before = Gradient(MLP).explain(ROWS)
    twin, generator, maps = copy.deepcopy(MLP), torch.Generator().manual_seed(3), [before.relevance]
    for place in (4, 2, 0):
        for name in ("weight", "bias"):
            values = getattr(twin[place], name).data
            values.copy_(values.flatten()[torch.randperm(values.numel(), generator=generator)].view_as(values))
        maps.append(Gradient(twin).explain(ROWS, before.target).relevance)
    stops = [0, 1, 2, 3] if steps is None else [0, 2, 3]
    for kind, seen in (("spearman", maps), ("magnitude", [each.abs() for each in maps])):
        expected = torch.tensor([[rho(seen[0][i], seen[stop][i]) for stop in stops] for i in range(len(ROWS))])
        curve = found.curves[f"mprt/{kind}"]
        assert_close(curve.scores, expected)
        assert_close(curve.fractions, torch.tensor(stops) / 3)
        assert_close(found.values[f"mprt/{kind}"], expected[:, -1])
        assert_close(found.values[f"mprt/{kind}_mean"], expected[:, 1:].mean(1))
    assert_close(dict(MLP.state_dict()), dict(weights), rtol=0, atol=0)


def over_batches(evaluator: Evaluator, model: nn.Module, make: Callable[[nn.Module], Explainer]) -> Evaluator:
    method = make(model)
    for x in PICTURES.split([5, 4]):
        evaluator.update(method.explain(x), Context(model, method=method, explainer=make))
    return evaluator


class Blind(LRPExplainer):
    follows_weights = False


def test_a_method_that_follows_weights_is_made_once_and_tells_the_same() -> None:
    made: list[nn.Module] = []
    model = nn.Sequential(CNN[0], nn.BatchNorm2d(8), *CNN[1:4], nn.Flatten(), nn.Linear(8 * 36, 4)).eval()
    weights = copy.deepcopy(model.state_dict())

    def make(model: nn.Module, kind: type[LRPExplainer]) -> Explainer:
        made.append(model)
        return kind(model, PICTURES, Epsilon(1e-3))

    followed, anew = (
        over_batches(Randomisation(layers=2), model, partial(make, kind=kind)).compute()
        for kind in (LRPExplainer, Blind)
    )
    assert [each is model for each in made] == [True, False] + [True] + [False] * 4
    assert_close(dict(followed.values), dict(anew.values))
    for name, curve in followed.curves.items():
        assert_close(curve.scores, anew.curves[name].scores)
    assert_close(dict(model.state_dict()), dict(weights), rtol=0, atol=0)


class Following(Gradient):
    follows_weights = True


@pytest.mark.parametrize("end", ["compute", "reset"])
def test_the_randomised_copy_is_gone_with_its_method_when_all_is_said(end: str) -> None:
    made: list[weakref.ref[object]] = []

    def make(model: nn.Module) -> Explainer:
        method = Following(model)
        made.extend([weakref.ref(model), weakref.ref(method)])
        return method

    evaluator = over_batches(Randomisation(), CNN, make)
    gc.collect()
    assert [each() is None for each in made] == [False, True, False, False]  # the context's method was the caller's
    getattr(evaluator, end)()
    gc.collect()
    assert [each() is None for each in made] == [False, True, True, True]


def test_another_model_has_a_copy_of_its_own() -> None:
    one, other = nn.Sequential(nn.Linear(12, 4)), nn.Sequential(nn.Linear(12, 4))
    evaluator, alone = Randomisation(), Randomisation()
    for model in (one, other):
        method = Following(model)
        evaluator.update(method.explain(ROWS), Context(model, method=method, explainer=Following))
    alone.update(method.explain(ROWS), Context(other, method=method, explainer=Following))
    assert_close(evaluator.compute().values["mprt/spearman"][9:], alone.compute().values["mprt/spearman"])


def test_layers_may_be_named() -> None:
    found = scored(Randomisation(layers=["4"]), MLP, ROWS)
    assert_close(found.curves["mprt/spearman"].fractions, torch.tensor([0.0, 1 / 3, 1.0]))
    with pytest.raises(BenchError, match="among 4, 2, 0, got 1, head"):
        scored(Randomisation(layers=["1", "head"]), MLP, ROWS)


@pytest.mark.parametrize("draws", [0, 2])
def test_a_map_of_which_nothing_is_left_is_unlike_and_one_that_was_nothing_is_undefined(draws: int) -> None:
    """As Grad-CAM on a randomised model, all zero after its ReLU; of sample 0 there was no map to begin with."""

    class Cut(Gradient):
        def explain(self, inputs: Tensor, target: Tensor | None = None) -> Explanation:
            kept = torch.full((len(inputs), 1), float(self.model is MLP))
            kept[0] = 0.0
            found = super().explain(inputs, target)
            return replace(found, relevance=found.relevance * kept)

    found = scored(Randomisation(draws=draws), MLP, ROWS, Cut)
    assert len(found.values) == 4
    for values in found.values.values():
        assert values[0].isnan()
        assert_close(values[1:], torch.zeros(len(ROWS) - 1), rtol=0, atol=0)


def test_little_noise_and_many_draws_change_little() -> None:
    plain = scored(Randomisation(), MLP, ROWS).values["mprt/spearman"]
    smooth = scored(Randomisation(draws=3, sigma=1e-5), MLP, ROWS).values["smprt/spearman"]
    assert_close(smooth, plain, rtol=0, atol=0.05)
    rough = scored(Randomisation(draws=3, sigma=1.0), MLP, ROWS).values["smprt/spearman"]
    assert (rough - plain).abs().max() > 0.05


@pytest.mark.parametrize("make", [Randomisation, RandomLogit])
def test_a_method_that_looks_at_nothing_fails(make: Callable[[], Evaluator]) -> None:
    found = scored(make(), MLP, ROWS, lambda model: Random(model, ROWS))
    (gated,) = [name for name, measure in found.measures.items() if measure.gate is not None]
    assert_close(found.values[gated], torch.ones(len(ROWS)))
    assert found.values[gated].mean() > found.measures[gated].gate


def test_z_plus_in_a_deep_network_is_blind_to_the_class_and_epsilon_is_not() -> None:
    """Sixt et al. 2020: products of non-negative matrices converge to rank one."""
    plus, epsilon = (
        scored(RandomLogit(), CNN, PICTURES, lambda model, rule=rule: LRPExplainer(model, PICTURES, rule))
        for rule in (ZPlus(), Epsilon())
    )
    name = "random_logit/cosine"
    assert plus.values[name].mean() > 0.9 > 0.5 > epsilon.values[name].mean()


def test_the_order_is_that_of_the_computation() -> None:
    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = nn.Linear(6, 2), nn.Linear(6, 6)
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x * self.scale)
            return self.last(self.attention(x, x, x, need_weights=False)[0].sum(1))

    order = forward_order(Crossed(), torch.randn(2, 3, 6))
    assert order == ["", "first", "attention", "attention.out_proj", "last"]


def test_a_shared_parameter_is_shuffled_once_and_keeps_its_values() -> None:
    one, other = nn.Linear(20, 20), nn.Linear(20, 20)
    other.weight = one.weight
    generator, done = torch.Generator().manual_seed(0), set[int]()
    before = one.weight.detach().clone()
    shuffle(one, generator, done)
    once = one.weight.detach().clone()
    shuffle(other, generator, done)
    assert_close(other.weight.detach(), once, rtol=0, atol=0)
    assert not torch.equal(once, before)
    assert_close(once.flatten().sort().values, before.flatten().sort().values, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("evaluator", "model", "context"),
    [
        (Randomisation(), nn.Flatten(), {"explainer": Gradient}),
        (Randomisation(), lambda x: x, {"explainer": Gradient}),
        (Randomisation(), MLP, {}),
        (RandomLogit(), MLP, {"method": None}),
        (RandomLogit(), nn.Linear(12, 1), {}),
        (RandomLogit(), nn.Linear(12, 2), {}),
    ],
)
def test_what_does_not_apply_says_why(evaluator: Evaluator, model: nn.Module, context: dict[str, object]) -> None:
    method = Gradient(model)
    with pytest.raises(NotApplicable, match=r"Expected .*got"):
        evaluator.update(method.explain(ROWS), Context(model, **{"method": method, **context}))


def test_a_method_that_refuses_the_randomised_model_is_named() -> None:
    def picky(model: nn.Module) -> Explainer:
        if model is not MLP:
            raise BenchError("no such model")
        return Gradient(model)

    with pytest.raises(NotApplicable, match="randomised model: no such model"):
        scored(Randomisation(), MLP, ROWS, picky)


def test_noise_wants_numbers_that_it_can_be_added_to() -> None:
    tokens = torch.ones(2, 12, dtype=torch.int64)
    explanation = Explanation(tokens, tokens, tokens[:, 0], tokens[:, 0], torch.rand(2, 12))
    with pytest.raises(NotApplicable, match="set draws to 0"):
        Randomisation(draws=2).update(explanation, Context(MLP, method=Gradient(MLP), explainer=Gradient))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Randomisation(layers=0),
        lambda: Randomisation(layers="42"),
        lambda: Randomisation(layers=2.0),
        lambda: Randomisation(seed=-1),
        lambda: Randomisation(seed="a"),
        lambda: RandomLogit(seed=-1),
        lambda: RandomLogit(seed=0.5),
        lambda: Randomisation(draws=-1),
        lambda: Randomisation(sigma=0),
        lambda: Randomisation(gate=2.0),
        lambda: RandomLogit(gate=0),
    ],
)
def test_settings_are_checked_at_once(make: Callable[[], Evaluator]) -> None:
    with pytest.raises(BenchError, match=r"Expected .* got "):
        make()
