"""Against Zennit 0.5.1, an independent implementation of the same rules and composites."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import pytest
import torch
import torchvision
from oracles import one_hot
from torch import Tensor, nn
from torch.testing import assert_close
from zennit import composites as zennit
from zennit import rules as zennit_rules
from zennit.core import Composite as ZennitComposite
from zennit.core import Stabilizer
from zennit.torchvision import ResNetCanonizer
from zennit.types import Linear

from lrp_bench.engine import LRP
from lrp_bench.engine.composites import (
    Composite,
    EpsilonAlpha2Beta1,
    EpsilonAlpha2Beta1Flat,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
)
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare, ZBox, ZPlus
from lrp_bench.models import MiniVGG

pytestmark = pytest.mark.usefixtures("float64", "captured_once")


@cache
def vgg_like() -> tuple[nn.Module, Tensor]:
    """Signed inputs, average and maximum pools, a stride and groups."""
    torch.manual_seed(3)
    net = nn.Sequential(
        *(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 8, 3, stride=2, groups=2), nn.ReLU(), nn.MaxPool2d(2, padding=1)),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 9), nn.ReLU(), nn.Linear(9, 5)),
    )
    return net, torch.rand(3, 3, 16, 16) * 2 - 1


@cache
def mini_vgg() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(4)
    return MiniVGG((3, 16, 16), classes=10).eval(), torch.rand(2, 3, 16, 16) * 2 - 1


@cache
def vgg11() -> tuple[nn.Module, Tensor]:
    """torchvision's features; its classifier of 119 million weights made narrow."""
    torch.manual_seed(5)
    layers = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["A"])
    classifier = nn.Sequential(nn.Linear(512, 64), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(64, 10))
    net = nn.Sequential(layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), classifier)
    return net.eval(), torch.rand(2, 3, 32, 32) * 2 - 1


@cache
def resnet18() -> tuple[nn.Module, Tensor]:
    """Batch norms with statistics of their own.

    Zennit merges a batch norm into the convolution and leaves an identity that still divides by sqrt(1 + eps); with
    next to no eps (torch 2.11 refuses none) nothing is left over, and the two libraries explain the same network.
    """
    torch.manual_seed(6)
    net = torchvision.models.resnet18(num_classes=10, norm_layer=partial(nn.BatchNorm2d, eps=1e-15)).eval()
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.normal_(0.0, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, 0.0, 0.1)
    return net, torch.rand(2, 3, 32, 32) * 2 - 1


NETWORKS = {f.__name__: f for f in (vgg_like, mini_vgg, vgg11, resnet18)}

COMPOSITES: dict[str, tuple[Composite, Callable[..., ZennitComposite]]] = {
    "epsilon_plus": (EpsilonPlus(epsilon=0.1), partial(zennit.EpsilonPlus, epsilon=0.1)),
    "epsilon_plus_flat": (EpsilonPlusFlat(), zennit.EpsilonPlusFlat),
    "epsilon_alpha2_beta1": (EpsilonAlpha2Beta1(), zennit.EpsilonAlpha2Beta1),
    "epsilon_alpha2_beta1_flat": (EpsilonAlpha2Beta1Flat(), zennit.EpsilonAlpha2Beta1Flat),
    "epsilon_gamma_box": (
        EpsilonGammaBox(low=[-1.0, -2.0, -1.5], high=[1.0, 1.5, 3.0], gamma=0.3),
        partial(
            zennit.EpsilonGammaBox,
            low=torch.tensor([-1.0, -2.0, -1.5], dtype=torch.float64).view(1, 3, 1, 1),
            high=torch.tensor([1.0, 1.5, 3.0], dtype=torch.float64).view(1, 3, 1, 1),
            gamma=0.3,
        ),
    ),
}


def by_zennit(composite: ZennitComposite, net: nn.Module, x: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    with composite.context(net) as hooked:
        logits = hooked(leaf)
        (relevance,) = torch.autograd.grad(logits, leaf, logits.detach() * one_hot(logits))
    return relevance


@pytest.mark.parametrize("composite", COMPOSITES)
@pytest.mark.parametrize("network", NETWORKS)
def test_composites_equal_zennit(network: str, composite: str) -> None:
    net, x = NETWORKS[network]()
    ours, theirs = COMPOSITES[composite]
    canonizers = [ResNetCanonizer()] if network == "resnet18" else []
    expected = by_zennit(theirs(canonizers=canonizers), net, x)
    assert_close(LRP(net, ours, example=x)(x).relevance, expected, rtol=1e-10, atol=1e-10 * float(expected.abs().max()))


UNIFORM: dict[str, tuple[Rule, zennit_rules.BasicHook, float | Stabilizer]] = {
    "epsilon": (Epsilon(0.05), zennit_rules.Epsilon(epsilon=0.05), 0.05),
    "epsilon relative": (
        Epsilon(0.05, relative=True),
        zennit_rules.Epsilon(epsilon=Stabilizer(0.05, norm_scale=True)),
        Stabilizer(0.05, norm_scale=True),
    ),
    "gamma": (Gamma(0.4, generalized=True), zennit_rules.Gamma(gamma=0.4), 1e-6),
    "alpha 2 beta 1": (AlphaBeta(2.0, 1.0), zennit_rules.AlphaBeta(alpha=2.0, beta=1.0), 1e-6),
    "z+": (ZPlus(), zennit_rules.ZPlus(), 1e-6),
    "z-B": (ZBox(-3.0, 3.0), zennit_rules.ZBox(low=-torch.full((1,), 3.0), high=torch.full((1,), 3.0)), 1e-6),
    "w2": (WSquare(), zennit_rules.WSquare(), 1e-6),
    "flat": (Flat(), zennit_rules.Flat(), 1e-6),
    "epsilon, bias excluded": (
        Epsilon(0.05, bias="exclude"),
        zennit_rules.Epsilon(epsilon=0.05, zero_params="bias"),
        0.05,
    ),
    "alpha 2 beta 1, bias excluded": (
        AlphaBeta(2.0, 1.0, bias="exclude"),
        zennit_rules.AlphaBeta(alpha=2.0, beta=1.0, zero_params="bias"),
        1e-6,
    ),
}


@pytest.mark.parametrize("rule", UNIFORM)
def test_one_rule_everywhere_equals_zennit(rule: str) -> None:
    """In pools, too: in proportion to the input, which for LRP-epsilon is that rule itself."""
    net, x = vgg_like()
    ours, theirs, in_pools = UNIFORM[rule]
    composite = zennit.LayerMapComposite([*zennit.layer_map_base(in_pools), (Linear, theirs)])
    expected = by_zennit(composite, net, x)
    assert_close(LRP(net, ours, example=x)(x).relevance, expected, rtol=1e-9, atol=1e-10 * float(expected.abs().max()))
