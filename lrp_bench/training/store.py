"""Trained weights on disk: whole and checked, or not there."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from lrp_bench.contracts import BenchError

log = logging.getLogger(__name__)

WEIGHTS = "weights.pt"
RECORD = "training.json"
OF_THE_DISK = {
    errno.EACCES,
    errno.EEXIST,
    errno.EFBIG,
    errno.EIO,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
    getattr(errno, "EDQUOT", errno.ENOSPC),
}


@dataclass(frozen=True)
class Record:
    """What is kept beside the weights: where they come from, how good they are, and their checksum.

    history: train and val loss and accuracy of each epoch. facts: what the fingerprint was made from. device: what kind
    of device trained, empty where that is not known.
    """

    fingerprint: str
    run_id: str
    metrics: Mapping[str, float]
    history: Sequence[Mapping[str, float]]
    facts: Mapping[str, object]
    weights_sha256: str = ""
    device: str = ""


def save(folder: Path, model: nn.Module, record: Record) -> None:
    """Write weights and record to a folder beside `folder`, then put it in its place."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    weights = buffer.getvalue()
    complete = asdict(record) | {"weights_sha256": hashlib.sha256(weights).hexdigest()}
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    with writing(folder.parent):
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        (unfinished / WEIGHTS).write_bytes(weights)
        (unfinished / RECORD).write_text(json.dumps(complete, indent=1, default=str), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)


def load(folder: Path, model: nn.Module) -> Record | None:
    """Put the weights of `folder` into the model; None when there are none or, with a warning, damaged ones."""
    if not folder.exists():
        return None
    try:
        record = Record(**json.loads((folder / RECORD).read_text(encoding="utf-8")))
        weights = (folder / WEIGHTS).read_bytes()
        if hashlib.sha256(weights).hexdigest() != record.weights_sha256:
            raise ValueError("the checksum of the weights differs")
        model.load_state_dict(torch.load(io.BytesIO(weights), weights_only=True, map_location="cpu"))
        return record
    except (OSError, ValueError, TypeError, RuntimeError) as error:
        log.warning("The training in %s is damaged (%s): it is done again", folder, error)
        return None


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what a disk refuses inside the block into a BenchError that names the folder."""
    try:
        yield
    except OSError as error:
        # Errors of a network, such as a tracking server's, are OSErrors too and pass.
        if error.errno not in OF_THE_DISK:
            raise
        raise BenchError(f"Expected room to write in {folder.absolute()}, got: {error}; set paths.outputs") from error
