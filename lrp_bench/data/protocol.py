"""What a data set promises to those that train, explain and record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lrp_bench.contracts import Batch

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
Official = Literal["train", "test"]
Task = Literal["classification", "regression"]


class DataSet(Protocol):
    """Samples in batches as the model takes them, their facts, and how they are shown. `TensorData` keeps the promise.

    shape: of one sample; classes: how many outputs the model has; dtype: of the model, input_dtype: of its inputs.
    features: name -> unit of each input of a table. unit: of scores and relevance, "" where they have none, and scale:
    what a score of 1 is in it. seed: of all that is drawn. indices: test positions of the explained subset, (samples,)
    int64. counts: how many samples each part has.
    """

    shape: tuple[int, ...]
    classes: int
    dtype: torch.dtype
    features: dict[str, str]
    unit: str
    scale: float
    seed: int

    @property
    def task(self) -> Task: ...  # noqa: D102

    @property
    def input_dtype(self) -> torch.dtype: ...  # noqa: D102

    @property
    def indices(self) -> Tensor: ...  # noqa: D102

    @property
    def counts(self) -> Mapping[str, int]: ...  # noqa: D102

    def setup(self) -> None:
        """Find what is wrong with the data; BenchError. Called before anything long."""
        ...

    def batches(self, part: Part, batch_size: int, *, pinned: bool = False) -> DataLoader[tuple[Tensor, Tensor]]:
        """One part as (inputs, labels); the training part in a new order each epoch, the others in theirs.

        pinned: in memory that a GPU fetches from without waiting.
        """
        ...

    def official(self, split: Official) -> tuple[Tensor, Tensor]:
        """A whole split in its official order, inputs and labels; validation samples are among those for training."""
        ...

    def explained_batches(self, batch_size: int) -> Iterator[Batch]:
        """The explained subset, in the order of `indices`."""
        ...

    def pictured(self, count: int) -> Tensor:
        """The test positions of at most `count` explained samples whose maps are kept."""
        ...

    def background(self, count: int) -> tuple[Tensor, Tensor]:
        """At most `count` training samples with their labels, as the model takes them."""
        ...

    def denormalize(self, x: Tensor) -> Tensor:
        """Inputs of the model as they are shown, pictures in [0, 1]."""
        ...

    def title(self, label: float, prediction: float) -> str:
        """What a picture says of a sample, in a line each."""
        ...

    def fingerprint(self) -> str:
        """A sha256 of what a training's outcome depends on."""
        ...
