"""Guided backpropagation and deconvolution against a ReLU with that backward, written out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from captum import attr
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.explainers.backprop import Deconvolution, GuidedBackprop

X = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class GuidedReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.relu()

    @staticmethod
    def backward(ctx, R: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return R.relu() * (x > 0)


class BackwardReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.relu()

    @staticmethod
    def backward(ctx, R: Tensor) -> Tensor:
        return R.relu()


class Net(nn.Module):
    """A module used twice, a functional relu, a relu in place before a max pool, and a residual."""

    def __init__(self, relu: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.branch = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.head = nn.Linear(27, 4)
        self.act, self.functional, self.pool = relu, F.relu if isinstance(relu, nn.Module) else relu, nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.stem(x))
        h = h + self.functional(self.branch(h))
        return self.head(self.pool(self.act(self.branch(h))).flatten(1))


@pytest.mark.parametrize(("method", "relu"), [(GuidedBackprop, GuidedReLU), (Deconvolution, BackwardReLU)])
def test_every_relu_passes_back_what_the_paper_says(method: type, relu: type[torch.autograd.Function]) -> None:
    model, twin = Net(nn.ReLU(inplace=True)).double(), Net(relu.apply).double()
    explanation = method(model, X).explain(X)
    x = X.clone().requires_grad_()
    (expected,) = torch.autograd.grad(twin(x).amax(1).sum(), x)
    assert_close(explanation.relevance, expected)


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU", "ignore:Input Tensor 0 did not already")
@pytest.mark.parametrize(
    ("method", "captum"), [(GuidedBackprop, attr.GuidedBackprop), (Deconvolution, attr.Deconvolution)]
)
def test_equals_captum_where_every_relu_is_a_module(method: type, captum: type) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3))
    model.double()
    target = model(X).argmax(1)
    expected = torch.cat([captum(model).attribute(X[i : i + 1], target=int(target[i])) for i in range(3)])
    assert_close(method(model, X).explain(X).relevance, expected)


def test_a_relu_that_is_no_module_is_refused() -> None:
    class Hidden(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:  # control flow on values: cannot be traced
            h = super().forward(x)
            return F.relu(h) if h.isfinite().all() else h

    with pytest.raises(BenchError, match=r"ReLU that is no nn\.ReLU module"):
        GuidedBackprop(Hidden(nn.Flatten(), nn.Linear(72, 3)).double(), X)
