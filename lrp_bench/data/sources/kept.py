"""Pictures that were decoded: kept on disk, and in memory where there is room."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.data.arguments import whole
from lrp_bench.data.sources.contents import Contents, Split, portions, together

log = logging.getLogger(__name__)

MEMORY = 256  # MB


@dataclass(frozen=True)
class Keeping:
    """Where decoded pictures are kept.

    folder: on disk; None: nowhere, they are decoded anew. memory: so many MB of them are held in memory, too; of what
    is larger, only those are read that are asked for.
    """

    folder: Path | None
    memory: int

    @staticmethod
    def of(cache: str | Path | None, memory: int) -> Keeping:
        """As dataset.cache and dataset.memory say; BenchError."""
        return Keeping(Path(cache) if cache is not None else None, whole("dataset.memory", memory, 0))

    def contents(self, name: str, make: Callable[[], Contents]) -> Contents:
        """What `make` gives, all of it decoded once to see that it is whole. name: of other pictures, another one."""
        contents = cached(self.folder / name, make) if self.folder else make()
        splits = contents.train, contents.test
        if sum(split.inputs.shape.numel() * split.inputs.dtype.itemsize for split in splits) <= self.memory * 2**20:
            return replace(contents, train=_held(contents.train), test=_held(contents.test))
        if not self.folder:
            log.info("Decoding %d pictures to see that they are whole", sum(len(split.labels) for split in splits))
            _ = [len(portion) for split in splits for portion in portions(split.inputs)]
        return contents


@dataclass(frozen=True)
class Stored:
    """Inputs as bytes in a file, from `start` on."""

    path: Path
    start: int
    shape: torch.Size
    dtype: torch.dtype = torch.uint8

    def __getitem__(self, index: Tensor) -> Tensor:
        """Read the samples at these positions."""
        try:  # mapped for these samples alone: what has been read does not stay in memory
            rows = np.memmap(self.path, np.uint8, "r", self.start, tuple(self.shape))
        except (OSError, ValueError) as error:
            raise BenchError(f"Expected decoded pictures in {self.path}, got: {error}; run it again") from error
        return torch.from_numpy(rows[index.numpy()])


def cached(path: Path, make: Callable[[], Contents]) -> Contents:
    """Load `path`, or make its contents and keep them there, the inputs beside it as bytes.

    Processes that come together make them once. What is written appears whole or not at all; a file that cannot be read
    is made again.
    """
    with _writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_suffix(".lock"))
        lock.acquire()
    try:
        return _load(path) or _keep(path, make())
    finally:
        lock.release()


def _load(path: Path) -> Contents | None:
    if not path.exists():
        return None
    try:
        facts = torch.load(path, weights_only=True)
        if isinstance(facts["train"][0], Tensor):  # an earlier version kept the inputs here
            return None
        contents = _contents(_bytes(path), **facts)
        _ = contents.test.inputs[torch.tensor([-1])]  # the last bytes are there
        return contents
    except Exception as error:  # a damaged file can fail in any way inside the unpickler
        log.warning("%s is damaged (%s): it is made again", path, error)
        return None


def _keep(path: Path, contents: Contents) -> Contents:
    splits = {"train": contents.train, "test": contents.test}
    log.info("Decoding %d pictures, once", sum(len(split.labels) for split in splits.values()))
    with _appearing(_bytes(path)) as unfinished, unfinished.open("wb") as file:
        for split in splits.values():
            for portion in portions(split.inputs):
                file.write(portion.numpy().tobytes())
    facts = {name: (tuple(split.inputs.shape), split.labels) for name, split in splits.items()}
    with _appearing(path) as unfinished:
        torch.save({**facts, "class_names": contents.class_names}, unfinished)
    return _contents(_bytes(path), **facts, class_names=contents.class_names)


def _contents(
    pixels: Path, train: tuple[Sequence[int], Tensor], test: tuple[Sequence[int], Tensor], class_names: list[str]
) -> Contents:
    """train, test: the shape of the inputs, and the labels."""
    (first, labels), (second, others) = train, test
    learnt = Stored(pixels, 0, torch.Size(first))
    tested = Stored(pixels, learnt.shape.numel(), torch.Size(second))
    return Contents(Split(learnt, labels), Split(tested, others), class_names)


def _bytes(path: Path) -> Path:
    return path.with_suffix(".bytes")


def _held(split: Split) -> Split:
    return replace(split, inputs=together(split.inputs))


@contextmanager
def _appearing(path: Path) -> Iterator[Path]:
    """A file to write, which is at `path` once it is whole."""
    unfinished = path.with_suffix(".unfinished")
    with _writing(path.parent):
        try:
            yield unfinished
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        raise BenchError(f"Expected room to write in {folder}, got: {error}; set dataset.cache elsewhere") from error
