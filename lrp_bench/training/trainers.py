"""What trains a model, and two ways beside gradient descent: by scikit-learn, and not at all."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from sklearn.base import clone
from torch import nn

from lrp_bench.contracts import BenchError, Run
from lrp_bench.data.protocol import DataSet, Official
from lrp_bench.training.callbacks import Epoch

log = logging.getLogger(__name__)


class Trainer(Protocol):
    """Gives a model its weights."""

    @property
    def device(self) -> torch.device | None:
        """Where it trains; None where it does not."""
        ...

    def train(
        self, model: nn.Module, data: DataSet, *, work: Path, seed: int, run: Run
    ) -> tuple[Sequence[Epoch], Mapping[str, float]]:
        """Train `model` in place, and leave it on the CPU.

        work: folder for what an interrupted training goes on from; seed: of all that is random; run: gets the numbers.
        Returns the numbers of each epoch, and what `Fitted.metrics` holds.
        """
        ...


@dataclass(frozen=True)
class AsGiven:
    """The weights stay what they are, and nothing is tested."""

    device = None

    def train(
        self, model: nn.Module, data: DataSet, *, work: Path, seed: int, run: Run
    ) -> tuple[Sequence[Epoch], Mapping[str, float]]:
        """Do nothing."""
        log.info("%s is taken as it is: neither trained nor tested", type(model).__name__)
        return [], {"epochs": 0.0}


@dataclass(frozen=True)
class ScikitFit:
    """Fits an MLPClassifier or MLPRegressor of scikit-learn on the whole training split, and carries its weights over.

    estimator: unfitted; its layers and its activation are the model's.
    """

    estimator: Any
    device = torch.device("cpu")

    def train(
        self, model: nn.Module, data: DataSet, *, work: Path, seed: int, run: Run
    ) -> tuple[Sequence[Epoch], Mapping[str, float]]:
        """Fit the estimator and fill the model's linear layers; BenchError where the two are not the same network."""
        began = time.perf_counter()
        log.info("Fitting scikit-learn's %s on %s", type(self.estimator).__name__, type(data).__name__)
        inputs, labels = _table(data, "train")
        fitted = clone(self.estimator).fit(inputs, labels)
        _carry(fitted, model)
        tested, truth = _table(data, "test")
        _check_same(fitted, model, tested)
        quality = "accuracy" if data.task == "classification" else "r2"
        reached = {f"test_{quality}": float(fitted.score(tested, truth)), "train_loss": float(fitted.loss_)}
        metrics = {**reached, "epochs": float(fitted.n_iter_), "seconds": time.perf_counter() - began}
        run.log_metrics(metrics)
        return [], metrics


def _table(data: DataSet, split: Official) -> tuple[Any, Any]:
    """The inputs of a split as scikit-learn takes them, and the labels."""
    inputs, labels = data.official(split)
    return inputs.flatten(1).numpy(), labels.numpy()


def _carry(fitted: Any, model: nn.Module) -> None:
    """Copy coefs_ (inputs x outputs) and intercepts_ into the model's linear layers, in order."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    theirs, ours = [w.T.shape for w in fitted.coefs_], [tuple(layer.weight.shape) for layer in layers]
    if theirs != ours:
        raise BenchError(
            f"Expected linear layers of {ours}, as the model has them, got {theirs}: set trainer.estimator's layers"
        )
    with torch.no_grad():
        for layer, weight, bias in zip(layers, fitted.coefs_, fitted.intercepts_, strict=True):
            layer.weight.copy_(torch.from_numpy(weight.T))
            layer.bias.copy_(torch.from_numpy(bias))


def _check_same(fitted: Any, model: nn.Module, inputs: Any) -> None:
    with torch.no_grad():
        ours = model.eval()(torch.from_numpy(inputs))
    if hasattr(fitted, "predict_proba"):
        off = (ours.softmax(1) - torch.from_numpy(fitted.predict_proba(inputs))).abs().max()
    else:
        off = (ours.squeeze(1) - torch.as_tensor(fitted.predict(inputs))).abs().max()
    if not off <= 1e-5:
        raise BenchError(
            f"Expected the model to give scikit-learn's own predictions, got others, off by {float(off):.2g}: give both"
            " the same activation, and no other layers"
        )
