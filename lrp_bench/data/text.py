"""Sentences as ids of words: what data sets of text share."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.data.base import TensorData
from lrp_bench.data.batching import AlikeBatches, Batches

PADDING, UNKNOWN = 0, 1
SPECIAL = 2  # ids that are no words
ORDER_SEED = 0

Words = tuple[str, ...]


class TextData(TensorData):
    """Sentences as (length,) int64 ids, filled up with id 0 on the right; id 1 is a word that is not in the vocabulary.

    The model takes the ids as they are.
    """

    @property
    def input_dtype(self) -> torch.dtype:
        """Ids are int64."""
        return torch.int64

    @abstractmethod
    def sentences(self, index: Sequence[int]) -> list[Words]:
        """The words, as they were written, of the test samples at these positions."""

    @cached_property
    def indices(self) -> Tensor:
        """Test positions of the explained subset, shuffled alike for every seed: the first are of all classes."""
        drawn = super().indices
        return drawn[torch.randperm(len(drawn), generator=torch.Generator().manual_seed(ORDER_SEED))]

    def normalize(self, raw: Tensor) -> Tensor:
        """The ids themselves."""
        return raw

    def denormalize(self, x: Tensor) -> Tensor:
        """The ids themselves."""
        return x

    def _shuffled(self, index: Tensor, batch_size: int) -> Batches:
        # Trimmed to their longest sentence (training.augment.Trim), batches of like lengths take a fraction of the time
        lengths = (self.contents.train.inputs != PADDING).sum(1)
        return AlikeBatches(index, batch_size, self.seed, lengths)


def vocabulary(sentences: Iterable[Words], size: int) -> dict[str, int]:
    """Ids from 2 on for the most frequent words, so that no id reaches `size`; words equally frequent by the alphabet.

    >>> vocabulary([("a", "b"), ("b", "c")], size=4)
    {'b': 2, 'a': 3}
    """
    counts = Counter(word for words in sentences for word in words)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: SPECIAL + rank for rank, word in enumerate(ranked[: size - SPECIAL])}


def encode(sentences: Sequence[Words], ids: Mapping[str, int], length: int) -> Tensor:
    """The ids of sentences: (n, length) int64.

    >>> encode([("b", "x"), ("b",)], {"b": 2}, length=3)
    tensor([[2, 1, 0],
            [2, 0, 0]])
    """
    longest = max(map(len, sentences), default=0)
    if longest > length:
        raise BenchError(f"Expected sentences of at most {length} words, got {longest}: set dataset.shape")
    rows = torch.tensor([len(words) for words in sentences])
    encoded = torch.full((len(sentences), length), PADDING)
    flat = torch.tensor([ids.get(word, UNKNOWN) for words in sentences for word in words], dtype=torch.int64)
    encoded[torch.arange(length) < rows.unsqueeze(1)] = flat
    return encoded
