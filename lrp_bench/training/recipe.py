"""The recipe of a training by gradient descent."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.optim import Optimizer

from lrp_bench.contracts import BenchError, Run
from lrp_bench.data.arguments import whole
from lrp_bench.data.protocol import PARTS, DataSet
from lrp_bench.data.selection import epoch_seed
from lrp_bench.devices import room, working
from lrp_bench.models.classifier import Classifier, Inputs, Regressor, Supervised, schedule
from lrp_bench.progress import terminal
from lrp_bench.training.callbacks import Epoch
from lrp_bench.training.fitting import Loader, fit, measure, undisturbed

log = logging.getLogger(__name__)


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
        self._check_gpu()
        working(str(self.device), "trainer.accelerator")

    @property
    def device(self) -> torch.device:
        """Where it trains."""
        with undisturbed():
            return self.trainer([]).strategy.root_device

    def _check_gpu(self) -> None:
        """Lightning says little of why there is none."""
        if self.accelerator == "cuda" or (self.accelerator == "gpu" and not torch.backends.mps.is_available()):
            place = self.devices[0] if isinstance(self.devices, Sequence) else 0
            working(f"cuda:{place}", "trainer.accelerator")

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

    def train(
        self, model: nn.Module, data: DataSet, *, work: Path, seed: int, run: Run
    ) -> tuple[Sequence[Epoch], Mapping[str, float]]:
        """Fit `model`; see Trainer. A model without a weight that requires a gradient is only tested."""
        with room("trainer.batch_size"):
            return self._train(model, data, work=work, seed=seed, run=run)

    def _train(
        self, model: nn.Module, data: DataSet, *, work: Path, seed: int, run: Run
    ) -> tuple[Sequence[Epoch], Mapping[str, float]]:
        pinned = self.device.type == "cuda"
        parts: dict[str, Loader] = {part: data.batches(part, self.batch_size, pinned=pinned) for part in PARTS}
        if not any(weight.requires_grad for weight in model.parameters()):
            log.info("%s has nothing to train: it is only tested", type(model).__name__)
            metrics = measure(self._module(model, data), parts, self.trainer)
            run.log_metrics(metrics)
            return [], metrics
        log.info("Training %s on %s", type(model).__name__, type(data).__name__)
        history, metrics = fit(
            self._module(model, data),
            parts,
            self.trainer,
            patience=self.patience,
            work=work,
            seed_of=lambda epoch: epoch_seed(seed, epoch),
            record=lambda epoch, number: run.log_metrics(epoch, step=number),
            console=terminal() if self.progress else None,
        )
        run.log_metrics(metrics)
        return history, metrics

    def _module(self, model: nn.Module, data: DataSet) -> Supervised:
        inputs: Inputs = {"augment": self.augment, "channels_last": self.channels_last}
        if data.task == "regression":
            return Regressor(model, self.optimizer, self.scheduler, **inputs)
        return Classifier(model, data.classes, self.optimizer, self.scheduler, **inputs)
