"""What every explainer in conf/explainer promises."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from untouched import untouched

from lrp_bench.cli import CONF, configure
from lrp_bench.contracts import BenchError, Explainer
from lrp_bench.run import build

# for networks and data of their own: see test_activation_shares.py and test_text.py
ELSEWHERE = {"activation_shares", "by_hand"}
FILES = [
    path
    for path in sorted((CONF / "explainer").glob("*.yaml"))
    if path.stem not in ELSEWHERE and not path.stem.startswith("word_")
]
NAMES = [path.stem for path in FILES]
every = pytest.mark.parametrize("name", NAMES)
SEEDED = [path.stem for path in FILES if "seed: ${seed}" in path.read_text()]
IMAGES_ONLY = {"captum_grad_cam", "sobel"}


@cache
def explainer(name: str) -> Callable[..., Explainer]:
    fewer = ["explainer.n_samples=70"] if name in {"captum_kernel_shap", "captum_lime"} else []
    return build(configure(f"explainer={name}", *fewer).explainer)


@cache
def made(name: str) -> Explainer:
    return explainer(name)(model=cnn(), example=images(2))


def cnn() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Flatten(), nn.Linear(96, 5)),
    )
    nn.init.uniform_(net[1].running_var, 0.5, 2.0)
    nn.init.normal_(net[1].running_mean)
    return net.eval()


def images(batch: int = 6, seed: int = 1) -> Tensor:
    x = torch.randn(batch, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    x[:3, :, :3] = 0.0  # as the background of a digit: equal to the baseline
    return x


@every
def test_one_finite_number_for_each_input_value(name: str) -> None:
    model, x = cnn(), images()
    explanation = made(name).explain(x)
    assert explanation.relevance.shape == x.shape
    assert explanation.relevance.dtype == x.dtype
    assert explanation.relevance.isfinite().all()
    assert explanation.relevance.any()
    assert not explanation.relevance.requires_grad
    assert_close(explanation.logits, model(x).detach())
    assert_close(explanation.target, model(x).argmax(1))
    assert_close(explanation.score, model(x).amax(1).detach())


@every
def test_the_batch_does_not_matter(name: str) -> None:
    x, method = images(), made(name)
    whole = method.explain(x).relevance
    parts = torch.cat([method.explain(part).relevance for part in x.split([1, 3, 2])])
    assert_close(parts, whole, rtol=1e-4, atol=1e-5 * float(whole.abs().max()))


@every
def test_same_seed_same_bits(name: str) -> None:
    x = images(3)
    maps = []
    for state in (5, 6):  # of the global generator, on which nothing depends
        method = explainer(name)(model=cnn(), example=x[:2])
        torch.manual_seed(state)
        maps.append(method.explain(x).relevance)
    assert_close(maps[0], maps[1], rtol=0, atol=0)


@pytest.mark.parametrize("name", SEEDED)
def test_another_seed_draws_anew(name: str) -> None:
    x = images(3)
    maps = [explainer(name)(model=cnn(), example=x, seed=seed).explain(x).relevance for seed in (0, 1)]
    assert not torch.allclose(maps[0], maps[1])


@every
def test_the_model_comes_back_untouched(name: str) -> None:
    model, x = cnn(), images(3)
    with untouched(model, x):
        explainer(name)(model=model, example=x[:2]).explain(x)


@every
def test_works_where_gradients_are_off(name: str) -> None:
    model, x = cnn(), images(3)
    expected = made(name).explain(x).relevance
    with torch.inference_mode():
        relevance = explainer(name)(model=model, example=x[:2] + 0).explain(x + 0, model(x).argmax(1)).relevance
    assert_close(relevance, expected)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"random", "sobel"}])
def test_another_class_is_explained_otherwise(name: str) -> None:
    model, x = cnn(), images(3)
    method, target = made(name), model(x).argmax(1)
    assert not torch.allclose(method.explain(x, (target + 1) % 5).relevance, method.explain(x, target).relevance)


@every
def test_a_table_is_explained_or_refused(name: str) -> None:
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 3))
    if name in IMAGES_ONLY:
        with pytest.raises(BenchError, match=r"leave .* out"):
            explainer(name)(model=model, example=x)
    else:
        assert explainer(name)(model=model, example=x).explain(x).relevance.shape == x.shape


@pytest.mark.parametrize("name", [name for name in NAMES if name not in {"random", "lrp"}])
def test_token_ids_are_refused(name: str) -> None:
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(BenchError, match=r"got (torch\.int64|\(2, 3\))"):
        explainer(name)(model=model, example=torch.randint(0, 9, (2, 3)))


@every
def test_an_unknown_parameter_fails(name: str) -> None:
    with pytest.raises(TypeError, match="colour"):
        explainer(name)(model=cnn(), example=images(2), colour=1)
