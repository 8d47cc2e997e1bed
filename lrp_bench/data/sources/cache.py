"""Data sets that take long to decode, kept on disk as tensors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock

from lrp_bench.contracts import BenchError
from lrp_bench.data.base import Contents
from lrp_bench.data.batching import Split

log = logging.getLogger(__name__)


def cached(path: Path, make: Callable[[], Contents]) -> Contents:
    """Load `path`, or make its contents and keep them there.

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
        stored = torch.load(path, weights_only=True)
        return Contents(Split(*stored["train"]), Split(*stored["test"]), stored["class_names"])
    except Exception as error:  # a damaged file can fail in any way inside the unpickler
        log.warning("%s is damaged (%s): it is made again", path, error)
        return None


def _keep(path: Path, contents: Contents) -> Contents:
    unfinished = path.with_suffix(".unfinished")
    splits = {"train": contents.train, "test": contents.test}
    stored = {name: (split.inputs, split.labels) for name, split in splits.items()}
    with _writing(path.parent):
        try:
            torch.save({**stored, "class_names": contents.class_names}, unfinished)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    return contents


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch.save reports a full disk as RuntimeError
        raise BenchError(f"Expected room to write in {folder}, got: {error}; set dataset.cache elsewhere") from error
