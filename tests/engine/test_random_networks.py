"""Networks nobody would think of: random operators on random earlier values, held to what holds for every network."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

import pytest
import torch
from oracles import gradient_times_input, one_hot
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_bench.engine import LRP
from lrp_bench.engine.composites import Composite, EpsilonPlusFlat
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Gamma, Rule, WSquare, Zero, ZPlus

pytestmark = pytest.mark.usefixtures("float64", "captured_once")

CHANNELS, SIZE = 4, 6
Operation = Callable[["RandomNetwork", Tensor, Tensor], Tensor]

OPERATIONS: dict[str, Operation] = {
    "convolution": lambda m, a, b: m.conv(a),
    "the same convolution of another": lambda m, a, b: m.conv(b),
    "convolution in groups": lambda m, a, b: m.grouped(a),
    "batch norm": lambda m, a, b: m.norm(a),
    "relu": lambda m, a, b: F.relu(a),
    "relu module": lambda m, a, b: m.act(a),
    "leaky relu, by hand": lambda m, a, b: F.relu(a) - 0.1 * F.relu(-a),
    "sum": lambda m, a, b: a + b,
    "sum with itself": lambda m, a, b: a + a.flip(1),
    "difference": lambda m, a, b: a - 0.5 * b,
    "broadcast sum": lambda m, a, b: a + b.mean((2, 3), keepdim=True),
    "less its mean": lambda m, a, b: a - 0.9 * a.mean((2, 3), keepdim=True),
    "concatenation": lambda m, a, b: torch.cat([a[:, :2], b[:, 2:]], 1),
    "stacked": lambda m, a, b: torch.stack([a, b], 2).sum(2),
    "factor": lambda m, a, b: -a * m.image / 1.5,
    "offset": lambda m, a, b: 1.5 - a + m.image,
    "offset, expanded": lambda m, a, b: a + m.channel.expand(a.shape[0], -1, SIZE, SIZE),
    "constants elsewhere": lambda m, a, b: torch.cat([a[:, :3], m.channel[:, :1].expand(a.shape[0], 1, SIZE, SIZE)], 1),
    "padded and cut": lambda m, a, b: F.pad(a, (1, 0, 0, 1))[:, :, :-1, :-1],
    "rolled": lambda m, a, b: a.roll(2, 3).permute(0, 1, 3, 2),
    "regrouped": lambda m, a, b: a.reshape(-1, 2, 2, SIZE, SIZE).transpose(1, 2).reshape(-1, CHANNELS, SIZE, SIZE),
    "average pool": lambda m, a, b: F.avg_pool2d(a, 3, 1, 1),
    "maximum pool": lambda m, a, b: F.max_pool2d(a, 3, 1, 1),
    "largest channel": lambda m, a, b: a.amax(1, keepdim=True).expand(-1, CHANNELS, -1, -1),
    "dropout": lambda m, a, b: F.dropout(a, 0.5, m.training),
}


class RandomNetwork(nn.Module):
    """A convolution, some operations each on one or two earlier values (mostly the last), and a dense layer."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        count = draw.randint(4, 9)
        names = draw.choices(sorted(OPERATIONS), k=count)
        self.steps = [(name, draw.randrange(-i - 1, 0), draw.randrange(-i - 1, 0)) for i, name in enumerate(names)]
        self.steps = [(name, -1 if draw.random() < 0.6 else i, j) for name, i, j in self.steps]
        self.stem = nn.Conv2d(2, CHANNELS, 3, padding=1)
        self.conv, self.grouped = (
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
            nn.Conv2d(CHANNELS, CHANNELS, 1, groups=2),
        )
        self.norm, self.act, self.head = nn.BatchNorm2d(CHANNELS), nn.ReLU(), nn.Linear(CHANNELS, 3)
        self.image, self.channel = (
            nn.Parameter(torch.randn(CHANNELS, SIZE, SIZE)),
            nn.Parameter(torch.randn(1, CHANNELS, 1, 1)),
        )
        self.norm.running_mean.normal_()
        nn.init.normal_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        values = [self.stem(x)]
        for name, i, j in self.steps:
            values.append(OPERATIONS[name](self, values[i], values[j]))
        return self.head(F.relu(values[-1]).mean((2, 3)))


@cache
def network(seed: int) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(seed)
    return RandomNetwork(seed).eval(), torch.randn(2, 2, SIZE, SIZE)


RULES: list[Rule | Composite] = [
    *(Epsilon(0.1), Epsilon(0.1, bias="exclude"), Epsilon(0.1, relative=True), Epsilon(0.1, bias="redistribute")),
    *(AlphaBeta(), Gamma(0.5, generalized=True), ZPlus(), WSquare(), EpsilonPlusFlat()),
]
SEEDS = range(12, 21)  # which draw every operation


@pytest.mark.parametrize("seed", SEEDS)
def test_zero_is_gradient_times_input(seed: int) -> None:
    net, x = network(seed)
    logits = net(x).detach()
    e = LRP(net, Zero(), example=x)(x)
    assert_close(e.logits, logits)
    expected = gradient_times_input(net, x, one_hot(logits))
    assert_close(e.relevance, expected, rtol=1e-8, atol=1e-9 * float(expected.abs().max()))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_without_a_word(seed: int, rule: Rule | Composite) -> None:
    net, x = network(seed)
    e = LRP(net, rule, example=x)(x)
    scale = max(float(R.abs().sum()) for R in e.layers.values())
    lost = sum(entry.bias + entry.stabilizer + entry.rule for entry in e.ledger.values())
    assert_close(e.score, e.relevance.sum((1, 2, 3)) + lost, rtol=0.0, atol=1e-10 * scale)
    for entry in e.ledger.values():
        told = entry.passed + entry.bias + entry.stabilizer + entry.rule
        assert_close(entry.arrived, told, rtol=0.0, atol=1e-10 * scale)


def test_every_operation_is_drawn() -> None:
    assert {name for seed in SEEDS for name, _, _ in network(seed)[0].steps} == set(OPERATIONS)
