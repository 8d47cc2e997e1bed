"""One training per (data, model, recipe, seed), shared by all that need it."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from filelock import FileLock, Timeout
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import ModelCheckpoint
from rich.console import Console
from torch import Tensor, nn
from torch.optim import Optimizer

from lrp_bench.contracts import BenchError, Run, Tracker
from lrp_bench.data.arguments import whole
from lrp_bench.data.base import PARTS, TensorData
from lrp_bench.data.selection import epoch_seed
from lrp_bench.models.classifier import Classifier, schedule
from lrp_bench.models.fits import check_fits
from lrp_bench.training.callbacks import Epoch
from lrp_bench.training.fitting import fit, measure, seeded, undisturbed
from lrp_bench.training.store import Record, load, save, writing

log = logging.getLogger(__name__)

# What a config says that leaves the weights as they are. A data set's contents count, not where it lies; its batch size
# is only what the trainer takes by default.
WITHOUT_EFFECT = {
    "dataset": {"root", "cache", "samples", "batch_size", "truth"},
    "trainer": {"accelerator", "devices", "progress"},
}


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    optimizer: makes an optimizer from parameters. scheduler: makes a learning rate schedule from the optimizer (see
    Classifier), or None. patience: epochs without a lower validation loss after which the training stops; the weights
    of the best epoch are kept. precision, accelerator, devices, deterministic: as Lightning's Trainer takes them.
    progress: a bar, on a terminal only. augment: changes the inputs of a training batch, see training/augment.py.
    channels_last: keep the channels of pictures side by side in memory; faster on CPUs, and with mixed precision.
    """

    optimizer: Callable[..., Optimizer]
    batch_size: int
    max_epochs: int
    patience: int
    scheduler: Callable[..., Any] | None = None
    precision: str = "32-true"
    accelerator: str = "auto"
    devices: int | Sequence[int] = 1
    deterministic: bool | str = "warn"
    progress: bool = True
    augment: Callable[[Tensor], Tensor] | None = None
    channels_last: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_epochs", "patience"):
            whole(f"trainer.{name}", getattr(self, name))
        if self.deterministic not in (True, False, "warn"):
            raise BenchError(f"Expected trainer.deterministic true, false or warn, got {self.deterministic!r}")
        for name in ("progress", "channels_last"):
            if not isinstance(getattr(self, name), bool):
                raise BenchError(f"Expected trainer.{name} true or false, got {getattr(self, name)!r}")
        if self.devices != 1 and not (isinstance(self.devices, Sequence) and len(self.devices) == 1):
            raise BenchError(f"Expected trainer.devices 1, or [index] of one device, got {self.devices!r}")
        try:
            optimizer = self.optimizer([nn.Parameter(torch.zeros(1))])
            if self.scheduler:
                schedule(self.scheduler, optimizer, steps=10)
        except (TypeError, ValueError) as error:
            raise BenchError(f"Expected trainer.optimizer and .scheduler to be usable, got: {error}") from error
        with undisturbed():
            self.trainer([])

    def trainer(self, callbacks: list[pl.Callback]) -> pl.Trainer:
        """A Trainer that follows this recipe and writes nothing but what the callbacks write."""
        try:
            return pl.Trainer(
                accelerator=self.accelerator,
                devices=list(self.devices) if isinstance(self.devices, Sequence) else self.devices,
                precision=self.precision,  # type: ignore[arg-type]
                deterministic=self.deterministic,  # type: ignore[arg-type]
                max_epochs=self.max_epochs,
                callbacks=callbacks,
                logger=False,
                enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
            )
        except (MisconfigurationException, TypeError, ValueError) as error:
            raise BenchError(f"Expected trainer settings that work on this machine, got: {error}") from error


@dataclass(frozen=True)
class Fitted:
    """A trained model, frozen, in eval mode, on the CPU.

    metrics: test_accuracy, val_loss (of the kept epoch), epochs, seconds. run_id: the tracker's run of the training.
    folder: where the weights are kept. reused: whether they were there before.
    """

    model: nn.Module
    metrics: Mapping[str, float]
    run_id: str
    fingerprint: str
    folder: Path
    reused: bool


