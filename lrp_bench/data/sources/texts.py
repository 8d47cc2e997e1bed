"""Sentences as ids of words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError

PADDING, UNKNOWN = 0, 1
SPECIAL = 2  # ids that are no words

Words = tuple[str, ...]


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
