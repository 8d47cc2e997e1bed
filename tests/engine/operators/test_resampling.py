"""Interpolation: nearest moves values, linear is a layer whose matrix is its Jacobian."""

from __future__ import annotations

from dataclasses import replace

import oracles
import pytest
import torch
from oracles import one_hot, share, walk
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.engine import LRP
from lrp_bench.engine.composites import Layered
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare

pytestmark = pytest.mark.usefixtures("float64", "captured_once")

RULES: list[Rule] = [
    *(Epsilon(0.1), Epsilon(0.1, bias="redistribute"), AlphaBeta(epsilon=0.1), Gamma(0.5, 0.1, generalized=True)),
    *(WSquare(epsilon=0.1), Flat(epsilon=0.1)),
]
LINEAR = {
    "linear": (nn.Upsample(scale_factor=1.6, mode="linear"), (2, 5)),
    "bilinear": (nn.Upsample(scale_factor=(2, 0.7), mode="bilinear"), (2, 3, 4)),
    "corners": (nn.UpsamplingBilinear2d((5, 3)), (2, 3, 4)),
    "trilinear": (nn.Upsample((2, 3, 4), mode="trilinear", align_corners=True), (1, 2, 2, 3)),
}


class Upsampled(nn.Module):
    def __init__(self, resample: nn.Module, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.resample, self.flatten = resample, nn.Flatten()
        self.head = nn.Linear(resample(torch.zeros(1, *shape)).numel(), 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.flatten(self.resample(x)))


@pytest.fixture(scope="module")
def nets() -> dict[str, tuple[Upsampled, Tensor]]:
    torch.manual_seed(2)
    return {
        name: (Upsampled(f, shape).double(), torch.randn(2, *shape).double()) for name, (f, shape) in LINEAR.items()
    }


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("name", LINEAR)
def test_linear_interpolation_is_a_layer(nets: dict[str, tuple[Upsampled, Tensor]], name: str, rule: Rule) -> None:
    """Against its matrix; its wiring is where that is not zero, for it has no weights to be set to one."""
    net, x = nets[name]
    e = LRP(net, Layered({"pool": rule, "linear": Epsilon()}), example=x)(x)
    z = net.resample(x).flatten(1)
    R = walk(nn.Sequential(net.head), {0: Epsilon()}, z, one_hot(e.logits)).relevance[0]
    m = oracles.matrix(net.resample, tuple(x.shape[1:]))
    m = replace(m, reaches=m.w != 0)
    slow = [share(rule, m, a.flatten(), r)[0] for a, r in zip(x, R, strict=True)]
    assert_close(e.relevance.flatten(1), torch.stack(slow), rtol=1e-9, atol=1e-12)
    entry = e.ledger["resample"]
    assert_close(entry.arrived, entry.passed + entry.bias + entry.stabilizer + entry.rule)


def test_negative_weights_are_refused() -> None:
    resample = nn.Upsample(scale_factor=2, mode="bicubic")
    with pytest.raises(BenchError, match="upsample_bicubic2d in resample"):
        LRP(Upsampled(resample, (2, 3, 4)), Epsilon(), example=torch.randn(2, 2, 3, 4))
