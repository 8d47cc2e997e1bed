"""Encoded pictures, in files or in memory, which are decoded when they are asked for."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.data.sources.contents import Contents, Split

SPLITS = ("train", "test")
MODES = {1: "L", 3: "RGB"}


class Picture(NamedTuple):
    """One encoded picture; sorting puts splits and classes together and fixes each picture's position in its split."""

    split: str
    class_name: str
    name: str
    source: Path | bytes


@dataclass(frozen=True)
class Pictures:
    """Pictures as inputs. sample: (channels, height, width), to which they are converted and resized."""

    pictures: Sequence[Picture]
    sample: tuple[int, ...]
    dtype: torch.dtype = torch.uint8

    @property
    def shape(self) -> torch.Size:
        """(n, channels, height, width)."""
        return torch.Size((len(self.pictures), *self.sample))

    def __getitem__(self, index: Tensor) -> Tensor:
        """Decode the pictures at these positions. BenchError names one that is damaged."""
        decoded = torch.empty(len(index), *self.sample, dtype=self.dtype)
        for place, position in enumerate(index.tolist()):
            decoded[place] = _pixels(self.pictures[position], self.sample)
        return decoded


def labelled(pictures: Sequence[Picture], shape: tuple[int, ...]) -> Contents:
    """The splits of these pictures, labelled with their classes in the order of their names."""
    if len(shape) != 3 or shape[0] not in MODES:
        raise BenchError(f"Expected dataset.shape [1 or 3, height, width] for pictures, got {list(shape)}")
    names = sorted({picture.class_name for picture in pictures if picture.split == "train"})
    strangers = {picture.class_name for picture in pictures} - set(names)
    if strangers:
        raise BenchError(f"Expected every class of test in train, got {', '.join(sorted(strangers))} only in test")
    train, test = (_split(pictures, split, names, shape) for split in SPLITS)
    return Contents(train, test, names)


def _split(pictures: Sequence[Picture], split: str, names: Sequence[str], shape: tuple[int, ...]) -> Split:
    chosen = [picture for picture in pictures if picture.split == split]
    number = {name: label for label, name in enumerate(names)}
    return Split(Pictures(chosen, shape), torch.tensor([number[picture.class_name] for picture in chosen]))


def _pixels(picture: Picture, shape: tuple[int, ...]) -> Tensor:
    channels, height, width = shape
    source = io.BytesIO(picture.source) if isinstance(picture.source, bytes) else picture.source
    try:
        with Image.open(source) as image:
            resized = image.convert(MODES[channels]).resize((width, height), Image.Resampling.BILINEAR)
    except Exception as error:  # a damaged file fails in as many ways as there are formats
        where = "/".join(picture[:3])
        raise BenchError(f"Expected a picture in {where}, got: {error}; replace or remove it") from error
    return torch.from_numpy(np.array(resized)).reshape(height, width, channels).permute(2, 0, 1)
