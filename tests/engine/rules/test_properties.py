"""What holds for every rule and every input, searched by hypothesis."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_bench.contracts import Explanation
from lrp_bench.engine import LRP
from lrp_bench.engine.composites import Composite, EpsilonAlpha2Beta1Flat, EpsilonGammaBox, EpsilonPlus
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare, ZBox, Zero, ZPlus

pytestmark = pytest.mark.usefixtures("float64", "captured_once")

few = settings(max_examples=2, deadline=None, derandomize=True, phases=[Phase.generate])  # a seed cannot shrink

RULES: dict[str, Rule | Composite] = {
    "zero": Zero(),
    "epsilon": Epsilon(),
    "epsilon large": Epsilon(0.1),
    "gamma": Gamma(generalized=True),
    "alphabeta": AlphaBeta(),
    "z+": ZPlus(),
    "z-B": ZBox(-4.0, 4.0),
    "w2": WSquare(),
    "flat": Flat(),
    "epsilon_plus": EpsilonPlus(),
    "epsilon_alpha2_beta1_flat": EpsilonAlpha2Beta1Flat(),
    "epsilon_gamma_box": EpsilonGammaBox(-4.0, 4.0),
}
CONSERVING: dict[str, Rule | Composite] = {
    **{name: replace(rule, bias="redistribute") for name, rule in RULES.items() if isinstance(rule, Rule)},
    "epsilon_plus": EpsilonPlus(bias="redistribute"),
    "epsilon_gamma_box": EpsilonGammaBox(-4.0, 4.0, bias="redistribute"),
}


class Everything(nn.Module):
    """Batch norms folded and not, a residual sum, a concatenation, pools, factors and a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.folded = nn.BatchNorm2d(4)
        self.branch = nn.Conv2d(4, 4, 3, padding=1)
        self.alone = nn.BatchNorm2d(8)
        self.down = nn.Conv2d(8, 5, 2, stride=2)
        self.head = nn.Linear(5, 3)
        for norm in (self.folded, self.alone):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 1.5)
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.folded(self.conv(x)))
        b = F.relu(a + self.branch(a))
        c = F.relu(self.alone(torch.cat([a, b * 0.5], 1)))
        d = F.max_pool2d(F.relu(self.down(c)), 2)
        return self.head(d.mean((2, 3)))


@cache
def everything() -> nn.Module:
    torch.manual_seed(11)
    return Everything().double().eval()


@cache
def lrp(rule: str, *, conserving: bool = False) -> LRP:
    return LRP(everything(), (CONSERVING if conserving else RULES)[rule], example=images(0, 2))


def images(seed: int, batch: int) -> Tensor:
    return torch.randn(batch, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    assert_close(actual, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


def lost(e: Explanation) -> Tensor:
    """What the ledger says went astray, (batch,)."""
    return sum((entry.bias + entry.stabilizer + entry.rule for entry in e.ledger.values()), torch.zeros(len(e.score)))


seeds = st.integers(0, 2**31)
every_rule = pytest.mark.parametrize("rule", RULES)


@every_rule
@few
@given(seed=seeds, p=st.floats(-3.0, 3.0), q=st.floats(-3.0, 3.0))
def test_linear_in_the_weights_of_the_target(rule: str, seed: int, p: float, q: float) -> None:
    x = images(seed, 2)
    first, second = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(seed + 1))
    explain = lrp(rule)
    together = explain(x, p * first + q * second)
    parts = p * explain(x, first).relevance + q * explain(x, second).relevance
    assert_close(together.relevance, parts, rtol=1e-9, atol=1e-9 * float(together.relevance.abs().max()) + 1e-12)


@every_rule
@few
@given(seed=seeds, target=st.integers(0, 2))
def test_a_class_is_a_one_hot_weight(rule: str, seed: int, target: int) -> None:
    x = images(seed, 3)
    weights = F.one_hot(torch.full((3,), target), 3).double()
    by_int, by_class, by_weight = (lrp(rule)(x, t) for t in (target, torch.full((3,), target), weights))
    assert_close(by_int.relevance, by_weight.relevance, rtol=0.0, atol=0.0)
    assert_close(by_class.relevance, by_weight.relevance, rtol=0.0, atol=0.0)
    assert_close(by_int.score, everything()(x)[:, target])


@every_rule
@few
@given(seed=seeds, chosen=st.integers(0, 3))
def test_independent_of_the_rest_of_the_batch(rule: str, seed: int, chosen: int) -> None:
    x = images(seed, 4)
    batch, alone = lrp(rule)(x), lrp(rule)(x[chosen : chosen + 1])
    close(batch.relevance[chosen : chosen + 1], alone.relevance)
    for name, entry in alone.ledger.items():
        assert_close(batch.ledger[name].passed[chosen : chosen + 1], entry.passed, rtol=1e-9, atol=1e-10)


@every_rule
@few
@given(seed=seeds, order=st.permutations(range(4)))
def test_equivariant_under_permutations_of_the_batch(rule: str, seed: int, order: list[int]) -> None:
    x = images(seed, 4)
    close(lrp(rule)(x[order]).relevance, lrp(rule)(x).relevance[order])


@pytest.mark.parametrize("rule", CONSERVING)
@few
@given(seed=seeds)
def test_redistribute_conserves(rule: str, seed: int) -> None:
    e = lrp(rule, conserving=True)(images(seed, 2))
    scale = max(float(R.abs().sum()) for R in e.layers.values())
    assert_close(e.relevance.sum((1, 2, 3)), e.score, rtol=1e-9, atol=1e-10 * scale)
    assert_close(lost(e), torch.zeros(2), rtol=0.0, atol=1e-10 * scale)


@every_rule
@few
@given(seed=seeds)
def test_score_is_relevance_and_what_the_ledger_lost(rule: str, seed: int) -> None:
    e = lrp(rule)(images(seed, 3))
    assert_close(e.score, e.relevance.sum((1, 2, 3)) + lost(e), rtol=1e-9, atol=1e-9 * float(e.relevance.abs().sum()))


@every_rule
@few
@given(seed=seeds)
def test_every_entry_of_the_ledger_closes(rule: str, seed: int) -> None:
    e = lrp(rule)(images(seed, 3))
    assert len(e.ledger) >= 8
    for entry in e.ledger.values():
        told = torch.stack([entry.passed, entry.bias, entry.stabilizer, entry.rule])
        assert float(((entry.arrived - told.sum(0)).abs() / told.abs().amax(0).clamp(min=1e-9)).max()) < 1e-9


@every_rule
@few
@given(seed=seeds)
def test_explanation_keeps_its_contract(rule: str, seed: int) -> None:
    x = images(seed, 3)
    e = lrp(rule)(x)
    logits = everything()(x).detach()
    assert_close(e.logits, logits, rtol=1e-10, atol=1e-10)
    assert e.relevance.shape == x.shape
    assert e.target.tolist() == logits.argmax(1).tolist()
    assert_close(e.score, logits.amax(1), rtol=1e-10, atol=1e-10)
    assert {e.relevance.requires_grad, e.logits.requires_grad, e.score.requires_grad} == {False}
    assert {part.shape for entry in e.ledger.values() for part in vars(entry).values()} == {(3,)}
