"""Gradients word by word, against autograd written out and for models that have no such words."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from untouched import untouched

from lrp_bench.contracts import BenchError, Explainer
from lrp_bench.explainers.text import WordGradientXInput, WordIntegratedGradients, WordMethod, WordSensitivity
from lrp_bench.models import LSTM

METHODS = (WordGradientXInput, WordSensitivity, WordIntegratedGradients)
every = pytest.mark.parametrize("method", METHODS)


def network() -> LSTM:
    torch.manual_seed(0)
    return LSTM([6], 3, 20, embedding=5, hidden=4).eval().requires_grad_(False)


def sentences() -> Tensor:
    return torch.tensor([[3, 4, 5, 6, 7, 8], [9, 0, 10, 0, 0, 0], [11, 12, 3, 0, 0, 0]])


def by_hand(model: LSTM, ids: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The embedding of each word and the gradient with respect to it, one sentence at a time."""
    rows = []
    for sentence, c in zip(ids, target, strict=True):
        words = sentence[sentence != 0]
        x = model.embedding.weight[words].clone().requires_grad_()
        (_, (h, _)), (_, (b, _)) = model.forwards(x[None]), model.backwards(x.flip(0)[None])
        model.head(torch.cat([h[0], b[0]], 1))[0, c].backward()
        gradient = torch.zeros_like(model.embedding(sentence))
        gradient[sentence != 0] = x.grad
        rows.append((model.embedding(sentence), gradient))
    x, g = zip(*rows, strict=True)
    return torch.stack(x), torch.stack(g)


def test_they_are_what_arras_et_al_compare_with() -> None:
    model, ids = network(), sentences()
    target = torch.tensor([2, 0, 1])
    x, g = by_hand(model, ids, target)
    assert_close(WordGradientXInput(model, ids).explain(ids, target).relevance, (x * g).sum(2))
    assert_close(WordSensitivity(model, ids).explain(ids, target).relevance, g.square().sum(2))


def test_integrated_gradients_are_the_mean_over_embeddings_that_grow_from_nothing() -> None:
    model, ids = network().double(), sentences()
    target, steps = torch.tensor([2, 0, 1]), 40
    means = torch.zeros(3, 6, dtype=torch.float64)
    for step in range(steps):
        share, smaller = (step + 0.5) / steps, deepcopy(model)
        smaller.embedding.weight *= share
        x, g = by_hand(smaller, ids, target)
        means += (x / share * g).sum(2) / steps
    assert_close(WordIntegratedGradients(model, ids).explain(ids, target).relevance, means, rtol=0, atol=1e-6)


def test_integrated_gradients_start_from_an_id() -> None:
    model, ids = network(), sentences()
    with pytest.raises(BenchError, match="baseline to be an id below 20, got 20"):
        WordIntegratedGradients(model, ids, baseline=20)
    moved = WordIntegratedGradients(model, ids, baseline=3).explain(ids).relevance
    assert not moved[ids == 3].any()
    assert moved[ids > 3].all()


@every
def test_they_keep_what_explainers_promise(method: type[WordMethod]) -> None:
    model, ids = network(), sentences()
    with untouched(model, ids):
        made: Explainer = method(model, ids[:2])
        explained = made.explain(ids)
    assert explained.relevance.shape == ids.shape
    assert not explained.relevance.requires_grad
    assert not explained.relevance[ids == 0].any()
    assert_close(explained.target, model(ids).argmax(1))
    with torch.inference_mode():
        assert_close(made.explain(ids + 0).relevance, explained.relevance)
    assert_close(torch.cat([made.explain(part).relevance for part in ids.split(1)]), explained.relevance)


@every
@pytest.mark.parametrize(
    ("model", "example"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.randn(2, 4)),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)), torch.randn(2, 1, 4, 4)),
    ],
)
def test_other_data_is_refused(method: type[WordMethod], model: nn.Module, example: Tensor) -> None:
    with pytest.raises(BenchError, match=r"one nn\.Embedding, got torch\.float32 and 0"):
        method(model, example)
