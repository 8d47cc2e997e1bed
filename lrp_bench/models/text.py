"""Recurrent networks that read sentences, and sequences of numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrp_bench.contracts import BenchError

PADDING = 0
SPREAD = 0.1  # of the embeddings before a training: a word that it never sees stays near to none


class LSTM(nn.Module):
    """Embedding, bidirectional LSTM, and a linear layer on the last states; (batch, length) ids -> (batch, classes).

    Id 0 is no word: wherever it stands, the others are read as if they were alone. A sentence without words has the
    states that the LSTM begins with, zeros.

    Args:
        shape: of one sample, [length].
        classes: number of outputs.
        vocabulary: ids in all.
        embedding: features of a word.
        hidden: features of the state of each direction.
        dropout: share of the features of words, and of the last states, that a training step leaves out.
    """

    def __init__(
        self,
        shape: Sequence[int],
        classes: int,
        vocabulary: int,
        embedding: int = 60,
        hidden: int = 60,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if len(shape) != 1:
            raise BenchError(f"Expected sentences of shape [length] for the LSTM, got {list(shape)}: choose a text")
        self.embedding = word_embedding(vocabulary, embedding)
        self.dropout = nn.Dropout(dropout)
        self.forwards = nn.LSTM(embedding, hidden, batch_first=True)
        self.backwards = nn.LSTM(embedding, hidden, batch_first=True)
        self.head = nn.Linear(2 * hidden, classes)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits."""
        embedded = self.dropout(self.embedding(ids))
        absent = (ids == PADDING).long()
        words = ids.shape[1] - absent.sum(1, keepdim=True)
        order = absent.argsort(dim=1, stable=True)  # words first, in their order
        place = torch.arange(ids.shape[1], device=ids.device)
        turned = order.gather(1, torch.where(place < words, words - 1 - place, place))
        read = zip((self.forwards, self.backwards), (order, turned), strict=True)
        last = [_state(lstm(_rows(embedded, places))[0], words) for lstm, places in read]
        logits: Tensor = self.head(self.dropout(torch.cat(last, 1)))
        return logits


class SequenceLSTM(nn.Module):
    """LSTM and, on its last state, a linear layer without bias; (batch, steps * features) -> (batch, classes).

    Args:
        shape: of one sample, [steps * features].
        classes: number of outputs.
        features: of a step.
        hidden: features of the state.
    """

    def __init__(self, shape: Sequence[int], classes: int, features: int, hidden: int = 1) -> None:
        super().__init__()
        if len(shape) != 1 or shape[0] % features:
            raise BenchError(f"Expected a shape [steps * {features}], got {list(shape)}: set model.features")
        self.features = features
        self.lstm = nn.LSTM(features, hidden, batch_first=True)
        self.head = nn.Linear(hidden, classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs."""
        states, _ = self.lstm(x.reshape(x.shape[0], -1, self.features))
        outputs: Tensor = self.head(states[:, -1])
        return outputs


def _rows(x: Tensor, places: Tensor) -> Tensor:
    """Rows of x (batch, length, features) at places (batch, n): (batch, n, features)."""
    return x.gather(1, places.unsqueeze(2).expand(-1, -1, x.shape[2]))


def _state(states: Tensor, words: Tensor) -> Tensor:
    """The state after so many words (batch, 1), of (batch, length, features): (batch, features)."""
    return _rows(F.pad(states, (0, 0, 1, 0)), words)[:, 0]


def word_embedding(vocabulary: int, features: int) -> nn.Embedding:
    """Small random features for each id, zeros for padding."""
    embedding = nn.Embedding(vocabulary, features, padding_idx=PADDING)
    with torch.no_grad():
        embedding.weight.mul_(SPREAD)
    return embedding
