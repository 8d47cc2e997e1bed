"""The networks whose explanations are timed, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from gpu_parts.setups import Residual
from lrp_bench.engine.composites import AttnLRP, Composite, EpsilonPlus
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Gamma, Rule

CONVOLUTIONAL: Mapping[str, Rule | Composite] = {
    "epsilon": Epsilon(1e-6),
    "epsilon_plus": EpsilonPlus(),
    "gamma": Gamma(0.25),
    "alphabeta": AlphaBeta(2.0, 1.0),
}
ATTENTIVE: Mapping[str, Rule | Composite] = {
    "epsilon": Epsilon(1e-6),
    "gamma": Gamma(0.25, generalized=True),
    "AttnLRP": AttnLRP(),
}


@dataclass(frozen=True)
class Network:
    """build: size of Scale -> the network; samples: batch, size of Scale -> inputs; rules: those that apply."""

    build: Callable[[str], nn.Module]
    samples: Callable[[int, str], Tensor]
    rules: Mapping[str, Rule | Composite]

    def on(self, device: str, size: str) -> nn.Module:
        """Frozen, in eval mode, the same weights everywhere."""
        torch.manual_seed(0)
        return self.build(size).eval().requires_grad_(requires_grad=False).to(device)


class Attention(nn.Module):
    """Causal attention of several heads: (batch, tokens, features) -> the same."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(features, 3 * features), nn.Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        """Each token looks at itself and at those before it."""
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, 2))
        return self.out(self.mixed(q, k, v).transpose(1, 2).flatten(2))

    def mixed(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(batch, heads, tokens, features of a head)."""
        return scaled_dot_product_attention(q, k, v, is_causal=True)


class Block(nn.Module):
    """Attention and two dense layers, each behind a layer norm and beside a residual."""

    def __init__(self, features: int, heads: int) -> None:
        super().__init__()
        self.first, self.attention, self.second = (
            nn.LayerNorm(features),
            Attention(features, heads),
            nn.LayerNorm(features),
        )
        self.dense = nn.Sequential(nn.Linear(features, 4 * features), nn.GELU(), nn.Linear(4 * features, features))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, features)."""
        x = x + self.attention(self.first(x))
        return x + self.dense(self.second(x))


class Causal(nn.Module):
    """A language model in the shape of GPT-2, from the embeddings of tokens on: the logits of the next token."""

    def __init__(self, features: int, heads: int, layers: int, tokens: int, vocabulary: int) -> None:
        super().__init__()
        self.places = nn.Parameter(0.02 * torch.randn(1, tokens, features))
        self.blocks = nn.Sequential(*(Block(features, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(features), nn.Linear(features, vocabulary, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, features) -> (batch, vocabulary)."""
        return self.head(self.norm(self.blocks(x + self.places))[:, -1])


SIDES = {"gpu": 224, "cpu": 32, "smoke": 16}
CAUSAL = {"gpu": (768, 12, 12, 256, 50257), "cpu": (64, 4, 12, 16, 1000), "smoke": (16, 2, 2, 8, 20)}
VIT = {"gpu": (16, 12, 12, 768, 3072), "cpu": (8, 12, 4, 64, 256), "smoke": (8, 1, 2, 16, 32)}


def vit(size: str) -> nn.Module:
    """ViT-B/16; on a CPU as deep, and narrower."""
    patch, layers, heads, features, hidden = VIT[size]
    model = torchvision.models.VisionTransformer(SIDES[size], patch, layers, heads, features, hidden)
    nn.init.normal_(model.heads.head.weight, std=0.02)  # zeros as it comes
    return model


def convolutional(build: Callable[..., nn.Module]) -> Callable[[str], nn.Module]:
    """One of torchvision's; where the least of everything is asked for, a small one in its place."""
    return lambda size: Residual() if size == "smoke" else build(weights=None)


def pictures(batch: int, size: str) -> Tensor:
    """(batch, 3, side, side)."""
    return torch.randn(batch, 3, SIDES[size], SIDES[size], generator=torch.Generator().manual_seed(batch))


def embeddings(batch: int, size: str) -> Tensor:
    """(batch, tokens, features)."""
    features, _, _, tokens, _ = CAUSAL[size]
    return torch.randn(batch, tokens, features, generator=torch.Generator().manual_seed(batch))


NETWORKS: Mapping[str, Network] = {
    "vgg16": Network(convolutional(torchvision.models.vgg16), pictures, CONVOLUTIONAL),
    "resnet50": Network(convolutional(torchvision.models.resnet50), pictures, CONVOLUTIONAL),
    "vit_b_16": Network(vit, pictures, ATTENTIVE),
    "causal": Network(lambda size: Causal(*CAUSAL[size]), embeddings, ATTENTIVE),
}
BATCHES = {"gpu": (1, 8, 64), "cpu": (1, 4), "smoke": (2,)}
