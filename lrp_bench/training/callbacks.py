"""What happens beside the steps of a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from rich.console import Console

from lrp_bench.progress import bar

Epoch = dict[str, float]


class History(pl.Callback):
    """Keeps the numbers of each epoch, in checkpoints too, and hands each to `record` with its number.

    After a resume the earlier epochs are handed over again, so that `record` gets the whole training.
    """

    def __init__(self, record: Callable[[Epoch, int], None]) -> None:
        self.record = record
        self.epochs: list[Epoch] = []

    def state_dict(self) -> dict[str, Any]:
        """The epochs so far."""
        return {"epochs": self.epochs}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the epochs of an interrupted training."""
        self.epochs = list(state_dict["epochs"])

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hand over what came before a resume."""
        for number, epoch in enumerate(self.epochs):
            self.record(epoch, number)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hand over the epoch that ends."""
        epoch = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.epochs.append(epoch)
        self.record(epoch, trainer.current_epoch)


class Reseed(pl.Callback):
    """Seeds torch anew for each epoch, so that dropout after a resume is what it would have been without a break."""

    def __init__(self, seed_of: Callable[[int], int]) -> None:
        self.seed_of = seed_of

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Seed by the epoch's number."""
        torch.manual_seed(self.seed_of(trainer.current_epoch))


class Bar(pl.Callback):
    """One bar for the whole training, gone when it ends."""

    def __init__(self, console: Console) -> None:
        self.progress = bar(console)
        self.task = self.progress.add_task("training")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar, as far along as a resumed training is."""
        self.progress.update(self.task, total=trainer.estimated_stepping_batches, completed=trainer.global_step)
        self.progress.start()

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """One step further."""
        self.progress.advance(self.task)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show how good the model is by now."""
        reached = float(trainer.callback_metrics[f"val/{pl_module.quality}"])
        self.progress.update(self.task, description=f"training, validation {pl_module.quality} {reached:.3f}")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Remove the bar."""
        self.progress.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Remove the bar."""
        self.progress.stop()
