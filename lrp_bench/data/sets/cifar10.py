"""CIFAR-10 in any of the forms it is found in."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Unpack

import torch
from torchvision import datasets

from lrp_bench.contracts import BenchError
from lrp_bench.data.base import Settings, TensorData
from lrp_bench.data.sources.contents import Contents, Split
from lrp_bench.data.sources.download import ensure
from lrp_bench.data.sources.folders import read_archive, read_folder
from lrp_bench.data.sources.kept import MEMORY, Keeping


class CIFAR10(TensorData):
    """60,000 colour pictures, 32 x 32, 10 classes (Krizhevsky 2009).

    The first of these that lies in `root` is taken: torchvision's cifar-10-batches-py/, cifar10/{train,test}/<class>/,
    cifar10.tar.gz with the same layout (read in place). If none does, torchvision downloads it.

    Args:
        root: the data directory; may be read-only unless there is something to download.
        cache: where decoded pictures are kept for the next run; None: nowhere.
        memory: so many MB of decoded pictures are held in memory. Where there are more, those of a batch are read from
            the cache, or decoded, when they are asked for.
        **settings: those of every data set, see TensorData.
    """

    def __init__(
        self, *, root: str | Path, cache: str | Path | None, memory: int = MEMORY, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        self.root, self.keeping = Path(root), Keeping.of(cache, memory)

    def read(self) -> Contents:
        """Read the pictures from what there is."""
        batches, folder, archive = (self.root / name for name in ("cifar-10-batches-py", "cifar10", "cifar10.tar.gz"))
        if not batches.exists() and folder.exists():
            return read_folder(folder, self.shape, self.keeping)
        if not batches.exists() and archive.exists():
            return read_archive(archive, self.shape, self.keeping)
        ensure([batches], self.root, lambda: datasets.CIFAR10(self.root, download=True))
        train, test = (self._stored(train) for train in (True, False))
        return Contents(_split(train), _split(test), train.classes)

    def _stored(self, train: bool) -> Any:
        with warnings.catch_warnings():
            # The official pickles were written by a NumPy whose dtype arguments are now deprecated.
            warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed")
            try:
                return datasets.CIFAR10(self.root, train=train)
            except Exception as error:  # a damaged pickle can fail in any way
                folder = self.root / "cifar-10-batches-py"
                raise BenchError(
                    f"Expected CIFAR-10 whole in {folder}, got: {error}; delete it, fetch it again"
                ) from error


def _split(stored: Any) -> Split:
    return Split(torch.from_numpy(stored.data).permute(0, 3, 1, 2).contiguous(), torch.tensor(stored.targets))
