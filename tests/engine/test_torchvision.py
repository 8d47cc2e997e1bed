"""Well-known networks under every composite: no error, every layer covered, every ledger closed."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator

import pytest
import torch
import torchvision
from torch import Tensor, nn

from lrp_bench.contracts import LedgerEntry
from lrp_bench.engine import LRP, propagate
from lrp_bench.engine.capture.capture import capture
from lrp_bench.engine.composites import (
    CPLRP,
    AttnLRP,
    Composite,
    DeepTaylor,
    EpsilonAlpha2Beta1,
    EpsilonAlpha2Beta1Flat,
    EpsilonGammaBox,
    EpsilonPlus,
    EpsilonPlusFlat,
)
from lrp_bench.engine.rewrite.rewrite import Covered
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare, ZBox, Zero, ZPlus

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("float64")]

SIZES = {
    "vgg16": 32,
    "vgg11_bn": 32,
    "resnet18": 32,
    "resnet50": 32,
    "densenet121": 32,
    "inception_v3": 75,
    "googlenet": 32,
    "mobilenet_v3_small": 32,
    "efficientnet_b0": 32,
    "convnext_tiny": 32,
    "regnet_y_400mf": 32,
    "squeezenet1_0": 32,
    "vit_b_16": 32,
    "swin_t": 32,
}
OPTIONS = {
    "inception_v3": {"init_weights": False, "transform_input": True},
    "googlenet": {"init_weights": False, "transform_input": True},
    "vit_b_16": {"image_size": 32},
}
ASSIGNED: dict[str, Rule | Composite] = {
    "zero": Zero(),
    "epsilon": Epsilon(),
    "epsilon redistributed": Epsilon(bias="redistribute"),
    "gamma": Gamma(generalized=True),
    "alpha beta": AlphaBeta(),
    "z+": ZPlus(),
    "z-B": ZBox(-5.0, 5.0),
    "w2": WSquare(),
    "flat": Flat(),
    "epsilon plus": EpsilonPlus(),
    "epsilon plus flat": EpsilonPlusFlat(),
    "epsilon alpha 2 beta 1": EpsilonAlpha2Beta1(),
    "epsilon alpha 2 beta 1 flat": EpsilonAlpha2Beta1Flat(),
    "epsilon gamma box": EpsilonGammaBox(-5.0, 5.0),
    "deep taylor": DeepTaylor(-5.0, 5.0),
    "AttnLRP": AttnLRP(),
    "AttnLRP gamma": AttnLRP(gamma=0.25),
    "CP-LRP": CPLRP(),
}


@pytest.fixture(scope="module", params=SIZES)
def network(request: pytest.FixtureRequest) -> Iterator[tuple[nn.Module, Tensor]]:
    """One network at a time, captured once: in float64 they take gigabytes."""
    name = str(request.param)
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, **OPTIONS.get(name, {})).double().eval()
    if name == "vit_b_16":  # whose head starts as zero
        nn.init.normal_(model.heads.head.weight, std=0.05)
    calibrate(model, torch.randn(16, 3, SIZES[name], SIZES[name], dtype=torch.float64))
    x = torch.randn(2, 3, SIZES[name], SIZES[name], dtype=torch.float64)
    program = capture(model, (x,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(propagate, "capture", lambda *_: program.copy())
        yield model, x


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Modified weights of the last composite make room for those of the next: graphs have cycles."""
    yield
    gc.collect()


INTENDED = {
    "rule": {
        *("aten::conv2d", "aten::linear", "aten::_native_batch_norm_legit_no_training", "aten::layer_norm"),
        *("aten::adaptive_avg_pool2d", "aten::avg_pool2d", "aten::mean", "aten::add", "aten::mul"),
    },
    "pass": {"aten::relu", "aten::hardswish", "aten::hardsigmoid", "aten::silu", "aten::sigmoid", "aten::gelu"},
    "own gradient": {
        *("aten::max_pool2d", "aten::reshape", "aten::cat", "aten::clone", "aten::permute"),
        *("aten::transpose", "aten::squeeze", "aten::unsqueeze", "aten::roll", "aten::select", "aten::slice"),
        *("aten::pad", "getitem"),
    },
    "split": {"aten::add"},
    "product": {"aten::mul", "aten::matmul"},
    "softmax": {"aten::softmax"},
}


def manner(row: Covered) -> str:
    """How the relevance passes an operator, as the coverage tells it."""
    word = row.rule.partition(":")[0].partition(",")[0]
    return word if word in INTENDED else "rule"


USED_BY_WEIGHT = ("self_attention.out_proj", "attn.qkv", "attn.proj")  # the module itself is never called


def calibrate(model: nn.Module, x: Tensor) -> None:
    """Give batch norms the statistics of these inputs: with those they start with, the signal dies on its way."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        model(x)
    model.eval()


@pytest.mark.parametrize("assigned", ASSIGNED)
def test_explained_and_accounted_for(network: tuple[nn.Module, Tensor], assigned: str) -> None:
    model, x = network
    lrp = LRP(model, ASSIGNED[assigned], example=x)
    e = lrp(x)
    torch.testing.assert_close(e.logits, model(x))
    assert e.relevance.shape == x.shape
    assert bool(e.relevance.isfinite().all())
    assert bool(e.relevance.any())
    flow = max(float(R.abs().sum()) for R in e.layers.values())
    closes(e.ledger.values(), e.score - e.relevance.flatten(1).sum(1), rounding=1e-12 * flow)
    assert all(row.operator in INTENDED[manner(row)] for row in lrp.coverage)
    layers = {m for m, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d | nn.LayerNorm)}
    unseen = {m for m in layers if m.startswith(("aux", "AuxLogits")) or m.endswith(USED_BY_WEIGHT)}
    assert layers - unseen <= {row.module for row in lrp.coverage} | set(e.layers)


def closes(ledger: Iterable[LedgerEntry], lost: Tensor, rounding: float) -> None:
    """Each entry closes; all of them together say where what did not reach the input went.

    rounding: what sums over relevances of both signs lose, where a rule lets them grow far beyond the score.
    """
    total, largest = torch.zeros_like(lost), torch.zeros_like(lost)
    for entry in ledger:
        out = torch.stack([entry.passed, entry.bias, entry.stabilizer, entry.rule])
        scale = out.abs().amax(0)
        assert entry.arrived.shape == lost.shape
        assert bool(((entry.arrived - out.sum(0)).abs() <= 1e-9 * scale + rounding).all())
        total, largest = total + out[1:].sum(0), torch.maximum(largest, scale)
    assert bool(((lost - total).abs() <= 1e-9 * largest + rounding).all())
