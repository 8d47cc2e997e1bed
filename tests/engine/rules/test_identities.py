"""Equations that hold between rules, and between a rule and a plain gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
import torchvision
from oracles import gradient_times_input, one_hot
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.engine import LRP
from lrp_bench.engine.composites import Layered
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare, Zero, ZPlus
from lrp_bench.models import MLP, MiniVGG

pytestmark = pytest.mark.usefixtures("float64", "captured_once")


@cache
def mlp() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(1)
    return MLP((1, 3, 4), classes=4, hidden=(9, 7)).eval(), torch.randn(3, 1, 3, 4)


@cache
def mini_vgg() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(2)
    return MiniVGG((3, 12, 12), classes=5).eval(), torch.randn(2, 3, 12, 12)


@cache
def resnet18() -> tuple[nn.Module, Tensor]:
    """Batch norms with statistics of their own, as after a training."""
    torch.manual_seed(3)
    net = torchvision.models.resnet18(num_classes=10).eval()
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_(0.0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0.0, 0.1)
    return net, torch.randn(2, 3, 32, 32)


@cache
def nonnegative() -> tuple[nn.Module, Tensor]:
    """Signed weights, inputs of one sign."""
    torch.manual_seed(4)
    body = (nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(27, 3))
    return nn.Sequential(*body), torch.rand(3, 2, 6, 6)


def explain(network: Callable[[], tuple[nn.Module, Tensor]], rule: Rule) -> Tensor:
    net, x = network()
    return LRP(net, rule, example=x)(x).relevance


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    assert_close(actual, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("network", [mlp, mini_vgg, resnet18])
def test_zero_is_gradient_times_input(network: Callable[[], tuple[nn.Module, Tensor]]) -> None:
    net, x = network()
    logits = net(x)
    e = LRP(net, Zero(), example=x)(x)
    assert_close(e.logits, logits, rtol=1e-10, atol=1e-10)
    close(e.relevance, gradient_times_input(net, x, one_hot(logits)))


def test_zero_is_gradient_times_input_for_weights_of_the_logits() -> None:
    net, x = mlp()
    weights = torch.randn(3, 4)
    assert_close(LRP(net, Zero(), example=x)(x, weights).relevance, gradient_times_input(net, x, weights))


@pytest.mark.parametrize("network", [mlp, mini_vgg])
def test_small_epsilon_nears_zero(network: Callable[[], tuple[nn.Module, Tensor]]) -> None:
    close(explain(network, Epsilon(1e-13)), explain(network, Zero()), 1e-6)


@pytest.mark.parametrize("bias", ["absorb", "exclude", "redistribute"])
@pytest.mark.parametrize("network", [mini_vgg, nonnegative])
def test_z_plus_is_alpha_one_beta_zero(network: Callable[[], tuple[nn.Module, Tensor]], bias: str) -> None:
    assert_close(explain(network, ZPlus(bias=bias)), explain(network, AlphaBeta(1.0, 0.0, bias=bias)))


@pytest.mark.parametrize("generalized", [False, True])
@pytest.mark.parametrize("bias", ["absorb", "exclude", "redistribute"])
def test_gamma_zero_is_epsilon(bias: str, *, generalized: bool) -> None:
    gamma = Gamma(0.0, 0.01, generalized=generalized, bias=bias)
    named = Layered(names={"*": Epsilon(0.01, bias=bias)})
    net, x = nonnegative()
    close(explain(nonnegative, gamma), LRP(net, named, example=x)(x).relevance, 1e-12)


@pytest.mark.parametrize("generalized", [False, True])
def test_large_gamma_nears_z_plus_where_inputs_are_nonnegative(*, generalized: bool) -> None:
    """But for the last layer, where z_k < 0 can be explained: the plain form turns its sign to that of z+, too."""
    net, x = nonnegative()
    head = Epsilon()

    def relevance(rule: Rule) -> Tensor:
        return LRP(net, Layered(names={"5": head, "*": rule}), example=x)(x).relevance

    close(relevance(Gamma(1e9, 1e-6, generalized=generalized)), relevance(ZPlus(1e-15)), 1e-6)


@pytest.mark.parametrize("bias", ["absorb", "exclude", "redistribute"])
def test_flat_gives_equal_shares(bias: str) -> None:
    """Four outputs of a 2 x 2 kernel over a 3 x 3 image: a pixel gets a quarter of each window it lies in."""
    net = nn.Sequential(nn.Conv2d(1, 1, 2), nn.Flatten())
    x, weights = torch.randn(2, 1, 3, 3), torch.tensor([[1.0, 2.0, 3.0, 4.0]]).expand(2, 4)
    e = LRP(net, Flat(epsilon=0.0, bias=bias), example=x)(x, weights)
    a, b, c, d = (weights * e.logits).T / 4
    expected = torch.stack([a, a + b, b, a + c, a + b + c + d, b + d, c, c + d, d], dim=1).view(2, 1, 3, 3)
    assert_close(e.relevance, expected)


def test_w_square_of_equal_weights_is_flat() -> None:
    net, x = nn.Sequential(nn.Conv2d(2, 3, 2, bias=False), nn.Flatten()), torch.randn(2, 2, 4, 4)
    nn.init.constant_(net[0].weight, -1.0)
    weights = torch.randn(2, 27)
    wsquare, flat = (LRP(net, rule, example=x)(x, weights).relevance for rule in (WSquare(), Flat()))
    assert_close(wsquare, flat)


def test_z_plus_of_nonnegative_weights_without_bias_is_epsilon() -> None:
    net = nn.Sequential(nn.Linear(4, 3, bias=False), nn.ReLU(), nn.Linear(3, 2, bias=False))
    for weight in net.parameters():
        weight.data.abs_()
    x = torch.rand(3, 4)
    assert_close(LRP(net, ZPlus(1e-3), example=x)(x).relevance, LRP(net, Epsilon(1e-3), example=x)(x).relevance)
