"""Occlusion, ablation, Shapley values and surrogates against closed forms and Captum sample by sample."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from captum import attr
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr._core.lime import get_exp_kernel_similarity_function
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.chance import Purpose, bits
from lrp_bench.contracts import BenchError
from lrp_bench.explainers.patches import patch_ids, shared
from lrp_bench.explainers.perturbation import FeatureAblation, Occlusion, ShapleyValueSampling
from lrp_bench.explainers.surrogates import KernelShap, Lime

X = torch.randn(3, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
ROWS, X0 = X.flatten(1)[:, :5], 0.3
METHODS = [Occlusion, FeatureAblation, ShapleyValueSampling, KernelShap, Lime]


def cnn() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3)).double().eval()


def on_table(model: nn.Module, method: type, **settings: float) -> tuple[Tensor, Tensor]:
    target = torch.tensor([2, 0, 1])
    return method(model, ROWS, baseline=X0, **settings).explain(ROWS, target).relevance, target


@pytest.mark.parametrize(
    "method", [Occlusion, FeatureAblation, ShapleyValueSampling, KernelShap, lambda *a, **k: Lime(*a, alpha=1e-6, **k)]
)
def test_on_a_linear_model_all_are_weight_times_change(method: Callable[..., object]) -> None:
    torch.manual_seed(0)
    model = nn.Linear(5, 3).double()
    relevance, target = on_table(model, method)
    assert_close(relevance, model.weight[target].detach() * (ROWS - X0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", [FeatureAblation, ShapleyValueSampling, KernelShap])
def test_on_a_model_additive_in_patches_the_patch_is_shared_by_its_values(method: type) -> None:
    weight = torch.randn(3, 72, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    model = nn.Linear(72, 3, bias=False).double()
    model.weight.data.copy_(weight)
    relevance = method(nn.Sequential(nn.Flatten(), model), X, patch=4).explain(X, torch.tensor([0, 1, 2])).relevance
    terms = weight.view(3, 2, 6, 6) * X
    for rows, columns in ((slice(0, 4), slice(4, 6)), (slice(4, 6), slice(4, 6))):  # what is left at the edges, too
        total = terms[:, :, rows, columns].sum((1, 2, 3))
        share = total / terms[0, :, rows, columns].numel()
        found = relevance[:, :, rows, columns]
        assert_close(found, share.view(3, 1, 1, 1).expand_as(found), rtol=1e-4, atol=1e-5)


def test_occlusion_and_ablation_are_captums() -> None:
    model, target = cnn(), cnn()(X).argmax(1)
    ids = patch_ids(X, 2)
    for i in range(3):
        x, c = X[i : i + 1], int(target[i])
        occluded = attr.Occlusion(model).attribute(x, (2, 3, 3), strides=(2, 2, 2), baselines=X0, target=c)
        ablated = attr.FeatureAblation(model).attribute(x, feature_mask=ids, baselines=X0, target=c)
        ours = Occlusion(model, X, window=3, stride=2, baseline=X0).explain(X).relevance[i : i + 1]
        assert_close(ours, occluded.to(ours), rtol=1e-5, atol=1e-6)
        ours = FeatureAblation(model, X, patch=2, baseline=X0).explain(X).relevance[i : i + 1]
        assert_close(ours, ablated / 8, rtol=1e-5, atol=1e-6)


def test_occlusion_of_an_elongated_image_is_captums_with_a_quarter_of_each_side() -> None:
    x = torch.randn(2, 1, 8, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.manual_seed(0)
    model, target = nn.Sequential(nn.Flatten(), nn.Linear(512, 3), nn.Tanh()).double(), torch.tensor([0, 2])
    expected = attr.Occlusion(model).attribute(x, (1, 2, 16), strides=(1, 1, 8), target=target)
    assert_close(Occlusion(model, x).explain(x, target).relevance, expected.to(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", [KernelShap, Lime])
def test_a_fit_that_the_choices_do_not_determine_is_refused_before_it_is_made(method: type) -> None:
    for n_samples in (1, 10):
        with pytest.raises(BenchError, match=rf"at least 11, for the 9 patches .*, got {n_samples}:"):
            method(cnn(), X, patch=2, n_samples=n_samples)
    assert method(cnn(), X, patch=2, n_samples=11).explain(X).relevance.any()
    with pytest.raises(BenchError, match=r"at least 2 patches to compare, got '1 with patch=6 and inputs \(2, 6, 6\)'"):
        method(cnn(), X, patch=6)
    with pytest.raises(BenchError, match="at least 2 patches"):
        method(nn.Linear(1, 3).double(), ROWS[:, :1])


def test_surrogates_are_captums_with_draws_of_the_sample() -> None:
    model, target = cnn(), cnn()(X).argmax(1)
    ids, keys = patch_ids(X, 2), bits(X, 1, 5, Purpose.GENERATOR_SEED)[:, 0].tolist()
    near = get_exp_kernel_similarity_function("cosine", kernel_width=0.25)
    settings = {"patch": 2, "n_samples": 30, "seed": 5}
    shap, lime = KernelShap(model, X, **settings).explain(X), Lime(model, X, **settings).explain(X)
    for i, key in enumerate(keys):
        torch.manual_seed(key)
        expected = attr.KernelShap(model).attribute(X[i : i + 1], target=int(target[i]), feature_mask=ids, n_samples=30)
        assert_close(shap.relevance[i], expected[0].to(X) / 8, rtol=1e-4, atol=1e-5)
        switches = torch.ones(1, 9)
        torch.manual_seed(key)
        captum = attr.Lime(  # in the space of patches, where LIME measures its distance
            lambda z, i=i: model(z[:, ids[0]] * X[i]), interpretable_model=SkLearnRidge(alpha=1.0), similarity_func=near
        )
        weights = captum.attribute(switches, target=int(target[i]), n_samples=30)
        assert_close(lime.relevance[i], shared(weights.to(X), ids)[0], rtol=1e-4, atol=1e-5)


def test_shapley_values_sum_to_the_change_and_converge() -> None:
    model, target = cnn(), cnn()(X).argmax(1)
    few = ShapleyValueSampling(model, X, patch=3, baseline=X0, n_samples=2).explain(X)
    change = few.score - model(torch.full_like(X, X0)).gather(1, target[:, None])[:, 0].detach()
    assert_close(few.relevance.sum((1, 2, 3)), change, rtol=1e-5, atol=1e-6)

    many = ShapleyValueSampling(model, X, patch=3, baseline=X0, n_samples=300).explain(X).relevance
    ids = patch_ids(X, 3).contiguous()
    exact = attr.ShapleyValues(model).attribute(X, baselines=X0, target=target, feature_mask=ids)
    assert_close(many * 18, exact.to(X), rtol=0, atol=0.05 * float(exact.abs().max()))


def test_each_sample_has_orders_of_its_own() -> None:
    """In a batch of two different samples of one function, errors of two orders are not the same."""

    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x[:, :4].prod(1), x[:, 0]], 1)

    x = torch.ones(40, 5, dtype=torch.float64)
    x[:, 4] = torch.arange(40)  # not seen by the model
    maps = ShapleyValueSampling(Product(), x, n_samples=1).explain(x, torch.zeros(40, dtype=torch.int64)).relevance
    assert set(maps[:, :4].argmax(1).tolist()) == {0, 1, 2, 3}  # the last one in completes the product


@pytest.mark.parametrize("method", METHODS)
def test_memory_is_bounded(method: type) -> None:
    sizes: list[int] = []
    model = cnn()
    model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
    method(model, X[:2], internal_batch_size=5).explain(X)
    assert max(sizes) == (5 if method in (KernelShap, Lime) else 3)


def test_patches_cover_everything_once_and_are_64_at_most() -> None:
    assert patch_ids(torch.zeros(1, 3, 5, 4), 3)[0, 0].tolist() == [[0, 0, 0, 1]] * 3 + [[2, 2, 2, 3]] * 2
    for shape in [(1, 8, 8), (3, 28, 28), (1, 224, 60), (2, 1000), (1, 9, 9, 9)]:
        ids = patch_ids(torch.zeros(2, *shape))
        assert ids.shape == (1, *shape)
        assert ids.unique().tolist() == list(range(int(ids.max()) + 1))
        assert 25 <= int(ids.max()) + 1 <= 64
    assert patch_ids(torch.zeros(2, 7)).tolist() == [list(range(7))]


@pytest.mark.parametrize(
    "build",
    [
        lambda: Occlusion(cnn(), X, window=7),
        lambda: Occlusion(cnn(), X, window=2, stride=3),
        lambda: Occlusion(cnn(), X, window=0),
        lambda: FeatureAblation(cnn(), X, patch=-1),
        lambda: FeatureAblation(cnn(), X, baseline="mean"),
        lambda: ShapleyValueSampling(cnn(), X, n_samples=0),
        lambda: KernelShap(cnn(), X, seed=1.5),
        lambda: Lime(cnn(), X, kernel_width=0),
        lambda: Lime(cnn(), X, alpha=-1),
    ],
)
def test_a_bad_parameter_says_what_was_expected(build: Callable[[], object]) -> None:
    with pytest.raises(BenchError, match=r"^Expected .*, got "):
        build()
