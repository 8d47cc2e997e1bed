"""Every rule, bias mode and linear operator against its matrix twin; the fast paths against the same formulas."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from oracles import QUOTIENTS, one_hot, walk
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.contracts import LedgerEntry
from lrp_bench.engine import LRP, rules
from lrp_bench.engine.composites import Layered
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare, ZBox, Zero, ZPlus

pytestmark = pytest.mark.usefixtures("float64", "captured_once")

RULES: dict[str, Rule] = {
    "zero": Zero(),
    "epsilon": Epsilon(),
    "epsilon large": Epsilon(0.25),
    "epsilon relative": Epsilon(0.2, relative=True),
    "gamma": Gamma(0.25),
    "gamma generalized": Gamma(0.5, epsilon=1e-3, generalized=True),
    "alpha 2 beta 1": AlphaBeta(2.0, 1.0),
    "alpha 1.5 beta 0.5": AlphaBeta(1.5, 0.5, epsilon=0.1),
    "alpha 1 beta 0": AlphaBeta(1.0, 0.0),
    "z+": ZPlus(),
    "z+ unstabilised": ZPlus(epsilon=0.0),
    "z-B": ZBox(-2.5, 3.0),
    "w2": WSquare(epsilon=1e-2),
    "flat": Flat(epsilon=1e-2),
}
BIASES = ("absorb", "exclude", "redistribute")

Factory = Callable[[int, int], nn.Module]
OPERATORS: dict[str, tuple[Factory, tuple[int, ...]]] = {
    "linear": (nn.Linear, (5,)),
    "linear without bias": (lambda i, o: nn.Linear(i, o, bias=False), (5,)),
    "linear on tokens": (nn.Linear, (3, 2)),
    "conv1d": (lambda i, o: nn.Conv1d(i, o, 3), (2, 8)),
    "conv1d all": (lambda i, o: nn.Conv1d(i, o, 3, stride=2, padding=2, dilation=2, groups=2), (2, 9)),
    "conv2d": (lambda i, o: nn.Conv2d(i, o, 2), (2, 4, 4)),
    "conv2d without bias": (lambda i, o: nn.Conv2d(i, o, 2, bias=False), (2, 4, 4)),
    "conv2d stride padding": (lambda i, o: nn.Conv2d(i, o, 3, stride=2, padding=1), (2, 5, 5)),
    "conv2d dilation": (lambda i, o: nn.Conv2d(i, o, 2, dilation=2, padding=1), (2, 4, 4)),
    "conv2d groups": (lambda i, o: nn.Conv2d(i, o, 2, groups=2), (2, 4, 4)),
    "conv2d oblong": (lambda i, o: nn.Conv2d(i, o, (1, 3), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), (2, 3, 9)),
    "conv2d same": (lambda i, o: nn.Conv2d(i, o, 3, padding="same"), (2, 3, 3)),
    "conv3d": (lambda i, o: nn.Conv3d(i, o, 2), (2, 3, 3, 3)),
    "conv3d all": (lambda i, o: nn.Conv3d(i, o, 2, stride=2, padding=1, dilation=(1, 2, 1), groups=2), (2, 3, 3, 3)),
    "conv_transpose1d": (lambda i, o: nn.ConvTranspose1d(i, o, 2), (2, 4)),
    "conv_transpose1d all": (
        lambda i, o: nn.ConvTranspose1d(i, o, 3, stride=2, padding=1, output_padding=1, dilation=2, groups=2),
        (2, 3),
    ),
    "conv_transpose2d": (lambda i, o: nn.ConvTranspose2d(i, o, 2), (2, 2, 2)),
    "conv_transpose2d all": (
        lambda i, o: nn.ConvTranspose2d(i, o, 3, stride=(2, 1), padding=1, output_padding=(1, 0), groups=2),
        (2, 2, 2),
    ),
    "conv_transpose3d": (lambda i, o: nn.ConvTranspose3d(i, o, 2, stride=(1, 2, 1), bias=False), (2, 1, 1, 1)),
}


@cache
def single(operator: str) -> tuple[nn.Sequential, Tensor]:
    """The operator alone, on signed inputs."""
    make, shape = OPERATORS[operator]
    torch.manual_seed(1)
    return nn.Sequential(make(2 if len(shape) > 1 else 5, 4), nn.Flatten()), torch.randn(3, *shape)


@cache
def between(operator: str) -> tuple[nn.Sequential, Tensor]:
    """The operator on signed inputs (0) and behind a ReLU (2), a ReLU after each, then a dense layer (5)."""
    make, shape = OPERATORS[operator]
    torch.manual_seed(2)
    channels = shape[-1] if operator.startswith("linear") else 2
    body = [make(channels, 4), nn.ReLU(), make(4, 2), nn.ReLU(), nn.Flatten()]
    x = torch.randn(2, *shape)
    features = nn.Sequential(*body)(x).shape[1]
    return nn.Sequential(*body, nn.Linear(features, 3)), x


def check(net: nn.Sequential, x: Tensor, assigned: dict[int, Rule], weights: Tensor | None = None) -> None:
    """Relevance at each layer's input, and the ledger, against the slow walk."""
    composite = Layered(names={str(i): rule for i, rule in assigned.items()})
    e = LRP(net, composite, example=x)(x, weights)
    slow = walk(net, assigned, x, one_hot(e.logits) if weights is None else weights)
    scale = max(float(R.abs().max()) for R in slow.relevance.values())
    assert_close(e.relevance, slow.relevance[0], rtol=1e-9, atol=1e-10 * scale)
    for i in assigned:
        assert_close(e.layers[str(i)], slow.relevance[i], rtol=1e-9, atol=1e-10 * scale)
        if assigned[i].bias != "redistribute":
            assert_close(_lost(e.ledger[str(i)]), torch.stack(list(vars(slow.lost[i]).values())), rtol=1e-9, atol=1e-9 * scale)


def _lost(entry: LedgerEntry) -> Tensor:
    return torch.stack([entry.bias, entry.stabilizer, entry.rule])


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_equals_matrix_formula(operator: str, rule: str, bias: str) -> None:
    net, x = single(operator)
    weights = torch.randn(len(x), net(x).shape[1], generator=torch.Generator().manual_seed(3))
    check(net, x, {0: replace(RULES[rule], bias=bias)}, weights)


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_equals_matrix_formula_between_relus(operator: str, rule: str, bias: str) -> None:
    net, x = between(operator)
    chosen = replace(RULES[rule], bias=bias)
    check(net, x, {0: chosen, 2: chosen, 5: Epsilon()})
