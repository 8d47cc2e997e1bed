"""Fitting a LightningModule: resumable, quiet, the best epoch kept, the process left as it was."""

from __future__ import annotations

import logging
import math
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from rich.console import Console
from torch.utils.data import DataLoader

from lrp_bench.contracts import BenchError
from lrp_bench.models.classifier import Supervised
from lrp_bench.training.callbacks import Bar, Epoch, History, Reseed
from lrp_bench.training.store import writing

log = logging.getLogger(__name__)

MONITOR = "val/loss"
NOISE = (
    ".*does not have many workers.*",  # the data is in memory
    ".*exists and is not empty.*",  # an interrupted training is taken up
    ".*available but not used.*",  # the accelerator is the user's choice
    r".*isinstance\(treespec, LeafSpec\).*",  # Lightning's own, with a recent torch
)
Loader = DataLoader[Any]


def fit(
    module: Supervised,
    loaders: Mapping[str, Loader],
    make_trainer: Callable[[list[pl.Callback]], pl.Trainer],
    *,
    patience: int,
    work: Path,
    seed_of: Callable[[int], int],
    record: Callable[[Epoch, int], None],
    console: Console | None = None,
) -> tuple[Sequence[Epoch], dict[str, float]]:
    """Fit `module` and leave it with the weights of its best epoch, on the CPU.

    Args:
        module: logs {train,val,test}/{loss,<quality>}.
        loaders: "train", "validation", "test".
        make_trainer: makes a Trainer with these callbacks.
        patience: epochs without a lower validation loss before the end.
        work: folder of the checkpoints; a fit that was interrupted goes on from what lies there.
        seed_of: epoch -> seed.
        record: called with the numbers of each epoch and which it is.
        console: where to show a progress bar, if anywhere.

    Returns:
        The numbers of each epoch, and test_<quality>, val_loss (of the best epoch), epochs and seconds.

    Raises:
        BenchError: the loss is no longer finite; `work` cannot be written.
    """
    started, history = time.perf_counter(), History(record)
    best = ModelCheckpoint(work, filename="best", monitor=MONITOR, save_last=True, enable_version_counter=False)
    callbacks: list[pl.Callback] = [best, EarlyStopping(MONITOR, patience=patience), history, Reseed(seed_of)]
    callbacks += [Bar(console)] if console else []
    with undisturbed(), writing(work), _interruptible():
        trainer = make_trainer(callbacks)
        last = _checkpoint(work)
        trainer.fit(module, loaders["train"], loaders["validation"], ckpt_path=last, weights_only=True)
        val_loss = _finite(best, history, work)
        best_state = torch.load(work / "best.ckpt", map_location="cpu", weights_only=True)["state_dict"]
        module.load_state_dict(best_state)
        [tested] = trainer.test(module, loaders["test"], verbose=False)
    module.cpu()
    seconds, epochs = time.perf_counter() - started, float(len(history.epochs))
    reached = {f"test_{module.quality}": tested[f"test/{module.quality}"]}
    return history.epochs, {**reached, "val_loss": val_loss, "epochs": epochs, "seconds": seconds}


def measure(
    module: Supervised,
    loaders: Mapping[str, Loader],
    make_trainer: Callable[[list[pl.Callback]], pl.Trainer],
) -> dict[str, float]:
    """What `fit` says of a model, for one that is not trained: epochs is 0. loaders: "validation", "test"."""
    started = time.perf_counter()
    with undisturbed():
        trainer = make_trainer([])
        [validated] = trainer.validate(module, loaders["validation"], verbose=False)
        [tested] = trainer.test(module, loaders["test"], verbose=False)
    module.cpu()
    reached = {f"test_{module.quality}": tested[f"test/{module.quality}"]}
    return {**reached, "val_loss": validated[MONITOR], "epochs": 0.0, "seconds": time.perf_counter() - started}


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep Lightning's banners off the screen, and give torch its random state and determinism back afterwards."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    mode, benchmark = torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with seeded(), warnings.catch_warnings():
            for message in NOISE:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        torch.backends.cudnn.benchmark = benchmark
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def seeded(seed: int | None = None) -> Iterator[None]:
    """Seed torch inside the block, if there is a seed; its random state is afterwards what it was before."""
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        if seed is not None:
            torch.manual_seed(seed)
        yield


@contextmanager
def _interruptible() -> Iterator[None]:
    # On Ctrl-C the Trainer switches Ctrl-C off for good and turns it into SystemExit.
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)
        if isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise


def _checkpoint(work: Path) -> Path | None:
    """The last checkpoint of an interrupted fit, if it can be read."""
    last = work / "last.ckpt"
    if not last.exists():
        return None
    try:
        epoch = torch.load(last, map_location="cpu", weights_only=True)["epoch"]
    except Exception as error:  # a damaged file can fail in any way inside the unpickler
        log.warning("%s is damaged (%s): the training starts anew", last, error)
        shutil.rmtree(work)
        return None
    log.info("An interrupted training goes on after epoch %d", epoch)
    return last


def _finite(best: ModelCheckpoint, history: History, work: Path) -> float:
    loss = float("nan") if best.best_model_score is None else float(best.best_model_score)
    if math.isfinite(loss) and all(math.isfinite(epoch[MONITOR]) for epoch in history.epochs):
        return loss
    shutil.rmtree(work, ignore_errors=True)
    raise BenchError(
        f"Expected a finite validation loss, got {history.epochs[-1][MONITOR]} after {len(history.epochs)} epochs:"
        " lower trainer.optimizer.lr"
    )
