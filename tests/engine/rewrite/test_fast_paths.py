"""What the engine does for speed changes no relevance: ReLUs within other steps, oneDNN's layout in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.engine import LRP
from lrp_bench.engine.operators import table
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Gamma, Rule, WSquare, ZBox, Zero, ZPlus

RULES = [
    Zero(),
    Epsilon(0.1),
    Epsilon(0.1, relative=True),
    Gamma(0.25),
    Gamma(0.5, generalized=True),
    AlphaBeta(2.0, 1.0),
    ZPlus(),
    ZBox(-3.0, 3.0),
    WSquare(),
]


class Residual(nn.Module):
    """Sums and batch norms before ReLUs, a stride, a kernel of one, pools, and a view of what a convolution gave."""

    def __init__(self, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.relu = relu
        self.first = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.inner = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.wide = nn.Conv2d(6, 4, 3, stride=2, padding=1)
        self.short = nn.Conv2d(6, 4, 1, stride=2, bias=False)
        self.pools = nn.Sequential(nn.MaxPool2d(2, 1), nn.AvgPool2d(2, 1))
        self.hidden, self.last = nn.Linear(16, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.first(x)))
        x = self.relu(x + self.inner(x))
        x = self.relu(torch.sub(self.wide(x), self.short(x), alpha=0.5))
        x = self.pools(x)
        return self.last(self.relu(self.hidden(x.view(x.shape[0], -1))))


@cache
def networks() -> tuple[nn.Module, nn.Module, Tensor]:
    """The same network with ReLUs, and with a clamp: of that the engine knows neither its sign nor its zeros."""
    torch.manual_seed(1)
    fast, slow = Residual(torch.relu), Residual(lambda x: x.clamp(min=0))
    nn.init.uniform_(fast.norm.running_var, 0.5, 1.5)
    slow.load_state_dict(fast.state_dict())
    return fast.eval(), slow.eval(), torch.randn(3, 3, 8, 8)


@pytest.mark.usefixtures("float64", "captured_once")
@pytest.mark.parametrize("bias", ["absorb", "exclude", "redistribute"])
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_relu_within_a_layer_or_a_sum(rule: Rule, bias: str) -> None:
    fast, slow, x = networks()
    chosen = replace(rule, bias=bias)
    one, other = (LRP(net, chosen, example=x)(x) for net in (fast, slow))
    assert_close(one.relevance, other.relevance, rtol=1e-9, atol=1e-9 * float(other.relevance.abs().max()))
    assert list(one.ledger) == list(other.ledger)
    for name, entry in one.ledger.items():
        for ours, theirs in zip(vars(entry).values(), vars(other.ledger[name]).values(), strict=True):
            assert_close(ours, theirs, rtol=1e-9, atol=1e-9, msg=lambda told, name=name: f"{name}: {told}")


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("rule", [Epsilon(), AlphaBeta(2.0, 1.0)], ids=repr)
def test_the_layout_in_memory(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    net, _, x = networks()
    fast = LRP(net, rule, example=x)(x)
    monkeypatch.setattr(table, "_channels_last", lambda weight, transposed: weight)
    plain = LRP(net, rule, example=x)(x)
    assert_close(fast.relevance, plain.relevance, rtol=1e-9, atol=1e-12)
    assert fast.relevance.is_contiguous()
    assert all(relevance.is_contiguous() for relevance in fast.layers.values())
