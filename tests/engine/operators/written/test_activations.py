"""Activation functions: every one that torch has, and those that are written out as several operators."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from oracles import matrix, one_hot, share, walk
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import activation
from torch.testing import assert_close

from lrp_bench.engine import LRP
from lrp_bench.engine.rules import Epsilon

pytestmark = pytest.mark.usefixtures("float64")

RULE = Epsilon(0.1)
OPTIONS = {"Threshold": (0.1, 0.2)}
NOT_ELEMENTWISE = {
    "GLU": "a gate and its signal: test_attention.py",
    "MultiheadAttention": "a network of its own: test_attention.py",
    "Softmax": "by its Taylor expansion: test_attention.py",
    "Softmax2d": "by its Taylor expansion, along the channels: below",
    "LogSoftmax": "by its Taylor expansion: test_attention.py",
    "Softmin": "the softmax of -x: below",
}
MODULES = {
    **{n: getattr(nn, n)(*OPTIONS.get(n, ())) for n in activation.__all__ if n not in NOT_ELEMENTWISE},
    "GELU by tanh": nn.GELU("tanh"),
    "LeakyReLU of another slope": nn.LeakyReLU(0.7),
    "one slope for each feature": nn.PReLU(4),
}


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


WRITTEN: dict[str, Callable[[Tensor], Tensor]] = {
    "ReLU": lambda h: h * (h > 0),
    "GELU": lambda h: 0.5 * h * (1 + torch.erf(h / 2**0.5)),
    "GELU of GPT-2": lambda h: 0.5 * h * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (h + 0.044715 * h.pow(3)))),
    "SiLU": lambda h: h * torch.sigmoid(1.702 * h),
    "SiLU by exp": lambda h: h / (1 + torch.exp(-h)),
    "Mish": lambda h: h * torch.tanh(torch.log1p(h.exp())),
    "Softsign": lambda h: h / (1 + h.abs()),
    "ISRU": lambda h: h * torch.rsqrt(1 + h * h),
    "a polynomial": lambda h: h - h**3 / 6 + h.relu(),
    "a choice": lambda h: torch.where(h > 0.1, h, 0.1 * torch.expm1(h)),
    "abs": torch.abs,
    "clip": lambda h: h.clip(-0.2, 0.3),
    "sine": torch.sin,
    "erf": torch.erf,
}
ALL = MODULES | {f"{name} written out": Function(f) for name, f in WRITTEN.items()}


class Parallel(nn.Module):
    """Activations of the same values, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.activations = nn.Linear(5, 4), nn.ModuleList(ALL.values())
        self.head = nn.Linear(4 * len(ALL), 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.head(torch.cat([f(h) for f in self.activations], 1))


@pytest.fixture(scope="module")
def parallel() -> tuple[LRP, Parallel, Tensor]:
    torch.manual_seed(1)
    net, x = Parallel().double().eval(), torch.randn(3, 5, dtype=torch.float64)
    return LRP(net, RULE, example=x), net, x


def test_torch_has_no_other_activation() -> None:
    """A class that joins torch.nn is above, by name, or has its reason why not."""
    assert set(activation.__all__) == {type(f).__name__ for f in MODULES.values()} | set(NOT_ELEMENTWISE)


def test_activations_pass_relevance_unchanged(parallel: tuple[LRP, Parallel, Tensor]) -> None:
    lrp, net, x = parallel
    e = lrp(x)
    assert_close(e.logits, net(x))
    h = net.first(x).detach()
    hidden = torch.cat([f(h) for f in net.activations], 1).detach()
    R = walk(nn.Sequential(net.head), {0: RULE}, hidden, one_hot(e.logits)).relevance[0]
    for i, (name, part) in enumerate(zip(ALL, R.split(4, 1), strict=True)):
        assert_close(e.layers[f"activations.{i}"], part, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("name", ["abs", "GELU"])
def test_what_is_below_receives_it(name: str) -> None:
    net, x = nn.Sequential(nn.Linear(5, 4), Function(WRITTEN[name]), nn.Linear(4, 3)), torch.randn(3, 5)
    e = LRP(net, RULE, example=x)(x)
    h = net[0](x).detach()
    R = walk(nn.Sequential(net[2]), {0: RULE}, net[1](h), one_hot(e.logits)).relevance[0]
    below = [share(RULE, matrix(net[0], (5,)), a, r)[0] for a, r in zip(x, R, strict=True)]
    assert_close(e.relevance, torch.stack(below), rtol=1e-9, atol=1e-12)


def test_the_coverage_names_what_an_activation_is_made_of(parallel: tuple[LRP, Parallel, Tensor]) -> None:
    said = {c.operator: c.rule for c in parallel[0].coverage}
    assert said["activation(tanh, sub)"] == "pass"
    assert said["aten::mish"] == "pass"


class Residual(nn.Module):
    """x + f(x) with a module of the user's between: a sum of two activations, and the module keeps its place."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.head = nn.ReLU(), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + self.act(x))


def test_a_module_within_is_no_part_of_an_activation() -> None:
    x = torch.randn(3, 4)
    lrp = LRP(Residual(), RULE, example=x)
    assert "aten::add" in {c.operator for c in lrp.coverage}
    assert "act" in lrp(x).layers


def test_what_is_used_twice_is_no_part_of_an_activation() -> None:
    """h (1 - tanh h) + tanh h: the tanh has a way of its own to the sum, through no operator of h alone."""
    head, other = nn.Linear(4, 2), nn.Linear(4, 4)

    def forward(x: Tensor) -> Tensor:
        inner = torch.tanh(x)
        return head(x - inner + other(inner))

    x = torch.randn(3, 4)
    e = LRP(Function(forward), Epsilon(1e-9), example=x)(x)
    z = torch.tanh(x).requires_grad_()
    (pulled,) = torch.autograd.grad((head(x - z + other(z)) * one_hot(e.logits)).sum(), z)
    direct = x * torch.autograd.grad((head(leaf := x.clone().requires_grad_()) * one_hot(e.logits)).sum(), leaf)[0]
    assert_close(e.relevance, direct + z.detach() * pulled, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("module", "shape"), [(nn.Softmin(1), (3, 6)), (nn.Softmax2d(), (3, 2, 3, 1))], ids=["Softmin", "Softmax2d"]
)
def test_kinds_of_softmax(module: nn.Module, shape: tuple[int, ...]) -> None:
    """R_j = x_j (R_j - y_j sum R) by proposition 3.1 of Achtibat et al. 2024, with the sign of what goes in."""
    x, net = torch.randn(shape), nn.Sequential(module, nn.Flatten(), nn.Linear(6, 2))
    e = LRP(net, Epsilon(1e-12), example=x)(x)
    y = module(x).detach()
    R = walk(nn.Sequential(nn.Flatten(), net[2]), {1: Epsilon(1e-12)}, y, one_hot(e.logits)).relevance[0]
    sign = -1 if isinstance(module, nn.Softmin) else 1
    assert_close(e.relevance, sign * x * (R - y * R.sum(1, keepdim=True)), rtol=1e-6, atol=1e-9)


def test_a_power_mean_shares_in_proportion_to_powers() -> None:
    """LPPool: R_j = x_j^p / sum x^p R, since root and power pass relevance unchanged."""
    x, net = torch.rand(2, 2, 4, 4) + 0.1, nn.Sequential(nn.LPPool2d(3, 2), nn.Flatten(), nn.Linear(8, 2))
    e = LRP(net, Epsilon(1e-12), example=x)(x)
    y = net[0](x).detach()
    R = walk(nn.Sequential(nn.Flatten(), net[2]), {1: Epsilon(1e-12)}, y, one_hot(e.logits)).relevance[0]
    wide = F.interpolate(R / y**3, scale_factor=2)
    assert_close(e.relevance, x**3 * wide, rtol=1e-6, atol=1e-9)
