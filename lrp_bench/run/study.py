"""What the methods of one job share: data, model, tracker and settings."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from lrp_bench import devices
from lrp_bench.contracts import NotApplicable, Run
from lrp_bench.data.protocol import DataSet
from lrp_bench.models.kept import Kept
from lrp_bench.run.config import build, check_settings, resolved
from lrp_bench.tracking.base import RunTracker
from lrp_bench.tracking.record import digest
from lrp_bench.training import Fitted, fit_or_load

log = logging.getLogger(__name__)

TWINS = 1000  # from a seed to that of its first twin: seeds below this share no twins


class Study:
    """One job: its config, and what is made of it once. parent: the sweep's run; tracker: None for the config's."""

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
    def data(self) -> DataSet:
        """The data set, read and cut."""
        data: DataSet = build(self.cfg.dataset)
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

    @cached_property
    def job(self) -> str:
        """A sha256 of the config as written, by which a job is known that failed before its fingerprint was."""
        return digest(OmegaConf.to_container(self.cfg, resolve=False))

    def named(self, *groups: str) -> list[str]:
        """The names of the chosen options."""
        return [self.cfg.names[group] for group in groups]

    def record(
        self, method: str, params: Mapping[str, object] = MappingProxyType({}), **facts: str
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
