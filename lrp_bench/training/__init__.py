"""One training per (data, model, recipe, seed), shared by all that need it."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock, Timeout
from torch import nn

from lrp_bench import devices
from lrp_bench.contracts import NOTE, Run, Tracker
from lrp_bench.data.facts import log_training_data
from lrp_bench.data.protocol import DataSet
from lrp_bench.models.fits import check_fits
from lrp_bench.training.fitting import seeded
from lrp_bench.training.recipe import Recipe
from lrp_bench.training.store import Record, load, save, writing
from lrp_bench.training.trainers import AsGiven, ScikitFit, Trainer

__all__ = ["AsGiven", "Fitted", "Recipe", "ScikitFit", "Trainer", "fit_or_load"]

log = logging.getLogger(__name__)

# What a config says that leaves the weights as they are. A data set's contents count, not where it lies; its batch size
# is only what the trainer takes by default.
WITHOUT_EFFECT = {
    "dataset": {"root", "cache", "memory", "samples", "batch_size", "truth"},
    "trainer": {"accelerator", "devices", "progress"},
}


@dataclass(frozen=True)
class Fitted:
    """A trained model, frozen, in eval mode, on the CPU.

    metrics: test_accuracy (of a regression test_r2), val_loss (of the kept epoch), epochs, seconds. run_id: the
    tracker's run of the training. folder: where the weights are kept. reused: whether they were there before.
    device: the kind that trained, empty where none did or it is not known.
    """

    model: nn.Module
    metrics: Mapping[str, float]
    run_id: str
    fingerprint: str
    folder: Path
    reused: bool
    device: str = ""

    @property
    def origin(self) -> dict[str, str]:
        """What a run that explains the model tells of its training, as tags."""
        return {"training_run": self.run_id} | ({"trained_on": self.device} if self.device else {})

    @property
    def quality(self) -> dict[str, float]:
        """How good the model is on the test split; nothing for one that was neither trained nor tested."""
        return {name: value for name, value in self.metrics.items() if name.startswith("test_")}


def fit_or_load(
    build: Callable[[], nn.Module],
    data: DataSet,
    trainer: Trainer,
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
        trainer: how to train.
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
        model = build().to(data.dtype)
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
            name = f"{type(model).__name__} on {type(data).__name__}, seed {seed}"
            where = {} if trainer.device is None else devices.describe(trainer.device)
            tags = {"fingerprint": fingerprint, **where}
            with tracker.run(name, kind="training", parent=parent, params=identity, tags=tags) as run:
                history, metrics = trainer.train(model, data, work=work, seed=seed, run=run)
                record = Record(fingerprint, run.id, metrics, history, facts, device=where.get("device", ""))
                _tell(run, _settled(model), data, metrics)
                save(folder, model, record)
        shutil.rmtree(work, ignore_errors=True)
    _settled(model)
    found = kept is not None
    return Fitted(model, record.metrics, record.run_id, fingerprint, folder, reused=found, device=record.device)


def _settled(model: nn.Module) -> nn.Module:
    return model.eval().requires_grad_(False).to(memory_format=torch.contiguous_format)


def _tell(run: Run, model: nn.Module, data: DataSet, metrics: Mapping[str, float]) -> None:
    """What a tracker keeps of a training beside its numbers: the data, the model, and a description of both."""
    log_training_data(run, data)
    run.log_model(model, data.background(2)[0])
    reached = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in metrics.items())
    shape = " x ".join(map(str, data.shape))
    told = f"**{type(model).__name__}** for **{type(data).__name__}**, inputs of {shape}: {reached}."
    how = "The tag model_uri is what mlflow.pytorch.load_model takes, model_file what model=pt2 model.path= takes."
    run.set_tags({NOTE: f"{told}\n\n{how}"})


def _facts(model: nn.Module, data: DataSet, identity: Mapping[str, object], seed: int) -> dict[str, object]:
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
