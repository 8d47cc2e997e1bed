"""Training a classifier with Lightning."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torchmetrics.classification import MulticlassAccuracy

HORIZONS = ("total_steps", "T_max")


class Classifier(pl.LightningModule):
    """Minimises the cross entropy of a model's logits; logs {train,val,test}/{loss,accuracy} once an epoch.

    Args:
        model: (batch, ...) -> (batch, classes).
        classes: how many there are.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes the learning rate schedule from the optimizer. One that must know how long the training is
            (its argument is total_steps or T_max) is told, and advances each step; any other advances each epoch.
        augment: changes the inputs of a training batch.
        channels_last: keep pictures and weights with their channels side by side in memory, which convolutions are
            faster with.
    """

    def __init__(
        self,
        model: nn.Module,
        classes: int,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., Any] | None = None,
        augment: Callable[[Tensor], Tensor] | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.optimizer, self.scheduler, self.augment = model, optimizer, scheduler, augment
        self.channels_last = channels_last
        if channels_last:
            model.to(memory_format=torch.channels_last)
        names = [f"{part}/accuracy" for part in ("train", "val", "test")]
        self.accuracy = nn.ModuleDict({name: MulticlassAccuracy(classes, average="micro") for name in names})

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.model(x)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch."""
        inputs, labels = batch
        return self._step("train", (self.augment(inputs) if self.augment else inputs, labels))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Measure one batch."""
        self._step("val", batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Measure one batch."""
        self._step("test", batch)

    def configure_optimizers(self) -> Any:
        """The optimizer and, if there is one, its schedule."""
        optimizer = self.optimizer(self.parameters())
        if self.scheduler is None:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        return {"optimizer": optimizer, "lr_scheduler": schedule(self.scheduler, optimizer, steps)}

    def _pictures(self, inputs: Tensor) -> bool:
        return self.channels_last and inputs.dim() == 4

    def _step(self, part: str, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, labels = batch
        logits = self(inputs.to(memory_format=torch.channels_last) if self._pictures(inputs) else inputs)
        loss = cross_entropy(logits, labels)
        name = f"{part}/accuracy"
        accuracy = cast("MulticlassAccuracy", self.accuracy[name])
        accuracy.update(logits, labels)
        self.log(f"{part}/loss", loss, on_step=False, on_epoch=True, batch_size=len(labels))
        self.log(name, accuracy, on_step=False, on_epoch=True)
        return loss


def schedule(scheduler: Callable[..., Any], optimizer: Optimizer, steps: int) -> dict[str, Any]:
    """A learning rate schedule as Lightning takes it; see Classifier for `scheduler`."""
    parameters = signature(scheduler).parameters
    # A partial that already holds the argument lists it with that value as its default.
    unknown = [name for name in HORIZONS if name in parameters and parameters[name].default in (None, Parameter.empty)]
    horizon = dict.fromkeys(unknown, steps)
    made = scheduler(optimizer, **horizon)
    return {"scheduler": made, "interval": "step" if horizon else "epoch", "monitor": "val/loss"}
