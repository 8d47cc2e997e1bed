"""Which rule each layer gets, for every composite, and that the explanation is that of these rules."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch
from oracles import LINEAR, one_hot, walk
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.engine import LRP, composites
from lrp_bench.engine.composites import (
    CPLRP,
    Alpha2Beta1Box,
    AttnLRP,
    Composite,
    DeepTaylor,
    EpsilonAlpha2Beta1,
    EpsilonAlpha2Beta1Flat,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
    Layered,
    Uniform,
)
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare, ZBox, Zero, ZPlus

pytestmark = pytest.mark.usefixtures("float64", "captured_once")


@cache
def network() -> tuple[nn.Sequential, Tensor]:
    """0 conv, 2 average pool, 3 batch norm (unmerged), 5 conv, 8 linear, 10 linear."""
    torch.manual_seed(5)
    norm = nn.BatchNorm2d(3)
    norm.running_mean.normal_()
    nn.init.normal_(norm.bias)
    features = (nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AvgPool2d(2), norm, nn.ReLU(), nn.Conv2d(3, 4, 2), nn.ReLU())
    head = (nn.Flatten(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    return nn.Sequential(*features, *head).eval(), torch.randn(3, 2, 6, 6)


EPSILON, Z, AB, G = Epsilon(), ZPlus(), AlphaBeta(2.0, 1.0), Gamma(0.25, generalized=True)

LARGE, SIGNED = Epsilon(0.2), Gamma(0.5, 0.2, generalized=True)

# composite: rules of 0 conv, 2 pool, 3 norm, 5 conv, 8 linear, 10 linear
ASSIGNMENTS: dict[str, tuple[Composite, Sequence[Rule]]] = {
    "EpsilonPlus": (EpsilonPlus(), (Z, EPSILON, EPSILON, Z, EPSILON, EPSILON)),
    "EpsilonPlusFlat": (EpsilonPlusFlat(), (Flat(), EPSILON, EPSILON, Z, EPSILON, EPSILON)),
    "EpsilonAlpha2Beta1": (EpsilonAlpha2Beta1(), (AB, EPSILON, EPSILON, AB, EPSILON, EPSILON)),
    "EpsilonAlpha2Beta1Flat": (EpsilonAlpha2Beta1Flat(), (Flat(), EPSILON, EPSILON, AB, EPSILON, EPSILON)),
    "EpsilonGammaBox": (EpsilonGammaBox(-3.0, 2.0), (ZBox(-3.0, 2.0), EPSILON, EPSILON, G, EPSILON, EPSILON)),
    "DeepTaylor": (DeepTaylor(-3.0, 2.0), (ZBox(-3.0, 2.0), EPSILON, EPSILON, Z, Z, Z)),
    "Alpha2Beta1Box": (Alpha2Beta1Box(-3.0, 2.0), (ZBox(-3.0, 2.0), EPSILON, EPSILON, AB, AB, AB)),
    "AttnLRP": (AttnLRP(0.2, gamma=0.5), (SIGNED, LARGE, LARGE, SIGNED, SIGNED, SIGNED)),
    "CPLRP": (CPLRP(0.2), [LARGE] * 6),
    "Uniform": (Uniform(AlphaBeta(1.5, 0.5)), (AlphaBeta(1.5, 0.5), EPSILON, *[AlphaBeta(1.5, 0.5)] * 4)),
    "Layered": (
        Layered(
            kinds={"convolution": Z, "linear": Gamma(0.1), "norm": AB, "pool": Flat(epsilon=0.0)},
            first=WSquare(),
            last=Zero(),
            names={"8": Epsilon(0.5), "[5]": Epsilon(0.3)},
        ),
        (WSquare(), Flat(epsilon=0.0), AB, Epsilon(0.3), Epsilon(0.5), Zero()),
    ),
}


def check(composite: Composite, rules: Sequence[Rule]) -> None:
    net, x = network()
    places = [i for i, layer in enumerate(net) if isinstance(layer, LINEAR)]
    assigned = dict(zip(places, rules, strict=True))
    lrp = LRP(net, composite, example=x)
    assert {c.module: c.rule for c in lrp.coverage if c.module in map(str, places)} == {
        str(i): repr(rule) for i, rule in assigned.items()
    }
    e = lrp(x)
    slow = walk(net, assigned, x, one_hot(e.logits))
    assert_close(e.relevance, slow.relevance[0], rtol=1e-9, atol=1e-10 * float(slow.relevance[0].abs().max()))


@pytest.mark.parametrize("name", ASSIGNMENTS)
def test_rules_by_layer(name: str) -> None:
    check(*ASSIGNMENTS[name])


def test_every_composite_has_a_row() -> None:
    """A composite that joins the module without an assignment above fails here."""
    own = {name: getattr(composites, name) for name in composites.__all__}
    made = {name for name, f in own.items() if inspect.isfunction(f) and f.__annotations__.get("return") == "Layered"}
    classes = {name for name, c in own.items() if inspect.isclass(c) and issubclass(c, Composite)} - {"Composite"}
    assert made | classes == set(ASSIGNMENTS)


WITH_BIAS: list[Callable[..., Composite]] = [
    *(EpsilonPlus, EpsilonPlusFlat, EpsilonAlpha2Beta1, EpsilonAlpha2Beta1Flat, EpsilonGammaBox, AttnLRP, CPLRP),
]


@pytest.mark.parametrize("make", WITH_BIAS, ids=lambda f: f.__name__)
def test_bias_mode_reaches_every_layer(make: Callable[..., Composite]) -> None:
    """Batch norms that no neighbour takes have a bias, too."""
    net, x = network()
    e = LRP(net, make(bias="exclude"), example=x)(x)
    for entry in e.ledger.values():
        assert_close(entry.bias, torch.zeros(3))


def test_parameters_reach_the_layers() -> None:
    box = ([-4.0, -3.0], 3.0)
    check(EpsilonPlus(0.3), (Z, EPSILON, EPSILON, Z, Epsilon(0.3), Epsilon(0.3)))
    rules = (ZBox(*box), EPSILON, EPSILON, Gamma(0.7, generalized=True), Epsilon(0.3), Epsilon(0.3))
    check(EpsilonGammaBox(*box, epsilon=0.3, gamma=0.7), rules)


def test_first_pattern_that_matches_wins() -> None:
    names = {"1*": Epsilon(0.1), "10": Epsilon(0.2), "?": Epsilon(0.3)}
    check(Layered(names=names), (*[Epsilon(0.3)] * 5, Epsilon(0.1)))


def test_first_and_last_in_a_network_that_branches() -> None:
    """Every layer with none before it is a first one; a shortcut's convolution is not."""

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.middle = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(3, 3)
            self.shortcut, self.head = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.relu(self.left(x) + self.right(x))
            return self.head(torch.relu(self.middle(h) + self.shortcut(h)))

    lrp = LRP(Branches(), Layered(first=Flat(), last=Zero()), example=torch.randn(2, 4))
    rules = {c.module: c.rule for c in lrp.coverage if c.operator == "aten::linear"}
    assert rules == {
        "left": repr(Flat()),
        "right": repr(Flat()),
        "middle": repr(EPSILON),
        "shortcut": repr(EPSILON),
        "head": repr(Zero()),
    }


