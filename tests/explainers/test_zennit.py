"""Zennit's composites against our engine, which is an implementation of its own."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.engine import LRP, composites
from lrp_bench.explainers import zennit
from lrp_bench.explainers.zennit import EpsilonGammaBox, EpsilonPlus, EpsilonPlusFlat

X = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2 - 1
NAMES = ["EpsilonPlus", "EpsilonPlusFlat", "EpsilonAlpha2Beta1", "EpsilonAlpha2Beta1Flat", "EpsilonGammaBox"]


class Residual(nn.Module):
    """Everything that Zennit alone would miss: a functional relu and +, a layer used twice, batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.branch, self.pool = nn.Conv2d(4, 4, 3, padding=1), nn.AvgPool2d(2)
        self.head = nn.Linear(64, 3)
        for tensor in (self.norm.running_mean, self.norm.weight.data, self.norm.bias.data):
            nn.init.normal_(tensor)
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm(self.stem(x)))
        h = F.relu(self.branch(h) + h)
        h = self.pool(F.relu(self.branch(h) + h))
        return self.head(h.flatten(1))


def plain() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU()),
        *(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)),
    )


@pytest.mark.parametrize("build", [plain, Residual])
@pytest.mark.parametrize("name", NAMES)
def test_equals_our_engine(name: str, build: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = build().double().eval()
    box = {"low": [-1.0, -2.0], "high": [1.0, 1.5]} if name == "EpsilonGammaBox" else {}
    target = torch.tensor([2, 0, 1])
    theirs = getattr(zennit, name)(model, X, epsilon=0.01, **box).explain(X, target).relevance
    ours = LRP(model, getattr(composites, name)(epsilon=0.01, **box), example=X)(X, target).relevance
    assert_close(theirs, ours, rtol=1e-8, atol=1e-10 * float(ours.abs().max()))


@pytest.mark.parametrize(
    "between", [torch.sigmoid, nn.LayerNorm(8).double(), lambda z: z * z.sigmoid(), lambda z: z.view(-1, 8, 1).mean(1)]
)
def test_what_zennit_gets_wrong_is_refused(between) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(128, 8), nn.LazyLinear(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(between(self.first(x.flatten(1))))

    torch.manual_seed(0)
    model = Net().double()
    model(X)  # the lazy layer takes its size
    with pytest.raises(BenchError, match="Zennit's EpsilonPlus cannot explain this model: LRP-epsilon with"):
        EpsilonPlus(model, X)


class Late(nn.Module):
    """The layer that comes first is defined last."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.head, self.stem = nn.ReLU(), nn.Linear(8, 3), nn.Linear(128, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.stem(x.flatten(1))))


def test_the_first_layer_is_the_first_that_is_computed() -> None:
    model = Late().double()
    ours = LRP(model, composites.EpsilonPlusFlat(), example=X)(X).relevance
    assert_close(EpsilonPlusFlat(model, X).explain(X).relevance, ours, rtol=1e-4, atol=1e-6)


def test_a_first_layer_that_cannot_be_told_is_refused() -> None:
    class Untraceable(Late):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.isfinite().all() else x.flatten(1))

    model = Untraceable().double()
    EpsilonPlus(model, X)
    with pytest.raises(BenchError, match="is not the first it computes"):
        EpsilonPlusFlat(model, X)


@pytest.mark.parametrize(
    ("low", "high", "reason"), [([0.0] * 3, 1.0, "list of 2"), (1.0, 0.0, "low below high"), ("a", 1.0, "number")]
)
def test_a_box_that_does_not_fit_is_refused(low: object, high: object, reason: str) -> None:
    with pytest.raises(BenchError, match=reason):
        EpsilonGammaBox(plain().double(), X, low=low, high=high)


def test_without_zennit_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zennit.composites", None)
    with pytest.raises(BenchError, match=r"pip install 'lrp-bench\[peers\]'"):
        EpsilonPlus(plain().double(), X)
