"""Small transformers, for pictures and for sentences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lrp_bench.contracts import BenchError
from lrp_bench.models.cnn import picture_shape
from lrp_bench.models.text import PADDING, SPREAD, word_embedding


class ViT(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021) whose head reads the mean over patches, not a class token.

    (batch, channels, height, width), both sides multiples of `patch`, -> (batch, classes).

    Args:
        shape: of one sample, [channels, height, width].
        classes: number of outputs.
        patch: side of the squares that a picture is cut into, in pixels.
        features: of a patch.
        heads: of the attention, a divisor of `features`.
        blocks: of attention and a hidden layer.
        hidden: features of that layer.
        dropout: share of a block's features that a training step leaves out.
    """

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        patch: int = 4,
        features: int = 64,
        heads: int = 4,
        blocks: int = 2,
        hidden: int = 128,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, height, width = picture_shape(shape, least=patch)
        if height % patch or width % patch:
            raise BenchError(
                f"Expected sides that are multiples of {patch}, got {list(shape)}: set model.patch, or dataset.padding"
            )
        self.patches = nn.Conv2d(channels, features, kernel_size=patch, stride=patch)
        self.places = nn.Parameter(SPREAD * torch.randn((height // patch) * (width // patch), features))
        self.blocks = nn.Sequential(*_encoder(blocks, features, heads, hidden, dropout))
        self.norm = nn.LayerNorm(features)
        self.head = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.places
        logits: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return logits


class TextTransformer(nn.Module):
    """Embedding, places, encoder blocks, and a linear layer on the mean over words; (batch, length) ids -> logits.

    Id 0 is no word: wherever it stands, the others are read as if they were alone, their places counted without it. A
    sentence without words has the mean 0.

    Args:
        shape: of one sample, [length].
        classes: number of outputs.
        vocabulary: ids in all.
        features: of a word.
        heads: of the attention, a divisor of `features`.
        blocks: of attention and a hidden layer.
        hidden: features of that layer.
        dropout: share of the features of words, and of each block's, that a training step leaves out.
    """

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        vocabulary: int,
        features: int = 64,
        heads: int = 4,
        blocks: int = 1,
        hidden: int = 128,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if len(shape) != 1:
            raise BenchError(f"Expected sentences of shape [length], got {list(shape)}: choose a text")
        self.embedding = word_embedding(vocabulary, features)
        self.places = nn.Parameter(SPREAD * torch.randn(shape[0] + 1, features))  # the first is before all words
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(_encoder(blocks, features, heads, hidden, dropout))
        self.norm = nn.LayerNorm(features)
        self.head = nn.Linear(features, classes)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits."""
        words = ids != PADDING
        unseen = ~words & words.any(1, keepdim=True)  # attention to nothing at all would be undefined
        x = self.dropout(self.embedding(ids) + self.places[words.cumsum(1)])
        for block in self.blocks:
            x = block(x, src_key_padding_mask=unseen)
        read = self.norm(x).masked_fill(~words.unsqueeze(2), 0.0)
        mean = read.sum(1) / words.sum(1, keepdim=True).clamp(min=1)
        logits: Tensor = self.head(self.dropout(mean))
        return logits


def _encoder(blocks: int, features: int, heads: int, hidden: int, dropout: float) -> list[nn.Module]:
    if features % heads:
        raise BenchError(f"Expected features that {heads} heads divide, got {features}: set model.features")
    return [
        nn.TransformerEncoderLayer(
            features, heads, hidden, dropout, activation="gelu", batch_first=True, norm_first=True
        )
        for _ in range(blocks)
    ]
