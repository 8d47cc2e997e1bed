"""MNIST and FashionMNIST, as torchvision reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad
from torchvision import datasets

from lrp_bench.contracts import BenchError
from lrp_bench.data.arguments import one_of, whole
from lrp_bench.data.base import Settings, TensorData
from lrp_bench.data.sources.contents import Contents, Split
from lrp_bench.data.sources.download import ensure

FILES = [f"{split}-{content}-ubyte" for split in ("train", "t10k") for content in ("images-idx3", "labels-idx1")]


class MNIST(TensorData):
    """70,000 handwritten digits, 28 x 28 (LeCun et al. 1998): root/MNIST/raw, downloaded if it is not there.

    Args:
        root: the data directory.
        padding: rows and columns of black that are added on each side.
        truth: what the mask of a test picture holds: strokes, the pixels that are at least half white and all that
            touch them, so the contour with both its sides; None: there is no mask.
        **settings: those of every data set, see TensorData.
    """

    source: ClassVar[Any] = datasets.MNIST

    def __init__(
        self, *, root: str | Path, padding: int = 0, truth: str | None = None, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        self.root, self.padding = Path(root), whole("dataset.padding", padding, 0)
        self.truth = None if truth is None else one_of("dataset.truth", truth, ("strokes",))

    def read(self) -> Contents:
        """Read the original IDX files."""
        raw = self.root / self.source.__name__ / "raw"
        ensure([raw / name for name in FILES], self.root, lambda: self.source(self.root, download=True))
        train, test = (self._split(train) for train in (True, False))
        return Contents(train, test, [name.split(" - ")[0] for name in self.source.classes])

    def _split(self, train: bool) -> Split:
        try:
            stored = self.source(self.root, train=train)
        except (AssertionError, IndexError, OSError, RuntimeError, TypeError, ValueError) as error:
            folder = self.root / self.source.__name__ / "raw"
            raise BenchError(f"Expected whole IDX files in {folder}, got: {error}; fetch them again") from error
        pictures = pad(stored.data.unsqueeze(1), [self.padding] * 4)
        return Split(pictures, stored.targets.long(), None if train or not self.truth else _strokes(pictures))


def _strokes(pictures: Tensor) -> Tensor:
    """(n, height, width) bool."""
    return max_pool2d((pictures[:, 0] >= 128).to(torch.float32), 3, stride=1, padding=1).bool()


class FashionMNIST(MNIST):
    """70,000 articles of clothing, 28 x 28 (Xiao et al. 2017): root/FashionMNIST/raw, downloaded if it is not there."""

    source: ClassVar[Any] = datasets.FashionMNIST
