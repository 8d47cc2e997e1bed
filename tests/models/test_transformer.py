"""The transformers' relevance is that of the papers' propositions, token by token."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from slow_attention import EPSILON, block_slowly, dense, layer_norm, split, stable
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.engine import LRP
from lrp_bench.engine.composites import CPLRP, AttnLRP, Composite
from lrp_bench.models import TextTransformer, ViT

COMPOSITES = pytest.mark.parametrize(
    ("composite", "constant"), [(AttnLRP(EPSILON), False), (CPLRP(EPSILON), True)], ids=["attnlrp", "cp_lrp"]
)


pytestmark = pytest.mark.usefixtures("float64", "captured_once")


def spread(model: nn.Module) -> None:
    """Weights and biases that all matter."""
    model.eval().requires_grad_(False)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.4)


@cache
def vit() -> tuple[ViT, Tensor]:
    torch.manual_seed(0)
    model = ViT([2, 4, 6], 3, patch=2, features=6, heads=2, blocks=2, hidden=8)
    spread(model)
    return model, torch.randn(3, 2, 4, 6)


@cache
def text() -> tuple[TextTransformer, Tensor]:
    torch.manual_seed(0)
    model = TextTransformer([5], 3, 9, features=6, heads=2, blocks=1, hidden=8)
    spread(model)
    ids = torch.randint(1, 9, (3, 5))
    ids[2, 3:] = 0
    return model, ids


def slowly(model: ViT | TextTransformer, x: Tensor, places: Tensor, target: Tensor, *, constant: bool) -> Tensor:
    """Relevance of one sample's tokens (tokens, features) before their places were added."""
    states = [x + places]
    for block in model.blocks:
        states.append(block(states[-1][None])[0])
    read = model.norm(states[-1])
    mean = read.mean(0)
    R = F.one_hot(target, 3) * model.head(mean)
    R = dense(mean[None], model.head.weight, model.head.bias, R[None])[0]
    R = layer_norm(states[-1], model.norm, read / len(read) / stable(mean) * R)
    for block, state in reversed(list(zip(model.blocks, states, strict=False))):
        R = block_slowly(block, state, R, constant=constant)
    return split(x, places, R)[0]


@COMPOSITES
def test_a_vision_transformer_is_explained_patch_by_patch(composite: Composite, *, constant: bool) -> None:
    model, x = vit()
    explained = LRP(model, composite, example=x)(x)
    for picture, target, relevance in zip(x, explained.target, explained.relevance, strict=True):
        patches = F.unfold(picture[None], 2, stride=2)[0].T  # (patches, channels * 4)
        weight = model.patches.weight.flatten(1)
        R = slowly(model, patches @ weight.T + model.patches.bias, model.places, target, constant=constant)
        expected = F.fold(dense(patches, weight, model.patches.bias, R).T[None], (4, 6), 2, stride=2)[0]
        assert_close(relevance, expected, rtol=1e-3, atol=1e-4)


@COMPOSITES
def test_a_text_transformer_is_explained_word_by_word(composite: Composite, *, constant: bool) -> None:
    model, ids = text()
    explained = LRP(model, composite, example=ids)(ids)
    for sentence, target, relevance in zip(ids, explained.target, explained.relevance, strict=True):
        words = sentence[sentence != 0]
        R = slowly(model, model.embedding(words), model.places[1 : len(words) + 1], target, constant=constant)
        assert_close(relevance[: len(words)], R.sum(1), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "composite",
    [AttnLRP(bias="redistribute"), AttnLRP(gamma=0.25, bias="redistribute"), CPLRP(bias="redistribute")],
    ids=["attnlrp", "gamma", "cp_lrp"],
)
def test_relevance_adds_up_to_the_logit_and_any_batch_is_taken(composite: Composite) -> None:
    for model, x in (vit(), text()):
        lrp = LRP(model, composite, example=x)
        more = torch.cat([x, x.flip(0)])
        explained = lrp(more)
        assert_close(explained.logits, model(more))
        # what the stabilisers took goes to padding as well, equally
        assert_close(explained.relevance.flatten(1).sum(1), explained.score, rtol=0, atol=1e-5)
        assert_close(explained.relevance[3:].flip(0), lrp(x).relevance)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(BenchError, match=r"multiples of 4, got \[1, 8, 10\]"):
        ViT([1, 8, 10], 3)
    with pytest.raises(BenchError, match="Expected pictures"):
        ViT([8], 3)
    with pytest.raises(BenchError, match="features that 3 heads divide, got 64"):
        ViT([1, 8, 8], 3, heads=3)
    with pytest.raises(BenchError, match="features that 3 heads divide, got 64"):
        TextTransformer([8], 3, 9, heads=3)
