"""Grad-CAM by hand, through autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.explainers.cam import GradCAM

X = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, padding=1)),
        *(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(80, 3)),
    ).double()


def by_hand(split: int, x: Tensor, *, relu: bool) -> Tensor:
    net = model()
    for module in net:
        if isinstance(module, nn.ReLU):
            module.inplace = False
    A = net[:split](x).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(net[split:](A).amax(1).sum(), A)
    cam = torch.einsum("bk,bkij->bij", gradient.mean((2, 3)), A.detach())[:, None]
    large = F.interpolate(cam.relu() if relu else cam, (8, 8), mode="bilinear")
    return large.expand(-1, 2, -1, -1) / 2


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize(("layer", "split"), [(None, 4), ("3", 4), ("0", 1), ("2", 3)])
def test_channels_are_weighted_by_their_mean_gradient(layer: str | None, split: int, relu: bool) -> None:
    explanation = GradCAM(model(), X, layer=layer, relu=relu).explain(X)
    assert_close(explanation.relevance, by_hand(split, X, relu=relu))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ("9", r"got '9': set explainer\.layer to one of its convolutions \(0, 3\)"),
        ("5", r"outputs \(batch, channels, \*positions\).*got \(3, 80\) from '5'"),
        (7, "layer to be the name of a module"),
    ],
)
def test_a_layer_without_a_map_is_refused(layer: object, reason: str) -> None:
    with pytest.raises(BenchError, match=reason):
        GradCAM(model(), X, layer=layer)


def test_a_model_without_convolutions_is_refused() -> None:
    with pytest.raises(BenchError, match="it has none: leave Grad-CAM out"):
        GradCAM(nn.Sequential(nn.Flatten(), nn.Linear(128, 3)).double(), X)


def test_a_layer_used_twice_is_refused() -> None:
    layer = nn.Conv2d(2, 2, 3, padding=1)
    net = nn.Sequential(layer, nn.ReLU(), layer, nn.Flatten(), nn.Linear(128, 3)).double()
    with pytest.raises(BenchError, match="'0' has 2"):
        GradCAM(net, X)
