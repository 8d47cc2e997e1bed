"""Pictures in folders or archives laid out as {train,test}/<class>/<picture>."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from torchvision.datasets.folder import IMG_EXTENSIONS

from lrp_bench.contracts import BenchError
from lrp_bench.data.sources.contents import Contents
from lrp_bench.data.sources.kept import Keeping
from lrp_bench.data.sources.pictures import SPLITS, Picture, labelled

LAYOUT = "train/<class>/<picture> and test/<class>/<picture>"


def read_folder(folder: Path, shape: tuple[int, ...], keeping: Keeping) -> Contents:
    """The pictures of folder/{train,test}/<class>/; kept ones are good until a file is added, removed or changed."""
    pictures = _complete(_in_folder(folder), folder)
    stamp = [_stamp(picture.source) for picture in pictures if isinstance(picture.source, Path)]
    return keeping.contents(_name(folder, (shape, stamp)), lambda: labelled(pictures, shape))


def read_archive(archive: Path, shape: tuple[int, ...], keeping: Keeping) -> Contents:
    """The pictures of a tar archive with the same layout, read where it lies."""
    name = _name(archive, (shape, _stamp(archive)))
    return keeping.contents(name, lambda: labelled(_complete(_in_archive(archive), archive), shape))


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


def _name(source: Path, stamp: object) -> str:
    return f"{source.name}-{hashlib.sha256(repr(stamp).encode()).hexdigest()[:16]}.pt"
