"""The connection to an MLflow store, and what is read from it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from alembic.util import CommandError
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from lrp_bench.contracts import BenchError
from lrp_bench.tracking import preflight
from lrp_bench.tracking.record import without_secrets

logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it logs a traceback for what is raised anyway


@contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Turn what goes wrong with a store (server gone, disk full, file locked or missing) into a BenchError."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, CommandError, OSError) as error:
        cause = _root(error)
        told = f"{type(cause).__name__}: {str(cause)[:500]}"
        raise BenchError(
            f"Expected the MLflow store {without_secrets(uri)} to answer, got {without_secrets(told)}: check that it "
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

    def search(self, tags: Mapping[str, str], status: str = "") -> list[Run]:
        """All runs with these tags and, if given, this status, in the order they started."""
        parts = [f"tags.`{key}` = '{value}'" for key, value in tags.items()]
        parts += [f"attributes.status = '{status}'"] * bool(status)
        found: list[Run] = []
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
    client = connect(uri, timeout)
    with reaching(uri):
        found = client.get_experiment_by_name(experiment)
    if found is None:
        raise BenchError(
            f"Expected the experiment {experiment!r} in {uri}, got none: name another, or run a sweep first."
        )
    return Store(uri, client, str(found.experiment_id))


def connect(uri: str, timeout: float) -> MlflowClient:
    """A connection to a store that answers; BenchError for one that is missing, damaged or silent."""
    path = preflight.sqlite_path(uri)
    if path is not None:
        preflight.check_database(path)
    elif uri.startswith("http"):
        preflight.check_server(uri, timeout)
    with reaching(uri):
        return _client(uri)


def make_database(uri: str) -> None:
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
