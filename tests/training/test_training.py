from __future__ import annotations

import io
import json
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.console import Console
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import OneCycleLR
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.data import Synthetic
from lrp_bench.models import MLP, Classifier
from lrp_bench.training import Fitted, Recipe, fit_or_load
from lrp_bench.training.callbacks import Bar
from lrp_bench.training.fitting import undisturbed

CONF = Path(__file__).parents[2] / "conf"
Hook = Callable[[Mapping[str, float], int], None]


@dataclass
class Run:
    id: str
    hook: Hook | None
    metrics: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    status: str = "RUNNING"
    tags: dict[str, str] = field(default_factory=dict)
    data: dict[str, object] = field(default_factory=dict)
    models: list[torch.Tensor] = field(default_factory=list)

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        self.metrics.append((step, dict(metrics)))
        if self.hook:
            self.hook(metrics, step)

    def log_curve(self, name: str, values: Sequence[float], steps: Sequence[int]) -> None:
        raise AssertionError

    def log_file(self, path: Path, folder: str = "") -> None:
        raise AssertionError

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self.tags |= tags

    def log_data(self, name: str, digest: str, split: str, facts: Mapping[str, object]) -> None:
        self.data[split] = facts["samples"]

    def log_model(self, model: nn.Module, example: torch.Tensor) -> None:
        self.models.append(model(example))


@dataclass
class Tracker:
    hook: Hook | None = None
    runs: list[Run] = field(default_factory=list)
    opened: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def run(self, name: str, **how: Any) -> Iterator[Run]:
        run = Run(f"run-{os.getpid()}-{len(self.runs)}", self.hook)
        self.runs.append(run)
        self.opened.append({"name": name, **how})
        try:
            yield run
            run.status = "FINISHED"
        except BaseException as error:
            run.status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
            raise

    def find(self, *, kind: str, fingerprint: str, parent: str | None = None) -> str | None:
        return None