def fit_or_load(
    build: Callable[[], nn.Module],
    data: TensorData,
    recipe: Recipe,
    *,
    identity: Mapping[str, object],
    store: Path,
    seed: int,
    tracker: Tracker,
    parent: str | None = None,
    rehearse: Callable[[nn.Module], object] = nn.Module.eval,
) -> Fitted:
    """Train a model, or load it if this training was done before; of several processes, one trains and the others wait.

    A model without a weight that requires a gradient is only tested.

    Args:
        build: makes the untrained model.
        data: what to train and test on.
        recipe: how to train.
        identity: the names and configs of "dataset", "model" and "trainer".
        store: the folder of all trainings.
        seed: of the initial weights and all that is random in a training.
        tracker: gets a run of kind "training" when there is one.
        parent: the run above it.
        rehearse: called with a copy of the untrained model, in eval mode, before a training begins: what cannot be done
            with the model afterwards is best known before.

    Raises:
        BenchError: a model that does not fit the data; a training that diverges; a store that cannot be written.
    """
    with seeded(seed):
        model = build()
    check_fits(model, data.shape, data.classes, data.input_dtype)
    data.setup()
    facts = _facts(model, data, identity, seed)
    fingerprint = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    folder = store / fingerprint[:16]
    work = folder.with_name(f"{folder.name}.work")
    with _alone(folder):
        kept = record = load(folder, model)
        if record is None:
            rehearse(copy.deepcopy(model).eval())
            name, tags = f"{type(model).__name__} on {type(data).__name__}", {"fingerprint": fingerprint}
            with tracker.run(name, kind="training", parent=parent, params=identity, tags=tags) as run:
                history, metrics = _train(model, data, recipe, work, seed, run)
                record = Record(fingerprint, run.id, metrics, history, facts)
                save(folder, model, record)
        shutil.rmtree(work, ignore_errors=True)
    model.eval().requires_grad_(False).to(memory_format=torch.contiguous_format)
    return Fitted(model, record.metrics, record.run_id, fingerprint, folder, reused=kept is not None)


def _train(
    model: nn.Module, data: TensorData, recipe: Recipe, work: Path, seed: int, run: Run
) -> tuple[Sequence[Epoch], Mapping[str, float]]:
    if not any(weight.requires_grad for weight in model.parameters()):
        log.info("%s has nothing to train: it is only tested", type(model).__name__)
        loaders = {part: data.batches(part, recipe.batch_size) for part in ("validation", "test")}
        metrics = measure(Classifier(model, data.classes, recipe.optimizer), loaders, recipe.trainer)
        run.log_metrics(metrics)
        return [], metrics
    log.info("Training %s on %s", type(model).__name__, type(data).__name__)
    history, metrics = fit(
        Classifier(model, data.classes, recipe.optimizer, recipe.scheduler, recipe.augment, recipe.channels_last),
        {part: data.batches(part, recipe.batch_size) for part in PARTS},
        recipe.trainer,
        patience=recipe.patience,
        work=work,
        seed_of=lambda epoch: epoch_seed(seed, epoch),
        record=lambda epoch, number: run.log_metrics(epoch, step=number),
        console=Console(stderr=True) if recipe.progress else None,
    )
    run.log_metrics(metrics)
    log.info("Test accuracy %.2f %% after %.0f s", 100 * metrics["test_accuracy"], metrics["seconds"])
    return history, metrics


def _facts(model: nn.Module, data: TensorData, identity: Mapping[str, object], seed: int) -> dict[str, object]:
    """All that decides what comes out of a training; another minor version of torch may round differently."""
    tensors = [(name, list(tensor.shape)) for name, tensor in model.state_dict().items()]
    return {
        "identity": {group: _pruned(config, WITHOUT_EFFECT.get(group, set())) for group, config in identity.items()},
        "data": data.fingerprint(),
        "structure": [repr(model), tensors],
        "seed": seed,
        "torch": torch.__version__.split(".")[:2],
    }


def _pruned(config: object, without: Set[str]) -> object:
    if not isinstance(config, Mapping):
        return config
    return {key: _pruned(value, without) for key, value in config.items() if key not in without}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a training."""
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    with writing(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("Waiting for another process that does the same training")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()
