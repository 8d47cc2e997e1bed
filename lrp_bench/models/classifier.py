"""Training a classifier or a regressor with Lightning."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, signature
from typing import Any, TypedDict, Unpack, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.optim import Optimizer
from torchmetrics import Metric, R2Score
from torchmetrics.classification import MulticlassAccuracy

HORIZONS = ("total_steps", "T_max")


class Inputs(TypedDict, total=False):
    """What may be done with a batch's inputs; see Supervised."""

    augment: Callable[[Tensor], Tensor] | None
    channels_last: bool


class Supervised(pl.LightningModule):
    """Minimises a loss; logs {train,val,test}/{loss,<quality>} once an epoch.

    Args:
        model: (batch, ...) -> (batch, outputs).
        optimizer: makes the optimizer from the parameters.
        scheduler: makes the learning rate schedule from the optimizer. One that must know how long the training is
            (its argument is total_steps or T_max) is told, and advances each step; any other advances each epoch.
        quality: what tells how good the model is, accuracy or r2.
        meter: makes the metric of that name.
        loss: of a batch's outputs and labels.
        augment: changes the inputs of a training batch.
        channels_last: keep pictures and weights with their channels side by side in memory, which convolutions are
            faster with.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., Any] | None,
        *,
        quality: str,
        meter: Callable[[], Metric],
        loss: Callable[[Tensor, Tensor], Tensor],
        augment: Callable[[Tensor], Tensor] | None = None,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.optimizer, self.scheduler, self.quality, self.loss = model, optimizer, scheduler, quality, loss
        self.meters = nn.ModuleDict({f"{part}_{quality}": meter() for part in ("train", "val", "test")})
        self.augment, self.channels_last = augment, channels_last
        if channels_last:
            model.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """The model's outputs."""
        outputs: Tensor = self.model(x)
        return outputs

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
        outputs = self(inputs.to(memory_format=torch.channels_last) if self._pictures(inputs) else inputs)
        loss = self.loss(outputs, labels)
        meter = cast("Metric", self.meters[f"{part}_{self.quality}"])
        meter.update(outputs, labels)
        self.log(f"{part}/loss", loss, on_step=False, on_epoch=True, batch_size=len(labels))
        self.log(f"{part}/{self.quality}", meter, on_step=False, on_epoch=True)
        return loss


class Classifier(Supervised):
    """Minimises the cross entropy of the logits; its quality is the accuracy."""

    def __init__(
        self,
        model: nn.Module,
        classes: int,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., Any] | None = None,
        **inputs: Unpack[Inputs],
    ) -> None:
        super().__init__(
            model,
            optimizer,
            scheduler,
            quality="accuracy",
            meter=lambda: MulticlassAccuracy(classes, average="micro"),
            loss=cross_entropy,
            **inputs,
        )


class Regressor(Supervised):
    """Minimises the squared error of one output; its quality is R2, the share of the variance that is explained."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., Any] | None = None,
        **inputs: Unpack[Inputs],
    ) -> None:
        super().__init__(model, optimizer, scheduler, quality="r2", meter=R2Score, loss=mse_loss, **inputs)

    def forward(self, x: Tensor) -> Tensor:
        """The one output, (batch,)."""
        return super().forward(x).squeeze(1)


def schedule(scheduler: Callable[..., Any], optimizer: Optimizer, steps: int) -> dict[str, Any]:
    """A learning rate schedule as Lightning takes it; see Supervised for `scheduler`."""
    parameters = signature(scheduler).parameters
    # A partial that already holds the argument lists it with that value as its default.
    unknown = [name for name in HORIZONS if name in parameters and parameters[name].default in (None, Parameter.empty)]
    horizon = dict.fromkeys(unknown, steps)
    made = scheduler(optimizer, **horizon)
    return {"scheduler": made, "interval": "step" if horizon else "epoch", "monitor": "val/loss"}
