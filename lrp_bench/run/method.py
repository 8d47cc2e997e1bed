"""How one method is scored: its samples explained, measured and kept, as one run of the tracker."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path

from filelock import FileLock
from omegaconf import DictConfig, OmegaConf
from torch import nn

from lrp_bench import devices, notes, progress
from lrp_bench.contracts import NOTE, Batch, Run
from lrp_bench.data.facts import log_explained_data
from lrp_bench.evaluation import Evaluation, evaluate
from lrp_bench.records import first_samples, keep
from lrp_bench.run.config import build
from lrp_bench.run.study import Study
from lrp_bench.tracking.outbox import Outbox
from lrp_bench.tracking.record import digest
from lrp_bench.training import Fitted
from lrp_bench.training.store import writing

log = logging.getLogger(__name__)


class Method:
    """A method under its name in the table. explainer: the config of how it is made."""

    def __init__(self, study: Study, name: str, explainer: DictConfig) -> None:
        self.study, self.name, self.explainer = study, name, explainer

    def score(self, folder: Path) -> Evaluation | None:
        """Explain and score, as one run of the tracker; None where that was done before in this sweep."""
        study, data = self.study, self.study.data
        with self._alone():
            if study.parent and study.tracker.find(
                kind="explanation", fingerprint=self.fingerprint, parent=study.parent
            ):
                log.info("%s: scored before in this sweep", self.name)
                return None
            outbox = Outbox(folder, study.settings["tracker"])
            facts = devices.describe(study.device) | {"fingerprint": self.fingerprint}
            record = study.record(self.name, study.settings, **facts)
            with outbox.kept(), record as run:
                fitted = study.fitted(self._rehearse)
                evaluation = self._evaluated(fitted.model)
                self._hand_in(outbox, run, evaluation, fitted)
        if self.name != "random" and (first := first_samples(evaluation, data)):
            log.info("%s, first samples:\n%s", self.name, first)
        return evaluation

    def evaluate(self, model: nn.Module, batches: Iterable[Batch], step: Callable[[str], object] = str) -> Evaluation:
        """Explain batches and score the explanations; step: see `evaluation.evaluate`."""
        cfg, study = self.study.cfg, self.study
        with devices.room("batch_size, or a metric's max_batch"):
            return evaluate(
                explainer=build(self.explainer),
                baselines=build(cfg.baselines),
                metrics=build(cfg.metric),
                batches=batches,
                model=model.to(study.device),
                device=study.device,
                explain_label=cfg.target == "label",
                pictures=study.data.pictured(cfg.pictures),
                background=study.data.background(cfg.background),
                retrain=study.retrain,
                step=step,
            )

    @cached_property
    def fingerprint(self) -> str:
        """A sha256 of all that decides the scores, and what the method costs."""
        groups = (
            *("dataset", "model", "trainer", "metric", "baselines", "seed", "samples", "target", "background"),
            *("batch_size", "threads"),
        )
        facts = {group: self.study.settings[group] for group in groups} | {"device": devices.kind(self.study.device)}
        facts["explainer"] = OmegaConf.to_container(self.explainer, resolve=True)
        return digest(facts)

    def _rehearse(self, untrained: nn.Module) -> None:
        self.evaluate(untrained, islice(self.study.data.explained_batches(2), 1))

    def _evaluated(self, model: nn.Module) -> Evaluation:
        cfg, data = self.study.cfg, self.study.data
        total = -(-len(data.indices) // cfg.batch_size) * (1 + len(cfg.metric))
        with progress.steps(self.name, total, progress.terminal()) as step:
            evaluation = self.evaluate(model, data.explained_batches(cfg.batch_size), step)
        for name, reason in evaluation.unavailable.items():
            log.warning("No %s: %s", name.replace("/", " with "), reason)
        return evaluation

    def _hand_in(self, outbox: Outbox, run: Run, evaluation: Evaluation, fitted: Fitted) -> None:
        """Write the run's files into the outbox's folder, and hand all that was found to the tracker."""
        folder, cfg = outbox.folder, self.study.cfg
        outbox.set_tags(fitted.origin)
        outbox.log_metrics(fitted.quality)
        log_explained_data(outbox, self.study.data)
        keep(outbox, evaluation, self.study.data, OmegaConf.to_yaml(cfg, resolve=True), folder)
        about = self._about(len(evaluation.index), fitted.quality)
        with writing(folder):
            table, tag = notes.samples_table(evaluation, folder)
            outbox.log_file(table)
            outbox.set_tags({NOTE: notes.of_explanation(about, evaluation.measures, outbox.metrics), **tag})
            outbox.hand_over(run)
        log.info("%s: %d samples explained and scored, kept in %s", self.name, len(evaluation.index), folder)

    def _about(self, samples: int, quality: Mapping[str, float]) -> str:
        """What the method explains, in a sentence."""
        method, dataset, model = map(notes.plain, (self.name, *self.study.named("dataset", "model")))
        reached = "".join(f", {name.replace('_', ' ')} {value:.4g}" for name, value in quality.items())
        what = f"the {self.study.cfg.target} class of {samples} samples of **{dataset}**"
        return f"**{method}** explains {what} by **{model}**{reached}."

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Within a sweep, hold off other processes that would score the same."""
        parent = self.study.parent
        if not parent:
            yield
            return
        locks = Path(self.study.cfg.paths.outputs) / "locks"
        lock = FileLock(locks / f"{parent}-{self.fingerprint[:16]}.lock")
        with self.study.failing(self.name, self.fingerprint), writing(locks):
            locks.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()
