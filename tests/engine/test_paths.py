"""LRP as the sum over all paths from an input to an output, enumerated one by one in plain Python."""

from __future__ import annotations

from itertools import product
from math import copysign

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.engine import LRP
from lrp_bench.engine.rules import Epsilon, Rule, Zero

pytestmark = pytest.mark.usefixtures("float64", "captured_once")

RULES: list[tuple[Rule, float]] = [(Zero(), 0.0), (Epsilon(1e-6), 1e-6), (Epsilon(0.3), 0.3)]


def enumerate_paths(net: nn.Sequential, x: list[float], output: int, epsilon: float, *, bias: bool) -> list[float]:
    """R_i = sum over paths i -> j -> ... -> output of prod_l (a_l w_l / (z_l + epsilon sign z_l)) * f."""
    dense = [layer for layer in net if isinstance(layer, nn.Linear)]
    weights = [layer.weight.tolist() for layer in dense]
    activations, shares = [x], []
    for number, layer in enumerate(dense):
        a, w, b = activations[-1], weights[number], layer.bias.tolist()
        products = [sum(aj * wj for aj, wj in zip(a, row, strict=True)) for row in w]
        z = [p + bk for p, bk in zip(products, b, strict=True)]
        d = [zk + copysign(epsilon, zk) for zk in (z if bias else products)]
        shares.append([[aj * wj / dk for aj, wj in zip(a, row, strict=True)] for row, dk in zip(w, d, strict=True)])
        activations.append([max(zk, 0.0) for zk in z] if layer is not dense[-1] else z)
    R = [0.0] * len(x)
    for path in product(*(range(len(a)) for a in activations[:-1]), [output]):
        along = activations[-1][output]
        for share, j, k in zip(shares, path[:-1], path[1:], strict=True):
            along *= share[k][j]
        R[path[0]] += along
    return R


@pytest.fixture(scope="module")
def net() -> nn.Sequential:
    generator = torch.Generator().manual_seed(7)
    layers = [nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)]
    for parameter in nn.Sequential(*layers).double().parameters():
        nn.init.normal_(parameter, generator=generator)
    return nn.Sequential(*layers)


@pytest.fixture(scope="module")
def x() -> Tensor:
    return torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(8))


@pytest.mark.parametrize("bias", ["absorb", "exclude"])
@pytest.mark.parametrize("output", [0, 1])
@pytest.mark.parametrize(("rule", "epsilon"), RULES)
def test_relevance_is_the_sum_over_paths(
    net: nn.Sequential, x: Tensor, rule: Rule, epsilon: float, output: int, bias: str
) -> None:
    chosen = type(rule)(bias=bias) if isinstance(rule, Zero) else Epsilon(epsilon, bias=bias)
    expected = [enumerate_paths(net, sample, output, epsilon, bias=bias == "absorb") for sample in x.tolist()]
    assert_close(LRP(net, chosen, example=x)(x, output).relevance, torch.tensor(expected), rtol=1e-10, atol=1e-12)
