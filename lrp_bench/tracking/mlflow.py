"""Runs in MLflow, by MlflowClient alone: no active run, no global address, so processes and threads can share it."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from lrp_bench.contracts import BenchError
from lrp_bench.tracking import preflight, provenance
from lrp_bench.tracking.base import RunTracker
from lrp_bench.tracking.record import clean, finite, flatten, outcome, tag_text

# MLflow reads these when it is imported. What the user has set stands.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")

from alembic.util import CommandError
from mlflow import MlflowClient
from mlflow.entities import Experiment, Metric, Param, RunTag
from mlflow.entities import Run as StoredRun
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

logger = logging.getLogger(__name__)
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it logs a traceback for what is raised anyway

METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100


@contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Turn what goes wrong with a store (server gone, disk full, file locked or missing) into a BenchError."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, CommandError, OSError) as error:
        cause = _root(error)
        raise BenchError(
            f"Expected the MLflow store {uri} to answer, got {type(cause).__name__}: {str(cause)[:500]}: check that it "
            "is reachable, and that its disk is writable and not full."
        ) from error


def _root(error: BaseException) -> BaseException:
    """What began it: MLflow wraps a full disk or a refused connection in pages of its own."""
    return _root(error.__cause__) if error.__cause__ else error


@dataclass(frozen=True)
class Store:
    """One experiment of an MLflow store, and the connection to it."""

    uri: str
    client: MlflowClient
    experiment_id: str

    def search(self, tags: Mapping[str, str], status: str = "") -> list[StoredRun]:
        """All runs with these tags and, if given, this status, in the order they started."""
        parts = [f"tags.`{key}` = '{value}'" for key, value in tags.items()]
        parts += [f"attributes.status = '{status}'"] * bool(status)
        found: list[StoredRun] = []
        token: str | None = ""
        while token is not None:
            with reaching(self.uri):
                page = self.client.search_runs(
                    [self.experiment_id], " and ".join(parts), order_by=["start_time ASC"], page_token=token or None
                )
            found += page
            token = page.token or None
        return found


def open_store(uri: str, experiment: str, timeout: float = 10) -> Store:
    """An experiment to read from; BenchError where the store or the experiment is missing."""
    uri = preflight.absolute(uri)
    client = _connect(uri, timeout)
    with reaching(uri):
        found = client.get_experiment_by_name(experiment)
    if found is None:
        raise BenchError(
            f"Expected the experiment {experiment!r} in {uri}, got none: name another, or run a sweep first."
        )
    return Store(uri, client, str(found.experiment_id))


class MLflowRun:
    """One run of an MLflow store."""

    def __init__(self, run_id: str, store: Store) -> None:
        self.id = run_id
        self._store = store

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Record numbers; values that are not finite are left out."""
        self._log([Metric(name, value, _now(), step) for name, value in finite(metrics).items()])

    def log_curve(self, name: str, values: Sequence[float], steps: Sequence[int]) -> None:
        """Record one metric at several steps."""
        points = [(finite({name: value}), step) for value, step in zip(values, steps, strict=True)]
        self._log([Metric(clean(name), *point.values(), _now(), step) for point, step in points if point])

    def log_file(self, path: Path, folder: str = "") -> None:
        """Store a copy of a file as an artifact."""
        with reaching(self._store.uri):
            self._store.client.log_artifact(self.id, str(path), folder or None)

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

    def _log(self, metrics: list[Metric]) -> None:
        for start in range(0, len(metrics), METRICS_PER_BATCH):
            with reaching(self._store.uri):
                self._store.client.log_batch(self.id, metrics=metrics[start : start + METRICS_PER_BATCH])


