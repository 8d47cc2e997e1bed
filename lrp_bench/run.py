"""One run, from config to scores: the whole story on one screen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from lrp_bench import devices, notes, progress
from lrp_bench.contracts import NOTE, Batch, BenchError, NotApplicable, Run
from lrp_bench.data.arguments import one_of, whole
from lrp_bench.data.base import TensorData
from lrp_bench.data.facts import log_explained_data
from lrp_bench.evaluation import Evaluation, evaluate
from lrp_bench.models.kept import Kept
from lrp_bench.records import first_samples, keep
from lrp_bench.tracking.base import RunTracker
from lrp_bench.tracking.outbox import Outbox
from lrp_bench.tracking.record import digest
from lrp_bench.training import Fitted, fit_or_load
from lrp_bench.training.store import writing

log = logging.getLogger(__name__)

TWINS = 1000  # from a seed to that of its first twin: seeds below this share no twins


def run(cfg: DictConfig, *, folder: Path, parent: str | None = None) -> Evaluation | None:
    """Train or load the model, explain the samples, score the explanations, and keep everything.

    cfg: a composed config (conf/config.yaml). folder: for this run's files. parent: the sweep's run. Within a sweep a
    method is scored once: None comes back where it was scored before. Raises BenchError for what the user must mend.
    """
    study = Study(cfg, parent)
    evaluation = study.score(cfg.names.method, cfg.explainer, folder)
    study.score("random", cfg.control, folder / "random")
    return evaluation


class Study:
    """What the methods of one run share: data, model, tracker and settings."""

    def __init__(self, cfg: DictConfig, parent: str | None, tracker: RunTracker | None = None) -> None:
        self.cfg, self.parent = cfg, parent
        self.tracker: RunTracker = tracker or build(cfg.tracker)
        with self.failing(cfg.names.method):
            self.settings = resolved(cfg)
            check_settings(self.settings)
            self.device = devices.on_device(cfg.device)
        if cfg.threads:
            torch.set_num_threads(cfg.threads)
        self._fitted: Fitted | None = None

    @cached_property
    def data(self) -> TensorData:
        """The data set, read and cut."""
        data: TensorData = build(self.cfg.dataset)
        data.setup()
        return data

    def fitted(self, rehearse: Callable[[nn.Module], object]) -> Fitted:
        """The model, trained by whoever came first; `rehearse` is called with the untrained one before a training."""
        if self._fitted is not None:
            return self._fitted
        self._fitted = fitted = self.fit(lambda: build(self.cfg.model), rehearse)
        for name, value in fitted.quality.items():
            log.info("%s on %s: %s %.4f", *self.named("model", "dataset"), name.replace("_", " "), value)
        return fitted

    def retrain(self, *, twin: int = 0, keep: Tensor | None = None) -> nn.Module:
        """The model trained once more, see metrics.evaluators.base.Retrain; untrained, while the model itself is."""
        cfg = self.cfg.copy()
        cfg.seed += TWINS * twin
        other = Study(cfg, self.parent, self.tracker)

        def make() -> nn.Module:
            model: nn.Module = build(other.cfg.model)
            return model if keep is None else Kept(model, keep.cpu())

        if self._fitted is None:
            return make().to(self.device, self.data.dtype).eval().requires_grad_(requires_grad=False)
        if not self._fitted.metrics["epochs"]:
            raise NotApplicable("Expected a model that is trained here, got one that is given: choose another trainer.")
        return other.fit(make).model.to(self.device)

    def fit(self, make: Callable[[], nn.Module], rehearse: Callable[[nn.Module], object] = nn.Module.eval) -> Fitted:
        """A training with this study's data, recipe and seed."""
        return fit_or_load(
            make,
            self.data,
            build(self.cfg.trainer),
            identity={group: self.settings[group] for group in ("dataset", "model", "trainer")},
            store=Path(self.cfg.paths.outputs) / "models",
            seed=self.cfg.seed,
            tracker=self.tracker,
            rehearse=rehearse,
        )

    def score(self, method: str, explainer: DictConfig, folder: Path) -> Evaluation | None:
        """Explain and score with one method, as one run of the tracker."""
        fingerprint = self.fingerprint(explainer)
        with self.alone(method, fingerprint):
            if self.parent and self.tracker.find(kind="explanation", fingerprint=fingerprint, parent=self.parent):
                log.info("%s: scored before in this sweep", method)
                return None
            outbox = Outbox(folder, self.settings["tracker"])
            facts = devices.describe(self.device) | {"fingerprint": fingerprint}
            with outbox.kept(), self.record(method, self.settings, **facts) as record:
                two = islice(self.data.explained_batches(2), 1)
                fitted = self.fitted(lambda untrained: self.evaluate(explainer, untrained, two))
                batches = self.data.explained_batches(self.cfg.batch_size)
                total = -(-len(self.data.indices) // self.cfg.batch_size) * (1 + len(self.cfg.metric))
                with progress.steps(method, total, progress.terminal()) as step:
                    evaluation = self.evaluate(explainer, fitted.model, batches, step)
                for name, reason in evaluation.unavailable.items():
                    log.warning("No %s: %s", name.replace("/", " with "), reason)
                self.hand_in(outbox, record, method, evaluation, fitted)
        if method != "random" and (first := first_samples(evaluation, self.data)):
            log.info("%s, first samples:\n%s", method, first)
        return evaluation

    def hand_in(self, outbox: Outbox, record: Run, method: str, evaluation: Evaluation, fitted: Fitted) -> None:
        """Write the run's files into the outbox's folder, and hand all that was found to the tracker."""
        folder = outbox.folder
        outbox.set_tags(fitted.origin)
        outbox.log_metrics(fitted.quality)
        log_explained_data(outbox, self.data)
        keep(outbox, evaluation, self.data, OmegaConf.to_yaml(self.cfg, resolve=True), folder)
        about = self.about(method, len(evaluation.index), fitted.quality)
        with writing(folder):
            table, tag = notes.samples_table(evaluation, folder)
            outbox.log_file(table)
            outbox.set_tags({NOTE: notes.of_explanation(about, evaluation.measures, outbox.metrics), **tag})
            outbox.hand_over(record)
        log.info("%s: %d samples explained and scored, kept in %s", method, len(evaluation.index), folder)

    def about(self, method: str, samples: int, quality: Mapping[str, float]) -> str:
        """What a method explains, in a sentence."""
        method, dataset, model = map(notes.plain, (method, *self.named("dataset", "model")))
        reached = "".join(f", {name.replace('_', ' ')} {value:.4g}" for name, value in quality.items())
        what = f"the {self.cfg.target} class of {samples} samples of **{dataset}**"
        return f"**{method}** explains {what} by **{model}**{reached}."

    def evaluate(
        self, explainer: DictConfig, model: nn.Module, batches: Iterable[Batch], step: Callable[[str], object] = str
    ) -> Evaluation:
        """Explain batches and score the explanations; step: see `evaluation.evaluate`."""
        with devices.room("batch_size, or a metric's max_batch"):
            return evaluate(
                explainer=build(explainer),
                baselines=build(self.cfg.baselines),
                metrics=build(self.cfg.metric),
                batches=batches,
                model=model.to(self.device),
                device=self.device,
                explain_label=self.cfg.target == "label",
                pictures=self.data.pictured(self.cfg.pictures),
                background=self.data.background(self.cfg.background),
                retrain=self.retrain,
                step=step,
            )

    @cached_property
    def job(self) -> str:
        """A sha256 of the config as written, by which a job is known that failed before its fingerprint was."""
        return digest(OmegaConf.to_container(self.cfg, resolve=False))

    def named(self, *groups: str) -> list[str]:
        """The names of the chosen options."""
        return [self.cfg.names[group] for group in groups]

    def record(
        self, method: str, params: Mapping[str, object] | None = None, **facts: str
    ) -> AbstractContextManager[Run]:
        """Open the tracker's run of a method. facts: tags, where they have a value."""
        dataset, model = self.named("dataset", "model")
        tags = {"dataset": dataset, "model": model, "method": method, "seed": str(self.cfg.seed), "job": self.job}
        tags |= {key: value for key, value in facts.items() if value}
        name = f"{method} on {dataset}, {model}"
        return self.tracker.run(name, kind="explanation", parent=self.parent, params=params, tags=tags)

    @contextmanager
    def failing(self, method: str, fingerprint: str = "") -> Iterator[None]:
        """Give what fails before a method's run is open a failed run, so that the table names it."""
        try:
            yield
        except Exception:
            with self.record(method, fingerprint=fingerprint):
                raise

    def fingerprint(self, explainer: DictConfig) -> str:
        """A sha256 of all that decides the scores, and what the method costs."""
        groups = (
            *("dataset", "model", "trainer", "metric", "baselines", "seed", "samples", "target", "background"),
            *("batch_size", "threads"),
        )
        facts = {group: self.settings[group] for group in groups} | {"device": devices.kind(self.device)}
        facts["explainer"] = OmegaConf.to_container(explainer, resolve=True)
        return digest(facts)

    @contextmanager
    def alone(self, method: str, fingerprint: str) -> Iterator[None]:
        """Within a sweep, hold off other processes that would score the same."""
        if not self.parent:
            yield
            return
        locks = Path(self.cfg.paths.outputs) / "locks"
        lock = FileLock(locks / f"{self.parent}-{fingerprint[:16]}.lock")
        with self.failing(method, fingerprint=fingerprint), writing(locks):
            locks.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()


def build(node: DictConfig) -> Any:
    """What a config node describes. Raises BenchError, without what Hydra wraps around the reason."""
    try:
        return instantiate(node)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, BenchError):
            raise cause from None
        place = next(
            (line.removeprefix("full_key: ") for line in str(error).splitlines() if line.startswith("full_key")),
            "the config",
        )
        reason = str(cause or error).splitlines()[0]
        raise BenchError(
            f"Expected a usable {place}, got {type(cause or error).__name__}: {reason}: correct {place}."
        ) from error


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The config with every ${...} replaced. Raises BenchError where one leads nowhere."""
    try:
        return OmegaConf.to_container(cfg, resolve=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "the config"
        raise BenchError(f"Expected a value for {key}, got: {str(error).splitlines()[0]}: correct {key}.") from error


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise BenchError for a plain value of the root config that cannot be meant."""
    for name in ("samples", "batch_size", "background"):
        whole(name, settings[name])
    for name in ("seed", "pictures"):
        whole(name, settings[name], 0)
    one_of("target", settings["target"], ("predicted", "label"))
    if settings["threads"] is not None:
        whole("threads", settings["threads"])
