"""What every data set shares: normalisation, the validation cut, the explained subset and batches by index."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import ClassVar, NotRequired, TypedDict

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lrp_bench.contracts import Batch, BenchError
from lrp_bench.data.arguments import floating, named, per_channel, sample_shape, whole
from lrp_bench.data.batching import Batches, Loader, Rows
from lrp_bench.data.protocol import DataSet, Official, Part, Task
from lrp_bench.data.selection import balanced, cut, others
from lrp_bench.data.sources.contents import Contents, Split, portions, together


class Settings(TypedDict):
    """The arguments every data set takes; see TensorData."""

    shape: Sequence[int]
    classes: int
    mean: float | Sequence[float]
    std: float | Sequence[float]
    validation: float | None
    batch_size: int
    samples: int
    seed: int
    features: NotRequired[Mapping[str, str]]
    dtype: NotRequired[str]


class TensorData(pl.LightningDataModule, DataSet):
    """A data set that is read from its source, and batched by index.

    Args:
        shape: of one sample, [channels, height, width] or [features].
        classes: how many there are.
        mean, std: normalisation, one number or one per channel (per feature), of values in [0, 1] for pictures.
        validation: fraction of the training split held out, drawn with `seed`; None: the official validation split.
        batch_size: samples per training step.
        samples: size of the explained subset of the test split, drawn with `seed`.
        seed: of the draws above; never of the train/test split.
        features: name -> unit of each input of a table.
        dtype: float32 or float64, of inputs and model.
    """

    task: ClassVar[Task] = "classification"
    unit: str = ""  # of scores and relevance, where they have one ...
    scale: float = 1.0  # ... and what a score of 1 is in it

    def __init__(
        self,
        *,
        shape: Sequence[int],
        classes: int,
        mean: float | Sequence[float],
        std: float | Sequence[float],
        validation: float | None,
        batch_size: int,
        samples: int,
        seed: int,
        features: Mapping[str, str] | None = None,
        dtype: str = "float32",
    ) -> None:
        super().__init__()
        self.shape = sample_shape(shape)
        self.classes = whole("dataset.classes", classes, 2 if self.task == "classification" else 1)
        self.features, self.dtype = named(features, self.shape), floating(dtype)
        self.mean, self.std = (per_channel(*each, self.shape, self.dtype) for each in (("mean", mean), ("std", std)))
        if not bool((self.std > 0).all()):
            raise BenchError(f"Expected dataset.std above 0, got {std}: a channel without spread cannot be normalised")
        if validation is not None and (not isinstance(validation, float) or not 0 < validation < 1):
            raise BenchError(f"Expected dataset.validation in (0, 1), got {validation!r}: early stopping needs it")
        self.validation = validation
        self.batch_size = whole("dataset.batch_size", batch_size)
        self.samples = whole("samples", samples)
        self.seed = whole("seed", seed, 0)

    @abstractmethod
    def read(self) -> Contents:
        """Read the whole data set; called once."""

    @cached_property
    def contents(self) -> Contents:
        """The data set, read on first use; BenchError when it is not what shape and classes say."""
        contents = self.read()
        names = contents.class_names
        if len(names) != self.classes:
            raise BenchError(
                f"Expected {self.classes} classes, got {len(names)} ({', '.join(names[:12])}): set dataset.classes"
            )
        for split in (contents.train, contents.test):
            if tuple(split.inputs.shape[1:]) != self.shape:
                got = list(split.inputs.shape[1:])
                raise BenchError(f"Expected samples of shape {list(self.shape)}, got {got}: set dataset.shape")
        return contents

    @property
    def class_names(self) -> list[str]:
        """The name of each class, in label order."""
        return self.contents.class_names

    @property
    def is_picture(self) -> bool:
        """Whether a sample is (channels, height, width) with values that stood in [0, 1]."""
        return len(self.shape) == 3

    @property
    def input_dtype(self) -> torch.dtype:
        """The type of the model's inputs."""
        return self.dtype

    @cached_property
    def low(self) -> Tensor:
        """The smallest normalised input, broadcastable to a sample: (channels, 1, 1), or (features,) as in training."""
        return self.normalize(torch.zeros(1) if self.is_picture else self._extreme(Tensor.amin))

    @cached_property
    def high(self) -> Tensor:
        """The largest normalised input; shaped as `low`."""
        return self.normalize(torch.ones(1) if self.is_picture else self._extreme(Tensor.amax))

    def normalize(self, raw: Tensor) -> Tensor:
        """(raw - mean) / std; uint8 is first brought to [0, 1]."""
        values = raw.to(self.dtype) / 255 if raw.dtype == torch.uint8 else raw.to(self.dtype)
        return (values - self.mean) / self.std

    def denormalize(self, x: Tensor) -> Tensor:
        """X * std + mean; for pictures clipped to [0, 1], ready to be shown."""
        values = x * self.std.to(x) + self.mean.to(x)
        return values.clamp(0, 1) if self.is_picture else values

    @cached_property
    def indices(self) -> Tensor:
        """Sorted test positions of the explained subset, (samples,) int64; as class-balanced as the split allows."""
        available = len(self.contents.test.labels)
        if self.samples > available:
            raise BenchError(
                f"Expected samples <= {available}, got {self.samples}: the test split holds no more, lower samples"
            )
        return balanced(self._strata(self.contents.test), self.samples, self._generator())

    @cached_property
    def _cut(self) -> tuple[Tensor, Tensor]:
        size, official = len(self.contents.train.labels), self.contents.validation
        if self.validation is not None:
            train, validation = cut(size, self.validation, self._generator())
        elif official is not None:
            train, validation = others(size, official), official
        else:
            raise BenchError("Expected dataset.validation in (0, 1), got None: there is no official validation split")
        if not (len(train) and len(validation)):
            raise BenchError(f"Expected training and validation samples, got {size} in all: change dataset.validation")
        return train, validation

    def explained_batches(self, batch_size: int) -> Iterator[Batch]:
        """The explained subset in batches, in the order of `indices`; the same for every run with this seed."""
        test = self.contents.test
        for index in torch.split(self.indices, batch_size):
            mask = None if test.mask is None else test.mask[index]
            yield Batch(self.normalize(test.inputs[index]), test.labels[index], index, mask)

    def pictured(self, count: int) -> Tensor:
        """The test positions of at most `count` samples, evenly spread over the explained subset.

        Where a split is sorted by class, as folders of pictures are, the first samples would all be of one.
        """
        most = min(count, self.samples)
        return self.indices[torch.arange(most) * self.samples // max(most, 1)]

    def background(self, count: int) -> tuple[Tensor, Tensor]:
        """At most `count` training samples, class-balanced, drawn with `seed`: normalised inputs and labels."""
        train, (kept, _) = self.contents.train, self._cut
        drawn = balanced(self._strata(train)[kept], min(count, len(kept)), self._generator())
        chosen = kept[drawn]
        return self.normalize(train.inputs[chosen]), train.labels[chosen]

    @property
    def counts(self) -> dict[str, int]:
        """How many samples each part has."""
        train, validation = self._cut
        return {"train": len(train), "validation": len(validation), "test": len(self.contents.test.labels)}

    def fingerprint(self) -> str:
        """A sha256 of what a training's outcome depends on: both splits, normalisation and validation cut."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256(repr((self.shape, self.classes)).encode())
        for split in (self.contents.train, self.contents.test):
            for part in chain(portions(split.inputs), [split.labels]):
                digest.update(part.numpy().tobytes())
        for part in (self.mean, self.std, self._cut[1]):
            digest.update(part.numpy().tobytes())
        return digest.hexdigest()

    def setup(self, stage: str | None = None) -> None:
        """Read everything and draw the subsets, so that what is wrong with them is said before a training."""
        _ = self.indices, self._cut

    def batches(self, part: Part, batch_size: int | None = None, *, pinned: bool = False) -> Loader:
        """Batches (inputs, labels) of one part, for training ordered by (seed, epoch); pinned: for a GPU to fetch."""
        split = self.contents.test if part == "test" else self.contents.train
        index = torch.arange(len(split.labels)) if part == "test" else self._cut[part == "validation"]
        size = batch_size or self.batch_size
        sampler = self._shuffled(index, size) if part == "train" else Batches(index, size)
        # Indices come in tensors, so the data set already returns batches: no collation per sample. A loader without a
        # generator of its own draws from torch's, for a seed that it does not use here.
        rows = Rows(split, self.normalize)
        return DataLoader(rows, batch_size=None, sampler=sampler, generator=self._generator(), pin_memory=pinned)

    def official(self, split: Official) -> tuple[Tensor, Tensor]:
        """A whole split in its official order, inputs and labels; validation samples are among those for training."""
        stored = self.contents.test if split == "test" else self.contents.train
        return self.normalize(together(stored.inputs)), stored.labels

    def train_dataloader(self) -> Loader:
        """The training part, shuffled."""
        return self.batches("train")

    def val_dataloader(self) -> Loader:
        """The validation part, in order."""
        return self.batches("validation")

    def test_dataloader(self) -> Loader:
        """The official test split, in order."""
        return self.batches("test")

    def title(self, label: float, prediction: float) -> str:
        """What a picture says of a sample, in a line each."""
        names = self.class_names
        return f"true {names[int(label)]}\npredicted {names[int(prediction)]}"

    def _extreme(self, of: Callable[[Tensor, int], Tensor]) -> Tensor:
        return of(torch.stack([of(portion, 0) for portion in portions(self.contents.train.inputs)]), 0)

    def _strata(self, split: Split) -> Tensor:
        """What a subset is balanced by, (n,) int64: the classes."""
        return split.labels

    def _shuffled(self, index: Tensor, batch_size: int) -> Batches:
        return Batches(index, batch_size, self.seed)

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)
