"""Pictures in folders or archives laid out as {train,test}/<class>/<picture>."""

from __future__ import annotations

import hashlib
import io
import logging
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Unpack

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.datasets.folder import IMG_EXTENSIONS

from lrp_bench.contracts import BenchError
from lrp_bench.data.base import Contents, Settings, TensorData
from lrp_bench.data.batching import Split
from lrp_bench.data.sources.cache import cached

log = logging.getLogger(__name__)

SPLITS = ("train", "test")
LAYOUT = "train/<class>/<picture> and test/<class>/<picture>"
MODES = {1: "L", 3: "RGB"}


class Picture(NamedTuple):
    """One encoded picture; sorting puts splits and classes together and fixes each picture's position in its split."""

    split: str
    class_name: str
    name: str
    source: Path | bytes


class ImageFolder(TensorData):
    """Your own pictures: root/{train,test}/<class>/<picture>; classes are sorted by name, pictures resized to `shape`.

    Args:
        root: the folder that holds train/ and test/.
        cache: where the decoded pictures are kept.
        **settings: those of every data set, see TensorData.
    """

    def __init__(self, *, root: str | Path, cache: str | Path, **settings: Unpack[Settings]) -> None:
        # First of all: the config counts the folders for `classes`, and would complain of that number.
        if not any(path.is_dir() for path in (Path(root) / "train").glob("*")):
            where = Path(root).absolute()
            raise BenchError(
                f"Expected {LAYOUT} in {where}, got no folder of a class in {where / 'train'}: put your pictures there"
                " or set dataset.root"
            )
        super().__init__(**settings)
        self.root, self.cache = Path(root), Path(cache)

    def read(self) -> Contents:
        """Decode the pictures, or load them as they were decoded before."""
        return read_folder(self.root, self.shape, self.cache)


def read_folder(folder: Path, shape: tuple[int, ...], cache: Path) -> Contents:
    """The pictures of folder/{train,test}/<class>/; decoded again only when a file was added, removed or changed."""
    pictures = _complete(_in_folder(folder), folder)
    stamp = [_stamp(picture.source) for picture in pictures if isinstance(picture.source, Path)]
    return cached(_cache_file(cache, folder, (shape, stamp)), lambda: _decoded(pictures, shape))


def read_archive(archive: Path, shape: tuple[int, ...], cache: Path) -> Contents:
    """The pictures of a tar archive with the same layout, read where it lies; decoded once."""
    path = _cache_file(cache, archive, (shape, _stamp(archive)))
    return cached(path, lambda: _decoded(_complete(_in_archive(archive), archive), shape))


def _complete(pictures: Iterable[Picture], where: Path) -> list[Picture]:
    ordered = sorted(picture for picture in pictures if picture.split in SPLITS)
    if {picture.split for picture in ordered} != set(SPLITS):
        raise BenchError(
            f"Expected {LAYOUT} in {where.absolute()}, got {len(ordered)}"
            f" pictures: put them there or set dataset.root (formats: {' '.join(IMG_EXTENSIONS)})"
        )
    return ordered


def _in_folder(folder: Path) -> Iterator[Picture]:
    for split in SPLITS:
        for path in (folder / split).glob("*/*"):
            if path.suffix.lower() in IMG_EXTENSIONS:
                yield Picture(split, path.parent.name, path.name, path)


def _in_archive(archive: Path) -> Iterator[Picture]:
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                path, content = PurePosixPath(member.name), tar.extractfile(member)
                if content and len(path.parts) >= 3 and path.suffix.lower() in IMG_EXTENSIONS:
                    yield Picture(path.parent.parent.name, path.parent.name, path.name, content.read())
    except (OSError, EOFError, tarfile.TarError) as error:
        raise BenchError(f"Expected {archive} to be a whole tar archive, got: {error}; fetch it again") from error


def _stamp(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path.absolute()), status.st_size, status.st_mtime_ns


def _cache_file(cache: Path, source: Path, stamp: object) -> Path:
    return cache / f"{source.name}-{hashlib.sha256(repr(stamp).encode()).hexdigest()[:16]}.pt"


def _decoded(pictures: Sequence[Picture], shape: tuple[int, ...]) -> Contents:
    if len(shape) != 3 or shape[0] not in MODES:
        raise BenchError(f"Expected dataset.shape [1 or 3, height, width] for pictures, got {list(shape)}")
    log.info("Decoding %d pictures, once", len(pictures))
    names = sorted({picture.class_name for picture in pictures if picture.split == "train"})
    strangers = {picture.class_name for picture in pictures} - set(names)
    if strangers:
        raise BenchError(f"Expected every class of test in train, got {', '.join(sorted(strangers))} only in test")
    train, test = (_split(pictures, split, names, shape) for split in SPLITS)
    return Contents(train, test, names)


def _split(pictures: Sequence[Picture], split: str, names: Sequence[str], shape: tuple[int, ...]) -> Split:
    chosen = [picture for picture in pictures if picture.split == split]
    inputs = torch.empty(len(chosen), *shape, dtype=torch.uint8)
    for position, picture in enumerate(chosen):
        inputs[position] = _pixels(picture, shape)
    number = {name: label for label, name in enumerate(names)}
    return Split(inputs, torch.tensor([number[picture.class_name] for picture in chosen]))


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
