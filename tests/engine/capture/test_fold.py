"""What is computed once, before any relevance flows: a batch norm joins the layer before it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.testing import assert_close

from lrp_bench.engine import LRP
from lrp_bench.engine.composites import Composite, EpsilonAlpha2Beta1, EpsilonPlus

pytestmark = pytest.mark.usefixtures("float64")

TRANSPOSED = (
    (nn.ConvTranspose1d, nn.BatchNorm1d),
    (nn.ConvTranspose2d, nn.BatchNorm2d),
    (nn.ConvTranspose3d, nn.BatchNorm3d),
)


@pytest.mark.parametrize("composite", [EpsilonPlus(), EpsilonAlpha2Beta1()], ids=["plus", "alpha beta"])
@pytest.mark.parametrize(("dimensions", "bias"), [(1, True), (2, False), (3, True)])
def test_batch_norm_joins_a_transposed_convolution_as_torch_fuses_them(
    composite: Composite, dimensions: int, *, bias: bool
) -> None:
    conv, norm = transposed(dimensions, 1, bias=bias)
    tail = (nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4**dimensions, 3))
    x = torch.randn(2, 2, *[3] * dimensions)
    two = LRP(nn.Sequential(conv, norm, *tail), composite, example=x)(x)
    one = LRP(nn.Sequential(fuse_conv_bn_eval(conv, norm, transpose=True), *tail), composite, example=x)(x)
    assert_close(two.relevance, one.relevance, rtol=1e-9, atol=1e-12)


def transposed(dimensions: int, groups: int, *, bias: bool = True) -> tuple[Any, Any]:
    conv_kind, norm_kind = TRANSPOSED[dimensions - 1]
    conv, norm = conv_kind(2, 4, 2, groups=groups, bias=bias).eval(), norm_kind(4).eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return conv, norm


@pytest.mark.parametrize("dimensions", [1, 2])
def test_batch_norm_joins_a_transposed_convolution_group_by_group(dimensions: int) -> None:
    """Torch does not fuse groups; each group is a transposed convolution of its own."""
    conv, norm = transposed(dimensions, 2)
    weight, bias = conv.weight.detach(), conv.bias.detach()
    gain = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
    fused = deepcopy(conv)
    for group in range(2):
        for out in range(2):
            fused.weight.data[group, out] = weight[group, out] * gain[2 * group + out]
    fused.bias.data = (bias - norm.running_mean) * gain + norm.bias.detach()
    tail, x = (nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4**dimensions, 3)), torch.randn(2, 2, *[3] * dimensions)
    two = LRP(nn.Sequential(conv, norm, *tail), EpsilonAlpha2Beta1(), example=x)(x)
    one = LRP(nn.Sequential(fused, *tail), EpsilonAlpha2Beta1(), example=x)(x)
    assert_close(two.relevance, one.relevance, rtol=1e-9, atol=1e-12)