def test_a_pattern_names_functional_layers_and_uses_of_a_module() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(torch.relu(self.fc(x)))

    net, x = Twice(), torch.randn(3, 4)
    lrp = LRP(net, Layered(names={"fc@1": Epsilon(0.5), "fc": ZPlus()}), example=x)
    chain = nn.Sequential(net.fc, nn.ReLU(), net.fc)
    e = lrp(x)
    slow = walk(chain, {0: ZPlus(), 2: Epsilon(0.5)}, x, one_hot(e.logits))
    assert_close(e.relevance, slow.relevance[0])


class Again(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.relu(self.fc(x)))


@pytest.mark.parametrize(
    ("names", "rules"),
    [
        ({"fc": SIGNED}, (SIGNED, SIGNED)),
        ({"fc@1": SIGNED}, (LARGE, SIGNED)),
        ({"fc@0": SIGNED}, (SIGNED, LARGE)),
        ({"fc": SIGNED, "fc@1": Z}, (SIGNED, Z)),
        ({"f*": SIGNED}, (SIGNED, SIGNED)),
    ],
)
def test_a_pattern_covers_every_call_of_a_layer(names: dict[str, Rule], rules: Sequence[Rule]) -> None:
    """fc(relu(fc(x))) is explained as the network that has the layer twice under two names."""
    model, x = Again(), torch.randn(3, 4)
    e = LRP(model, Layered(names=names, otherwise=LARGE), example=x)(x)
    twice = nn.Sequential(model.fc, nn.ReLU(), nn.Linear(4, 4))
    twice[2].load_state_dict(model.fc.state_dict())
    expected = LRP(twice, Layered(names={"0": rules[0], "2": rules[1]}), example=x)(x)
    assert_close(e.relevance, expected.relevance)
    with pytest.raises(BenchError, match="Expected a pattern that matches a layer, got 'fc@2'"):
        LRP(model, Layered(names={"fc@2": SIGNED}), example=x)


def test_unknown_layer_is_told_with_the_known_ones() -> None:
    net, x = network()
    with pytest.raises(BenchError, match=r"got 'conv1': .* 0, 2, 3, 5, 8, 10"):
        LRP(net, Layered(names={"0": Z, "conv1": Z}), example=x)