class MLflowTracker(RunTracker):
    """Keeps runs in one experiment of an MLflow store.

    uri: sqlite:///PATH (made where missing; relative to the current directory), http://HOST:PORT or a database address;
    artifacts: the folder of a new experiment's files, ignored by servers; timeout: seconds to wait for a server's first
    answer. Construction checks the store, and marks this host's runs whose process has died as KILLED.
    """

    def __init__(self, uri: str, experiment: str, artifacts: str | Path, timeout: float = 10) -> None:
        self.uri = preflight.absolute(uri)
        self.experiment = experiment
        self.artifacts = Path(artifacts).expanduser().resolve()
        self.timeout = timeout
        _make_database(self.uri)
        client = _connect(self.uri, timeout)
        with reaching(self.uri):
            self.store = Store(self.uri, client, self._experiment_id(client))
        self.mend()

    def __reduce__(self) -> tuple[type[MLflowTracker], tuple[str, str, Path, float]]:
        """Copies in other processes open their own connection."""
        return MLflowTracker, (self.uri, self.experiment, self.artifacts, self.timeout)

    def start(
        self,
        name: str,
        *,
        kind: str,
        parent: str | None = None,
        params: Mapping[str, object] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> MLflowRun:
        """Open a run that `end` closes."""
        held = tag_text({**provenance.describe(), **(tags or {}), "kind": kind, **_parent(parent)})
        with reaching(self.uri):
            info = self.store.client.create_run(self.store.experiment_id, tags=held, run_name=name).info
        run = self.resume(info.run_id)
        try:
            run.log_params(params or {})
        except BaseException as error:
            self.end(run.id, error)
            raise
        return run

    def end(self, run_id: str, error: BaseException | None = None) -> None:
        """Close a run: status, `error` tag, and the metrics `seconds` and `peak_memory_mib`."""
        status, tags = outcome(error)
        try:
            with reaching(self.uri):
                self._close(run_id, status, tags)
        except BenchError as unreachable:
            if error is None:
                raise
            logger.warning("Run %s is not marked %s: %s", run_id, status, unreachable)  # `error` is the one to tell

    def resume(self, run_id: str) -> MLflowRun:
        """A handle on a run that is there already, to add to it, also after it ended."""
        return MLflowRun(run_id, self.store)

    def find(self, *, kind: str, fingerprint: str, parent: str | None = None, status: str = "FINISHED") -> str | None:
        """The id of the latest run with this kind, `fingerprint` tag, status ("" is any) and, if given, parent."""
        found = self.store.search({"kind": kind, "fingerprint": fingerprint, **_parent(parent)}, status)
        return found[-1].info.run_id if found else None

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
        run, began = self.resume(run_id), self.store.client.get_run(run_id).info.start_time
        if tags:
            run.set_tags(tags)
        run.log_metrics({"seconds": (_now() - began) / 1000, "peak_memory_mib": provenance.peak_memory()})
        self.store.client.set_terminated(run_id, status)

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
    return {"mlflow.parentRunId": parent} if parent else {}


def _connect(uri: str, timeout: float) -> MlflowClient:
    path = preflight.sqlite_path(uri)
    if path is not None:
        preflight.check_database(path)
    elif uri.startswith("http"):
        preflight.check_server(uri, timeout)
    with reaching(uri):
        return _client(uri)


def _make_database(uri: str) -> None:
    """Make a new SQLite store, whole or not at all: half-migrated ones, by a race or by Ctrl-C, stay unusable."""
    path = preflight.sqlite_path(uri)
    if path is None or preflight.holds_data(path):
        return
    preflight.check_folder(path.parent)
    with reaching(uri), FileLock(f"{path}.lock"):
        if not preflight.holds_data(path):
            draft = path.with_name(f".{path.name}.new")
            draft.unlink(missing_ok=True)
            _client(f"{preflight.SQLITE}{draft}")
            draft.replace(path)


def _client(uri: str) -> MlflowClient:
    with warnings.catch_warnings():  # MLflow's own models under SQLAlchemy 2.1
        warnings.filterwarnings("ignore", message="The ``noload`` loader strategy", category=DeprecationWarning)
        return MlflowClient(tracking_uri=uri)


def _now() -> int:
    return time.time_ns() // 1_000_000
