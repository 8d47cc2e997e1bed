"""Averaged gradients against closed forms, and against Captum's own loops, whose draws are others."""

from __future__ import annotations

import pytest
import torch
from captum import attr
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.chance import Purpose, normal, uniform
from lrp_bench.contracts import BenchError
from lrp_bench.explainers.sampling import GradientShap, SmoothGrad

X = torch.randn(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
TARGET = torch.tensor([2, 0, 1])


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(6, 4).double()


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 4)).double()


def test_on_a_linear_model_the_points_do_not_matter() -> None:
    model = linear()
    weights = model.weight[TARGET].detach()
    assert_close(SmoothGrad(model, X, absolute=False).explain(X, TARGET).relevance, weights)
    assert_close(SmoothGrad(model, X).explain(X, TARGET).relevance, weights.abs())
    still = GradientShap(model, X, baseline=0.3, baseline_stdev=0, stdev=0)
    assert_close(still.explain(X, TARGET).relevance, weights * (X - 0.3))


def test_expected_gradients_sum_to_the_expected_change() -> None:
    model, n = network(), 4000
    method = GradientShap(model, X, baseline=0.2, baseline_stdev=0.3, stdev=0.1, n_samples=n, internal_batch_size=9000)
    noise = torch.randn(2, n, *X.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ends, begins = X + 0.1 * noise[0], 0.2 + 0.3 * noise[1]
    change = (model(ends) - model(begins)).gather(2, TARGET.expand(n, 3)[..., None])[..., 0].mean(0)
    total = method.explain(X, TARGET).relevance.sum(1)
    assert_close(total, change.detach(), atol=0.03, rtol=0)


def by_captum(method: str, model: nn.Module, n: int) -> Tensor:
    torch.manual_seed(0)
    if method == "smooth_grad":
        deviation = 0.15 * (X.amax(1) - X.amin(1))
        tunnel = attr.NoiseTunnel(attr.Saliency(model))
        rows = [
            tunnel.attribute(X[i : i + 1], nt_samples=n, stdevs=float(deviation[i]), target=int(TARGET[i]), abs=False)
            for i in range(3)
        ]
        return torch.cat(rows)
    baselines = 0.2 + 0.3 * torch.randn(n, 6, dtype=torch.float64)
    rows = [
        attr.GradientShap(model).attribute(
            X[i : i + 1], baselines=baselines, n_samples=n, stdevs=0.1, target=int(TARGET[i])
        )
        for i in range(3)
    ]
    return torch.cat(rows).detach()


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("smooth_grad", SmoothGrad(network(), X, absolute=False, n_samples=4000, internal_batch_size=9000)),
        (
            "gradient_shap",
            GradientShap(network(), X, baseline=0.2, baseline_stdev=0.3, n_samples=4000, internal_batch_size=9000),
        ),
    ],
)
def test_many_draws_agree_with_captum(name: str, method: SmoothGrad | GradientShap) -> None:
    expected = by_captum(name, network(), 4000)
    assert_close(method.explain(X, TARGET).relevance, expected, rtol=0, atol=0.03 * float(expected.abs().max()))


@pytest.mark.parametrize("method", [SmoothGrad, GradientShap])
def test_how_many_points_go_at_once_does_not_matter(method: type) -> None:
    maps = [method(network(), X, n_samples=7, internal_batch_size=size).explain(X).relevance for size in (1, 6, 100)]
    assert_close(maps[1], maps[0])
    assert_close(maps[2], maps[0])


def test_draws_go_on_where_they_stopped_and_purposes_are_unrelated() -> None:
    whole = normal(X, 4000, 3, Purpose.INPUT_NOISE)
    assert_close(normal(X, 1000, 3, Purpose.INPUT_NOISE, start=3000), whole[:, 3000:], rtol=0, atol=0)
    others = [
        whole[0],
        whole[1],
        normal(X, 4000, 3, Purpose.BASELINE)[0],
        uniform(X, 4000, 3, Purpose.PLACE_ON_LINE)[0],
    ]
    correlation = torch.corrcoef(torch.stack(others))
    assert float((correlation - torch.eye(4, dtype=torch.float64)).abs().max()) < 0.08  # five standard errors


@pytest.mark.parametrize(
    "build",
    [
        lambda: SmoothGrad(linear(), X, noise_level=-1),
        lambda: SmoothGrad(linear(), X, n_samples=0),
        lambda: GradientShap(linear(), X, stdev="wide"),
        lambda: GradientShap(linear(), X, seed=-1),
    ],
)
def test_a_bad_parameter_says_what_was_expected(build) -> None:
    with pytest.raises(BenchError, match=r"^Expected .*, got "):
        build()
