"""What is computed again on the way back, instead of being kept: the same numbers to the last bit, in less memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close
from torchvision.models import VisionTransformer

from lrp_bench.engine import LRP, propagate
from lrp_bench.engine.composites import CPLRP, AttnLRP, Composite, EpsilonAlpha2Beta1, EpsilonPlus
from lrp_bench.engine.operators.recompute import recomputed, sparing
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Gamma, Rule
from lrp_bench.metrics.memory import peak_memory

pytestmark = pytest.mark.usefixtures("float64", "captured_once")

RULES: Mapping[str, Rule | Composite] = {
    "epsilon": Epsilon(1e-6),
    "redistribute": Epsilon(1e-6, bias="redistribute"),
    "epsilon_plus": EpsilonPlus(),
    "gamma": Gamma(0.25),
    "alpha-beta of convolutions": EpsilonAlpha2Beta1(),
    "alpha-beta": AlphaBeta(),
    "AttnLRP": AttnLRP(),
    "CP-LRP": CPLRP(),
}


class Gated(nn.Module):
    """A gated feed-forward block behind a convolution, a norm of its own, and masked attention."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv1d(3, 8, 3, padding=1), nn.BatchNorm1d(8)
        self.up, self.gate, self.down = (nn.Linear(*sizes) for sizes in ((8, 12), (8, 12), (12, 8)))
        self.look, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(F.gelu(self.stem(x))).transpose(1, 2)
        x = x + self.down(F.silu(self.gate(x)) * self.up(x))
        mask = torch.full((x.shape[1], x.shape[1]), -torch.inf).triu(1)
        return self.head(self.look(x, x, x, attn_mask=mask, need_weights=False)[0].roll(1, 1).mean(1))


def transformer() -> nn.Module:
    return VisionTransformer(image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)


def convolutional() -> nn.Module:
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.AvgPool2d(2), nn.Conv2d(4, 4, 3), nn.ReLU())
    return nn.Sequential(*layers, nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(4 * 13 * 13, 3))


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "transformer": (transformer, (2, 3, 32, 32)),
    "gated": (Gated, (2, 3, 6)),
    "convolutions": (convolutional, (2, 3, 32, 32)),
}


@pytest.fixture(scope="module")
def made() -> dict[str, tuple[nn.Module, Tensor]]:
    torch.manual_seed(1)
    torch.set_default_dtype(torch.float64)
    found = {name: (build().eval(), torch.randn(shape)) for name, (build, shape) in MODELS.items()}
    for net, _ in found.values():
        for weight in net.parameters():
            weight.data += 0.1 * torch.randn_like(weight)
    torch.set_default_dtype(torch.float32)
    return found


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", MODELS)
def test_the_numbers_are_those_of_what_is_kept(
    made: dict[str, tuple[nn.Module, Tensor]], name: str, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = made[name]
    lrp = LRP(net, RULES[rule], example=x)
    spared = lrp(x)
    told = dict(spared.ledger)
    monkeypatch.setattr(propagate, "sparing", nullcontext)
    kept = lrp(x)
    assert_close(spared.relevance, kept.relevance, rtol=0.0, atol=0.0)
    for layer, entry in kept.ledger.items():
        assert_close(told[layer].passed, entry.passed, rtol=0.0, atol=0.0)


def gradient(net: nn.Module, x: Tensor) -> Tensor:
    leaf = x.detach().requires_grad_()
    return torch.autograd.grad(net(leaf).amax(1).sum(), leaf)[0]


@cache
def large() -> nn.Module:
    net = VisionTransformer(image_size=112, patch_size=8, num_layers=6, num_heads=3, hidden_dim=192, mlp_dim=768)
    return net.float().eval().requires_grad_(False)


@pytest.mark.parametrize("rule", RULES)
def test_a_vision_transformer_takes_little_more_memory_than_its_gradient(rule: str) -> None:
    """It was three times as much: 2.99 for a ViT-B/16."""
    net, x = large(), torch.randn(2, 3, 112, 112, dtype=torch.float32)
    lrp = LRP(net, RULES[rule], example=x)
    lrp(x)  # modified weights are made once
    ours, unit = (peak_memory(work, x.device) for work in (lambda: lrp(x), lambda: gradient(net, x)))
    assert ours <= 1.6 * unit


def test_what_several_have_saved_is_computed_once() -> None:
    calls: list[int] = []

    def doubled(x: Tensor) -> Tensor:
        calls.append(1)
        return x * 2

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return recomputed(doubled(x), doubled, x)

        @staticmethod
        def backward(ctx: object, g: Tensor) -> Tensor:
            return 2 * g

    x = torch.randn(3, 4, requires_grad=True)
    with sparing():
        y = Double.apply(x)
        z = (y * y.T.contiguous().T).sum() + (y.T[1] * y[0, 0]).sum()  # views, too
    given = torch.autograd.grad(z, x)[0]
    assert len(calls) == 2
    w = x.detach().requires_grad_()
    assert_close(given, torch.autograd.grad(4 * (w * w).sum() + 4 * (w[:, 1] * w[0, 0]).sum(), w)[0])


def test_what_was_changed_in_place_is_not_taken_for_what_it_was() -> None:
    x = torch.randn(3, requires_grad=True)
    with sparing():
        y = x.exp()
        z = (y * y).sum()
    y.detach().add_(1)
    with pytest.raises(RuntimeError, match=r"Expected a tensor \(3,\) as it was"):
        torch.autograd.grad(z, x)
