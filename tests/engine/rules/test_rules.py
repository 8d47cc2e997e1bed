"""Every rule, bias mode and linear operator against its matrix twin; the fast paths against the same formulas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from oracles import QUOTIENTS, one_hot, walk
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.contracts import LedgerEntry
from lrp_bench.engine import LRP
from lrp_bench.engine.composites import Layered
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare, ZBox, Zero, ZPlus

pytestmark = [
    pytest.mark.usefixtures("float64", "captured_once"),
    pytest.mark.filterwarnings("ignore:Using padding=.same."),
]

RULES: dict[str, Rule] = {
    "zero": Zero(),
    "epsilon": Epsilon(),
    "epsilon large": Epsilon(0.25),
    "epsilon relative": Epsilon(0.2, relative=True),
    "gamma": Gamma(0.25),
    "gamma generalized": Gamma(0.5, epsilon=1e-3, generalized=True),
    "alpha 2 beta 1": AlphaBeta(2.0, 1.0),
    "alpha 1.5 beta 0.5": AlphaBeta(1.5, 0.5, epsilon=0.1),
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
    "conv1d all": (lambda i, o: nn.Conv1d(i, o, 3, stride=2, padding=2, dilation=2, groups=2), (2, 9)),
    "conv2d": (lambda i, o: nn.Conv2d(i, o, 2), (2, 4, 4)),
    "conv2d without bias": (lambda i, o: nn.Conv2d(i, o, 2, bias=False), (2, 4, 4)),
    "conv2d stride padding": (lambda i, o: nn.Conv2d(i, o, 3, stride=2, padding=1), (2, 5, 5)),
    "conv2d dilation": (lambda i, o: nn.Conv2d(i, o, 2, dilation=2, padding=1), (2, 4, 4)),
    "conv2d groups": (lambda i, o: nn.Conv2d(i, o, 2, groups=2), (2, 4, 4)),
    "conv2d oblong": (lambda i, o: nn.Conv2d(i, o, (1, 3), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), (2, 3, 9)),
    "conv2d same": (lambda i, o: nn.Conv2d(i, o, 3, padding="same"), (2, 3, 3)),
    "conv2d same, even": (lambda i, o: nn.Conv2d(i, o, (2, 3), padding="same", dilation=(1, 2)), (2, 3, 3)),
    "conv1d same, even": (lambda i, o: nn.Conv1d(i, o, 4, padding="same", groups=2), (2, 5)),
    "conv3d all": (lambda i, o: nn.Conv3d(i, o, 2, stride=2, padding=1, dilation=(1, 2, 1), groups=2), (2, 3, 3, 3)),
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

BETWEEN = (
    "linear",
    "linear on tokens",
    "conv1d all",
    "conv2d",
    "conv2d without bias",
    "conv3d all",
    "conv_transpose2d all",
)


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
            assert_close(
                _lost(e.ledger[str(i)]), torch.stack(list(vars(slow.lost[i]).values())), rtol=1e-9, atol=1e-9 * scale
            )


def _lost(entry: LedgerEntry) -> Tensor:
    return torch.stack([entry.bias, entry.stabilizer, entry.rule])


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("operator", OPERATORS)
def test_equals_the_matrix_formula(operator: str, rule: str, bias: str) -> None:
    net, x = single(operator)
    weights = torch.randn(len(x), net(x).shape[1], generator=torch.Generator().manual_seed(3))
    check(net, x, {0: replace(RULES[rule], bias=bias)}, weights)


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("operator", BETWEEN)
def test_equals_the_matrix_formula_between_relus(operator: str, rule: str, bias: str) -> None:
    net, x = between(operator)
    chosen = replace(RULES[rule], bias=bias)
    check(net, x, {0: chosen, 2: chosen, 5: Epsilon()})


@pytest.mark.parametrize("rule", RULES)
def test_equals_the_matrix_formula_in_every_layer(rule: str) -> None:
    net, x = between("conv2d")
    check(net, x, dict.fromkeys((0, 2, 5), RULES[rule]))


@cache
def first_three() -> tuple[nn.Sequential, Tensor]:
    net, x = between("linear")
    return net[:3], x


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("rule", ["epsilon", "gamma generalized", "alpha 2 beta 1", "z+"])
def test_behind_a_relu_and_before_none(rule: str, bias: str) -> None:
    net, x = first_three()
    weights = torch.randn(len(x), 2, generator=torch.Generator().manual_seed(3))
    check(net, x, {0: Epsilon(), 2: replace(RULES[rule], bias=bias)}, weights)


ACTIVATIONS: list[Callable[[], nn.Module]] = [nn.Sigmoid, nn.Softplus, nn.ReLU6, nn.Tanh, nn.LeakyReLU, nn.ELU]


@cache
def with_activation(activation: Callable[[], nn.Module]) -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(4)
    net = nn.Sequential(nn.Linear(5, 4), activation(), nn.Linear(4, 3), activation(), nn.Linear(3, 2))
    return net, torch.randn(3, 5)


@pytest.mark.parametrize("rule", [AlphaBeta(2.0, 1.0), Gamma(0.5, generalized=True), ZPlus()], ids=repr)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_sign_of_the_input_is_known_rightly(activation: Callable[[], nn.Module], rule: Rule) -> None:
    """The graph says which activations are never negative; a wrong word there would drop the negative half."""
    check(*with_activation(activation), dict.fromkeys((0, 2, 4), rule))


@pytest.mark.parametrize("bias", BIASES)
def test_box_takes_bounds_per_channel(bias: str) -> None:
    net, x = single("conv2d")
    rule = ZBox([-4.0, -2.0], [3.0, 5.0], bias=bias)
    check(net, x, {0: rule}, torch.randn(len(x), net(x).shape[1]))


def test_box_takes_bounds_per_feature() -> None:
    net, x = single("linear")
    check(net, x, {0: ZBox([-4.0, -2.0, -3.0, -3.0, -5.0], 3.0)}, torch.randn(len(x), 4))


@cache
def dead() -> tuple[nn.Sequential, Tensor]:
    """Without biases: black images, and a layer that is silent for a sample."""
    torch.manual_seed(5)
    net = nn.Sequential(nn.Linear(5, 4, bias=False), nn.ReLU(), nn.Linear(4, 3, bias=False))
    net[0].weight.data.abs_()
    return net, torch.cat([torch.zeros(1, 5), -torch.ones(1, 5), torch.randn(2, 5)])


@pytest.mark.parametrize("rule", RULES)
def test_dead_neurons(rule: str) -> None:
    """0/0 is 0, not NaN."""
    check(*dead(), dict.fromkeys((0, 2), RULES[rule]))


def test_every_rule_has_a_twin() -> None:
    """A rule that joins the module without a formula in oracles.py and a row above fails here."""
    own = {c for c in descendants(Rule) if c.__module__.startswith("lrp_bench.")}
    assert own == set(QUOTIENTS) == {type(rule) for rule in RULES.values()}


def descendants(c: type) -> set[type]:
    return {c for child in c.__subclasses__() for c in {child} | descendants(child)}
