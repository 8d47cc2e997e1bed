"""Runs in MLflow, by MlflowClient alone: no active run, no global address, so processes and threads can share it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Unpack

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Experiment, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from lrp_bench.contracts import BenchError, RunFacts
from lrp_bench.tracking import preflight, provenance
from lrp_bench.tracking.base import RunTracker
from lrp_bench.tracking.load import Load
from lrp_bench.tracking.record import MESSAGE_LENGTH, PARENT, clean, finite, flatten, outcome, tag_text, without_secrets
from lrp_bench.tracking.store import Store, connect, make_database, reaching

if TYPE_CHECKING:
    from torch import Tensor, nn

logger = logging.getLogger(__name__)

METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100


class MLflowRun:
    """One run of an MLflow store."""

    def __init__(self, run_id: str, store: Store, measured: int | None = None) -> None:
        self.id = run_id
        self._store = store
        self._measured = measured  # milliseconds since 1970; None is now

    def at(self, seconds: float) -> MLflowRun:
        """The same run, whose metrics bear this time: MLflow keeps what is logged twice at one time once."""
        return MLflowRun(self.id, self._store, int(1000 * seconds))

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Record numbers; values that are not finite are left out."""
        self._log([Metric(name, value, self._time(), step) for name, value in finite(metrics).items()])

    def log_curve(self, name: str, values: Sequence[float], steps: Sequence[int]) -> None:
        """Record one metric at several steps."""
        points = [(finite({name: value}), step) for value, step in zip(values, steps, strict=True)]
        self._log([Metric(clean(name), *point.values(), self._time(), step) for point, step in points if point])

    def log_file(self, path: Path, folder: str = "") -> None:
        """Store a copy of a file as an artifact."""
        with reaching(self._store.uri):
            self._store.client.log_artifact(self.id, str(path), folder or None)

    def log_data(self, name: str, digest: str, split: str, facts: Mapping[str, object]) -> None:
        """Record which data the run used; MLflow's page lists them as its inputs."""
        data = Dataset(name, digest, "local", json.dumps({"dataset": name}), profile=json.dumps(facts, default=str))
        used = [DatasetInput(data, [InputTag("mlflow.data.context", split)])]
        with reaching(self._store.uri):
            try:
                self._store.client.log_inputs(self.id, used)
            except MlflowException as error:
                if error.error_code != "BAD_REQUEST":
                    raise
                self._store.client.log_inputs(self.id, used)  # of jobs that name new data at once, one enters them

    def log_model(self, model: nn.Module, example: Tensor) -> None:
        """Keep a model as an MLflow model, which loads without its source code; one that cannot be exported is not."""
        from lrp_bench.tracking.packaged import package, upload

        with TemporaryDirectory() as folder:
            try:
                described = package(model, example, Path(folder) / "model")
            except Exception as error:  # torch.export can fail in any way
                reason = next(iter(str(error).splitlines()), "")[:MESSAGE_LENGTH]
                logger.info("MLflow gets no %s: %s: %s", type(model).__name__, type(error).__name__, reason)
                return
            with reaching(self._store.uri):
                tags = upload(self._store, self.id, type(model).__name__, described, Path(folder) / "model")
        self.set_tags(tags)

    def log_params(self, params: Mapping[str, object]) -> None:
        """Record settings, nested ones under dotted keys; a parameter can be set only once."""
        rows = [Param(key, value) for key, value in flatten(params).items()]
        for start in range(0, len(rows), PARAMS_PER_BATCH):
            with reaching(self._store.uri):
                self._store.client.log_batch(self.id, params=rows[start : start + PARAMS_PER_BATCH])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or replace tags."""
        with reaching(self._store.uri):
            self._store.client.log_batch(self.id, tags=[RunTag(key, value) for key, value in tag_text(tags).items()])

    def _time(self) -> int:
        return _now() if self._measured is None else self._measured

    def _log(self, metrics: list[Metric]) -> None:
        for start in range(0, len(metrics), METRICS_PER_BATCH):
            with reaching(self._store.uri):
                self._store.client.log_batch(self.id, metrics=metrics[start : start + METRICS_PER_BATCH])


class MLflowTracker(RunTracker):
    """Keeps runs in one experiment of an MLflow store.

    uri: sqlite:///PATH (made where missing; relative to the current directory), http://HOST:PORT or a database address;
    artifacts: the folder of a new experiment's files, ignored by servers; timeout: seconds to wait for a server's first
    answer; system_metrics: seconds between two samples of the machine's load, 0 for none. Construction checks the
    store, and marks this host's runs whose process has died as KILLED.
    """

    def __init__(
        self, uri: str, experiment: str, artifacts: str | Path, timeout: float = 10, system_metrics: float = 0
    ) -> None:
        self.uri = preflight.absolute(uri)
        self.experiment = experiment
        self.artifacts = Path(artifacts).expanduser().resolve()
        self.timeout = timeout
        self._opened: dict[str, tuple[float, float]] = {}  # runs of this process: time, and processor time
        self._load = Load(self.uri, system_metrics)
        make_database(self.uri)
        client = connect(self.uri, timeout)
        with reaching(self.uri):
            self.store = Store(self.uri, client, self._experiment_id(client))
        self.mend()

    def __reduce__(self) -> tuple[type[MLflowTracker], tuple[str, str, Path, float, float]]:
        """Copies in other processes open their own connection."""
        return MLflowTracker, (self.uri, self.experiment, self.artifacts, self.timeout, self._load.interval)

    def start(self, name: str, **facts: Unpack[RunFacts]) -> MLflowRun:
        """Open a run that `end` closes."""
        kind = facts["kind"]
        held = {**provenance.describe(), **facts.get("tags", {}), "kind": kind, **_parent(facts.get("parent"))}
        with reaching(self.uri):
            info = self.store.client.create_run(self.store.experiment_id, tags=tag_text(held), run_name=name).info
        run = self.resume(info.run_id)
        self._opened[run.id] = time.time(), time.process_time()
        if kind != "sweep":
            self._load.watch(run.id)
        try:
            run.log_params(facts.get("params", {}))
        except BaseException as error:
            self.end(run.id, error)
            raise
        return run

    def end(self, run_id: str, error: BaseException | None = None) -> None:
        """Close a run: status, `error` tag, and what it cost (see `provenance.cost`)."""
        status, tags = outcome(error)
        try:
            if error is not None and self.uri.startswith("http"):
                preflight.check_server(self.uri, self.timeout)  # MLflow would ask one that is gone for half a minute
            with reaching(self.uri):
                self._close(run_id, status, tags)
        except BenchError as unreachable:
            if error is None:
                raise
            logger.warning("Run %s is not marked %s: %s", run_id, status, unreachable)  # `error` is the one to tell

    def reopen(self, run_id: str) -> None:
        """Go on with a run that ended, or whose process did, as one of this process; `end` adds to its seconds."""
        with reaching(self.uri):
            stored = self.store.client.get_run(run_id)
            self._forget_error(stored)
            self.store.client.update_run(run_id, status="RUNNING")
        self.resume(run_id).set_tags(provenance.describe())
        self._opened[run_id] = time.time() - stored.data.metrics.get("seconds", 0.0), time.process_time()

    def finish(self, run_id: str, ended: float) -> None:
        """Mark a run FINISHED as of then, in seconds since 1970, whatever it was marked before."""
        with reaching(self.uri):
            stored = self.store.client.get_run(run_id)
            self._forget_error(stored)
            self.resume(run_id).log_metrics({"seconds": ended - stored.info.start_time / 1000})
            self.store.client.set_terminated(run_id, "FINISHED", end_time=int(1000 * ended))

    def resume(self, run_id: str) -> MLflowRun:
        """A handle on a run that is there already, to add to it, also after it ended."""
        return MLflowRun(run_id, self.store)

    def find(self, *, kind: str, fingerprint: str, parent: str | None = None, status: str = "FINISHED") -> str | None:
        """The id of the latest run with this kind, `fingerprint` tag, status ("" is any) and, if given, parent."""
        found = self.store.search({"kind": kind, "fingerprint": fingerprint, **_parent(parent)}, status)
        return found[-1].info.run_id if found else None

    def page(self, run_id: str) -> str:
        """Where a reader finds a run: a link where there is a server, else the store."""
        public = without_secrets(self.uri)
        if not public.startswith("http"):
            return public
        place = f"experiments/{self.store.experiment_id}/runs/{run_id}"
        return f"{public}/#/{place}?workflowType=machine_learning"  # without that MLflow opens its GenAI view

    def children(self, parent: str) -> list[str]:
        """Ids of the runs whose parent is this run, in the order they started."""
        return [run.info.run_id for run in self.store.search(_parent(parent))]

    def discard_if_empty(self, run_id: str) -> bool:
        """Delete a run that has no children, such as the parent of a sweep that never began; whether it was deleted."""
        if self.children(run_id):
            return False
        with reaching(self.uri):
            self.store.client.delete_run(run_id)
        return True

    def mend(self) -> list[str]:
        """Mark as KILLED the RUNNING runs whose process on this host is gone; their ids."""
        running = self.store.search({"host": provenance.HOST}, "RUNNING")
        gone = [run for run in running if not provenance.alive(run.data.tags)]
        for run in gone:
            self.resume(run.info.run_id).set_tags({"error": f"process {run.data.tags['pid']} ended within the run"})
            with reaching(self.uri):
                self.store.client.set_terminated(run.info.run_id, "KILLED")
            logger.warning("Run %s (%s) was interrupted: marked KILLED.", run.info.run_name, run.info.run_id)
        return [run.info.run_id for run in gone]

    def _close(self, run_id: str, status: str, tags: Mapping[str, str]) -> None:
        self._load.leave(run_id)
        run = self.resume(run_id)
        if tags:
            run.set_tags(tags)
        began, cpu_began = self._opened.pop(run_id, (float("nan"), float("nan")))
        run.log_metrics(provenance.cost(time.time() - began, cpu_began))
        self.store.client.set_terminated(run_id, status)

    def _forget_error(self, run: Run) -> None:
        if "error" in run.data.tags:
            self.store.client.delete_tag(run.info.run_id, "error")

    def _experiment_id(self, client: MlflowClient) -> str:
        found = client.get_experiment_by_name(self.experiment) or self._create_experiment(client)
        if found.lifecycle_stage != "active":
            raise BenchError(
                f"Expected an active experiment, got the deleted {self.experiment!r}: restore it "
                f"(mlflow experiments restore -x {found.experiment_id}) or choose another tracker.experiment."
            )
        return str(found.experiment_id)

    def _create_experiment(self, client: MlflowClient) -> Experiment:
        local = not self.uri.startswith("http")
        if local:
            preflight.check_folder(self.artifacts)
        try:
            client.create_experiment(self.experiment, self.artifacts.as_uri() if local else None)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another process was first
                raise
        return client.get_experiment_by_name(self.experiment)


def _parent(parent: str | None) -> dict[str, str]:
    return {PARENT: parent} if parent else {}


def _now() -> int:
    return time.time_ns() // 1_000_000
