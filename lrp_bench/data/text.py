"""What data sets of text share: their samples are ids of words."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from lrp_bench.data.base import TensorData
from lrp_bench.data.batching import AlikeBatches, Batches
from lrp_bench.data.sources.contents import portions
from lrp_bench.data.sources.texts import PADDING, Words

ORDER_SEED = 0


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
        lengths = torch.cat([(ids != PADDING).sum(1) for ids in portions(self.contents.train.inputs)])
        return AlikeBatches(index, batch_size, self.seed, lengths)
