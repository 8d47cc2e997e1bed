"""A short, seeded part of `make fuzz`: random networks, each held to its right relevance."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fuzzing import BATCH, INPUTS, OPERATIONS, RULES, TWO, Network, Plan, check, fuzz
from torch.testing import assert_close

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("seed", range(3))
def test_random_networks_are_explained_rightly(seed: int) -> None:
    count, found = fuzz(rounds=1, first=seed, examples=15)
    assert (count >= 15, found) == (True, [])


def single(name: str) -> Plan:
    """A network of a dense layer or convolution where there can be one, the operation, and the head."""
    shape = next(each for each in INPUTS if OPERATIONS[name][0](each))
    operands = (0, 1) if name in TWO else (1,)
    return Plan(shape, (("shift", (0,), 5), (name, operands, 7)), 0, seed=3)


@pytest.mark.slow
@pytest.mark.parametrize("rules", range(len(RULES)), ids=[rules.name for rules in RULES])
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_operation_under_every_rule(name: str, rules: int) -> None:
    plan = replace(single(name), rules=rules)
    assert any(check(replace(plan, seed=seed)) for seed in range(3))


def test_the_walk_back_is_the_gradient_times_input_where_that_is_known() -> None:
    plan = Plan((2, 4, 4), (("convolution", (0,), 1), ("relu", (1,), 2), ("average pool", (2,), 3)), 0)
    net = Network(plan)
    x = net.example().requires_grad_()
    logits = net(x)
    expected = x * torch.autograd.grad(logits.amax(1).sum(), x)[0]
    zero = next(rules for rules in RULES if rules.name == "Zero(bias='absorb')")
    assert_close(net.relevance(x.detach(), zero), expected)


def test_a_wrong_number_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan((5,), (("linear", (0,), 1),), 3)
    monkeypatch.setattr(Network, "relevance", lambda self, x, rules: torch.full((BATCH, 5), 0.1))
    with pytest.raises(AssertionError, match="not close"):
        check(plan)