class Dropping(nn.Module):
    """A model whose training draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.layers(x)
        return logits


def synthetic(**overrides: Any) -> Synthetic:
    settings = {"shape": [1, 4, 4], "classes": 2, "mean": 0.4, "std": 0.25, "validation": 0.25, "train": 40, "test": 20}
    return Synthetic(**{**settings, "batch_size": 8, "samples": 4, "seed": 0, **overrides})


def recipe(**overrides: Any) -> Recipe:
    settings = {"optimizer": partial(Adam, lr=0.01), "batch_size": 8, "max_epochs": 4, "patience": 4}
    return Recipe(**{**settings, "accelerator": "cpu", "scheduler": partial(OneCycleLR, max_lr=0.01), **overrides})


def train(
    store: Path,
    tracker: Tracker | None = None,
    *,
    seed: int = 0,
    build: Callable[[], nn.Module] = Dropping,
    data: Synthetic | None = None,
    how: Recipe | None = None,
    identity: Mapping[str, object] | None = None,
    parent: str | None = None,
) -> Fitted:
    return fit_or_load(
        build,
        data or synthetic(),
        how or recipe(),
        identity=identity or {"dataset": {"name": "synthetic"}, "model": {}, "trainer": {}},
        store=store,
        seed=seed,
        tracker=tracker or Tracker(),
        parent=parent,
    )


def state(fitted: Fitted) -> dict[str, torch.Tensor]:
    return dict(fitted.model.state_dict())


def same(one: Fitted, other: Fitted) -> bool:
    return all(torch.equal(tensor, state(other)[name]) for name, tensor in state(one).items())


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return train(tmp_path_factory.mktemp("store"))


def test_a_training_is_done_once_and_its_run_is_found_again(tmp_path: Path) -> None:
    first_tracker, second_tracker = Tracker(), Tracker()
    first = train(tmp_path, first_tracker, parent="sweep")
    second = train(tmp_path, second_tracker)
    assert (first.reused, second.reused) == (False, True)
    assert same(first, second)
    assert second.run_id == first.run_id == first_tracker.runs[0].id
    assert second.metrics == first.metrics
    assert not second_tracker.runs
    [opened] = first_tracker.opened
    assert (opened["kind"], opened["parent"]) == ("training", "sweep")
    assert opened["tags"] == {"fingerprint": first.fingerprint, "device": "cpu"}
    assert (first.device, second.device) == ("cpu", "cpu")
    [run] = first_tracker.runs
    assert run.status == "FINISHED"
    assert run.data == {"train": 30, "validation": 10, "test": 20}
    assert_close(run.models, [first.model(synthetic().background(2)[0])])
    assert "test accuracy" in run.tags["mlflow.note.content"]


def test_the_model_comes_frozen_and_as_good_as_the_record_says(uninterrupted: Fitted) -> None:
    model, data = uninterrupted.model, synthetic()
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    inputs, labels = data.normalize(data.contents.test.inputs), data.contents.test.labels
    accuracy = (model(inputs).argmax(1) == labels).float().mean()
    assert uninterrupted.metrics["test_accuracy"] == pytest.approx(accuracy.item())
    assert uninterrupted.metrics["test_accuracy"] > 0.9
    parts = list(data.batches("validation", 1000))
    loss = nn.functional.cross_entropy(model(parts[0][0]), parts[0][1])
    assert uninterrupted.metrics["val_loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_every_epoch_is_logged_with_its_number(tmp_path: Path) -> None:
    tracker = Tracker()
    fitted = train(tmp_path, tracker)
    *epochs, last = tracker.runs[0].metrics
    assert [step for step, _ in epochs] == [0, 1, 2, 3]
    for _, epoch in epochs:
        assert set(epoch) == {"train/loss", "train/accuracy", "val/loss", "val/accuracy"}
    assert last[1] == fitted.metrics
    assert fitted.metrics["epochs"] == 4
    assert min(epoch["val/loss"] for _, epoch in epochs) == pytest.approx(fitted.metrics["val_loss"])
    kept = json.loads((fitted.folder / "training.json").read_text())
    assert kept["history"] == [epoch for _, epoch in epochs]
    assert sorted(path.name for path in fitted.folder.iterdir()) == ["training.json", "weights.pt"]


def test_same_seed_same_bits_whatever_the_random_state(tmp_path: Path, uninterrupted: Fitted) -> None:
    torch.manual_seed(77)
    before = torch.get_rng_state()
    again, other = train(tmp_path), train(tmp_path, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(again, uninterrupted)
    assert again.fingerprint == uninterrupted.fingerprint
    assert not same(other, uninterrupted)
    assert not other.reused


def test_the_process_is_left_as_it_was(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    level = logging.getLogger("pytorch_lightning").level
    train(tmp_path, how=recipe(deterministic=True))
    assert not torch.are_deterministic_algorithms_enabled()
    assert logging.getLogger("pytorch_lightning").level == level
    written = capfd.readouterr()
    assert written.out == written.err == ""


def test_what_leaves_the_weights_alone_is_not_in_the_fingerprint(tmp_path: Path, uninterrupted: Fitted) -> None:
    def identity(root: str, lr: float) -> dict[str, object]:
        size = len(root)
        dataset = {"name": "synthetic", "root": root, "cache": root, "memory": size, "samples": size}
        return {"dataset": dataset, "model": {}, "trainer": {"accelerator": root, "progress": root, "lr": lr}}

    trained = train(tmp_path, identity=identity("here", 0.1))
    assert train(tmp_path, identity=identity("elsewhere", 0.1)).reused
    assert not train(tmp_path, identity=identity("here", 0.2)).reused
    assert not train(tmp_path, identity=identity("here", 0.1), data=synthetic(train=44)).reused
    assert not train(tmp_path, identity=identity("here", 0.1), build=partial(MLP, [1, 4, 4], 2)).reused
    assert trained.fingerprint != uninterrupted.fingerprint


@pytest.mark.parametrize("damage", ["weights", "record", "missing"])
def test_a_damaged_training_is_done_again_with_a_warning(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = train(tmp_path)
    weights, record = first.folder / "weights.pt", first.folder / "training.json"
    if damage == "weights":
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 1
        weights.write_bytes(content)
    elif damage == "record":
        record.write_text(record.read_text()[:50])
    else:
        weights.unlink()
    second = train(tmp_path)
    assert "damaged" in caplog.text
    assert not second.reused
    assert same(first, second)
    assert train(tmp_path).reused


def interrupt(metrics: Mapping[str, float], step: int) -> None:
    if step == 2:
        raise KeyboardInterrupt


def test_ctrl_c_marks_the_run_and_the_next_start_goes_on_to_the_same_bits(
    tmp_path: Path, uninterrupted: Fitted, caplog: pytest.LogCaptureFixture
) -> None:
    handler = signal.getsignal(signal.SIGINT)
    tracker = Tracker(interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, tracker)
    assert tracker.runs[0].status == "KILLED"
    assert signal.getsignal(signal.SIGINT) is handler
    assert not list(tmp_path.glob("*/training.json"))

    tracker = Tracker()
    with caplog.at_level(logging.INFO):
        resumed = train(tmp_path, tracker)
    assert "goes on after epoch 1" in caplog.text
    assert same(resumed, uninterrupted)
    assert [step for step, _ in tracker.runs[0].metrics] == [0, 1, 2, 3, 0]
    assert resumed.metrics["epochs"] == 4
    assert [path.suffix for path in tmp_path.iterdir() if path != resumed.folder] == [".lock"]


def test_a_damaged_checkpoint_of_an_interrupted_training_is_dropped(
    tmp_path: Path, uninterrupted: Fitted, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, Tracker(interrupt))
    [last] = tmp_path.glob("*.work/last.ckpt")
    last.write_bytes(last.read_bytes()[:200])
    assert same(train(tmp_path), uninterrupted)
    assert "starts anew" in caplog.text


def kill_the_first(marker: Path, metrics: Mapping[str, float], step: int) -> None:
    if step == 2 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def in_a_process(store: Path, hook: Hook | None, start: Any, results: Any) -> None:
    torch.set_num_threads(1)
    tracker = Tracker(hook)
    start.wait(60)
    fitted = train(store, tracker)
    results.put((fitted.run_id, fitted.reused, len(tracker.runs)))


def two_processes(store: Path, hook: Hook | None, survivors: int) -> list[tuple[str, bool, int]]:
    """Start the same training twice at the same moment; what those that live say."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lrp_bench.training"])
    start, results = context.Barrier(2), context.SimpleQueue()
    processes = [context.Process(target=in_a_process, args=(store, hook, start, results)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
    assert (
        sorted(process.exitcode or 0 for process in processes) == [-signal.SIGKILL] * (2 - survivors) + [0] * survivors
    )
    return [results.get() for _ in range(survivors)]


def test_two_processes_that_start_together_train_once(tmp_path: Path, uninterrupted: Fitted) -> None:
    outcomes = two_processes(tmp_path, None, survivors=2)
    assert sorted(reused for _, reused, _ in outcomes) == [False, True]
    assert len({run_id for run_id, _, _ in outcomes}) == 1
    assert sum(runs for _, _, runs in outcomes) == 1
    fitted = train(tmp_path)
    assert fitted.reused
    assert same(fitted, uninterrupted)


def test_a_killed_process_leaves_nothing_half_written_and_the_one_that_waits_goes_on(
    tmp_path: Path, uninterrupted: Fitted
) -> None:
    store = tmp_path / "store"
    [(_, reused, _)] = two_processes(store, partial(kill_the_first, tmp_path / "killed"), survivors=1)
    assert not reused
    fitted = train(store)
    assert fitted.reused
    assert same(fitted, uninterrupted)
    assert [path.suffix for path in store.iterdir() if path != fitted.folder] == [".lock"]


def test_the_weights_of_the_best_epoch_are_kept_and_patience_ends_the_training(tmp_path: Path) -> None:
    tracker = Tracker()
    climbing = recipe(optimizer=partial(SGD, lr=0.1, maximize=True), scheduler=None, max_epochs=50, patience=2)
    fitted = train(tmp_path, tracker, how=climbing)
    losses = [epoch["val/loss"] for _, epoch in tracker.runs[0].metrics[:-1]]
    assert losses == sorted(losses)
    assert len(losses) == 3
    assert fitted.metrics["val_loss"] == pytest.approx(losses[0])


def test_a_training_that_diverges_is_an_error_and_is_not_resumed(tmp_path: Path) -> None:
    tracker = Tracker()
    for _ in range(2):
        with pytest.raises(BenchError, match=r"finite validation loss.*lower trainer\.optimizer\.lr"):
            train(tmp_path, tracker, how=recipe(optimizer=partial(SGD, lr=1e30), scheduler=None))
    assert [run.status for run in tracker.runs] == ["FAILED", "FAILED"]
    assert not list(tmp_path.glob("*.work"))


def test_a_model_that_does_not_fit_is_said_before_a_run_is_opened(tmp_path: Path) -> None:
    tracker = Tracker()
    with pytest.raises(BenchError, match="does not fit the data's shape"):
        train(tmp_path, tracker, build=partial(MLP, [1, 5, 5], 2))
    with pytest.raises(BenchError, match="samples <= 20"):
        train(tmp_path, tracker, data=synthetic(samples=21))
    assert not tracker.runs


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(BenchError, match=r"Expected room to write in .*file/models"):
        train(tmp_path / "file" / "models")

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    tracker = Tracker()
    with pytest.raises(BenchError, match=r"No space left on device.*paths\.outputs"):
        train(tmp_path / "models", tracker)
    assert tracker.runs[0].status == "FAILED"
    assert not list(tmp_path.glob("models/*/training.json"))


def test_errors_of_the_tracker_are_not_taken_for_the_disks(tmp_path: Path) -> None:
    def unreachable(metrics: Mapping[str, float], step: int) -> None:
        raise ConnectionError("server gone")

    with pytest.raises(ConnectionError, match="server gone"):
        train(tmp_path, Tracker(unreachable))


@pytest.mark.parametrize(("name", "epochs"), [("default", 8), ("fast", 2), ("text", 4)])
def test_every_config_of_a_recipe_makes_one(name: str, epochs: int) -> None:
    written = [OmegaConf.load(CONF / "trainer" / f"{each}.yaml") for each in ("default", name)]
    root = OmegaConf.create({"dataset": {"batch_size": 16}})
    root.trainer = OmegaConf.merge(*written)
    root.trainer.pop("defaults", None)
    made = instantiate(root.trainer)
    assert (made.batch_size, made.max_epochs) == (16, epochs)


def test_no_config_of_a_recipe_is_forgotten_above() -> None:
    configs = {path.stem: OmegaConf.load(path) for path in (CONF / "trainer").glob("*.yaml")}
    recipes = {name for name, each in configs.items() if each.get("_target_", Recipe.__name__).endswith("Recipe")}
    assert recipes == {"default", "fast", "text"}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"max_epochs": "abc"}, "max_epochs.*got 'abc'"),
        ({"max_epochs": 0}, "max_epochs.*got 0"),
        ({"batch_size": True}, "batch_size.*got True"),
        ({"patience": 1.5}, "patience.*got 1.5"),
        ({"optimizer": partial(Adam, lr=cast("float", "fast"))}, "trainer.optimizer"),
        ({"optimizer": partial(Adam, lr=-1.0)}, "Invalid learning rate"),
        ({"optimizer": partial(cast("Any", Adam), learning_rate=1.0)}, "learning_rate"),
        ({"scheduler": partial(OneCycleLR)}, "max_lr"),
        ({"precision": "8"}, "got.*8"),
        ({"accelerator": "abacus"}, "abacus"),
        ({"devices": 2}, "devices 1"),
        ({"devices": None}, "devices 1"),
        ({"progress": "loud"}, "progress.*'loud'"),
        ({"deterministic": "maybe"}, "deterministic.*'maybe'"),
    ],
)
def test_bad_recipes_say_what_was_expected_and_what_came(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        recipe(**overrides)


def test_the_bar_shows_how_far_the_training_is() -> None:
    screen = io.StringIO()
    bar, how = Bar(Console(file=screen, force_terminal=True, width=120)), recipe(max_epochs=2)
    with undisturbed():
        classifier = Classifier(Dropping(), 2, how.optimizer)
        how.trainer([bar]).fit(classifier, synthetic().train_dataloader(), synthetic().val_dataloader())
    assert "validation accuracy" in screen.getvalue()
    assert "8/8" in screen.getvalue()
