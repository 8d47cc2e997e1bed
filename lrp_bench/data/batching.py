"""Batches straight from tensors: one indexing a batch, no collation per sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lrp_bench.data.selection import epoch_seed
from lrp_bench.data.sources.contents import Split

Loader = DataLoader[tuple[Tensor, Tensor]]


class Rows(Dataset[tuple[Tensor, Tensor]]):
    """rows[index] is (normalize(inputs[index]), labels[index]) for a tensor of positions."""

    def __init__(self, split: Split, normalize: Callable[[Tensor], Tensor]) -> None:
        self.split, self.normalize = split, normalize

    def __getitem__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        return self.normalize(self.split.inputs[index]), self.split.labels[index]


class Batches(Sampler[Tensor]):
    """Tensors of positions, one a batch; with a seed in a new order each epoch, the same for the same (seed, epoch)."""

    def __init__(self, index: Tensor, batch_size: int, seed: int | None = None) -> None:
        self.index, self.batch_size, self.seed, self.epoch = index, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Tensor]:
        # Drawn with the first batch, not before: a Trainer that resumes makes its iterator before it sets the epoch.
        yield from torch.split(self._order(), self.batch_size)

    def __len__(self) -> int:
        return -(-len(self.index) // self.batch_size)

    def _order(self) -> Tensor:
        if self.seed is None:
            return self.index
        return self._drawn(torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch)))

    def _drawn(self, generator: torch.Generator) -> Tensor:
        return self.index[torch.randperm(len(self.index), generator=generator)]


class AlikeBatches(Batches):
    """Batches of positions with nearly the same size, (n,) one for each position; the last may be smaller.

    Which of one size come together, and the order of the batches, are new each epoch.
    """

    def __init__(self, index: Tensor, batch_size: int, seed: int, sizes: Tensor) -> None:
        super().__init__(index, batch_size, seed)
        self.sizes = sizes

    def _drawn(self, generator: torch.Generator) -> Tensor:
        shuffled = super()._drawn(generator)
        order = shuffled[self.sizes[shuffled].argsort(stable=True)]
        whole = order[: len(order) // self.batch_size * self.batch_size].view(-1, self.batch_size)
        turn = torch.randperm(len(whole), generator=generator)
        return torch.cat([whole[turn].flatten(), order[whole.numel() :]])
