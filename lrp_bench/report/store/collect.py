"""Reads a sweep back from MLflow."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

import pandas as pd

from lrp_bench.contracts import BenchError
from lrp_bench.report.store import artifacts
from lrp_bench.report.store.results import IDENTITY, Explained, Failure, Results, assemble
from lrp_bench.tracking.record import DEVICE, PARENT, TRAINED_ON
from lrp_bench.tracking.store import Store, open_store, reaching

if TYPE_CHECKING:  # lrp_bench.tracking says how MLflow is to behave before it is imported
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

REASONS = {  # why a run of this status has no numbers, where it does not say so itself
    "SCHEDULED": "it has not started yet",
    "RUNNING": "not finished: still running, or its process ended without a word on another machine",
    "KILLED": "interrupted",
    "FAILED": "it failed without a reason that was kept",
}


def collect(uri: str, experiment: str, parent: str | None = None) -> Results:
    """Read a sweep's explanations back from MLflow.

    parent: a run id, the start of one, or a run name; None is the latest sweep that explained something. The id of a
    single explanation gives that one. A run that failed, or whose files are missing or damaged, is among the failures.
    BenchError where there is no such sweep.
    """
    store = open_store(uri, experiment)
    explanations = store.search({"kind": "explanation"})
    sweep = _choose(store, explanations, parent)
    runs = [run for run in explanations if sweep.info.run_id in (run.data.tags.get(PARENT), run.info.run_id)]
    read = [_read(store, run) for run in _latest_of_each(runs)]
    return assemble(
        sweep.info.run_id,
        sweep.info.run_name,
        [each for each in read if isinstance(each, Explained)],
        [each for each in read if isinstance(each, Failure)],
    )


def sweeps(uri: str, experiment: str) -> pd.DataFrame:
    """The sweeps of an experiment, oldest first: columns sweep, name, started, status, finished, failed.

    The same work counts once; what has not ended is neither finished nor failed.
    """
    store = open_store(uri, experiment)
    explanations = store.search({"kind": "explanation"})
    rows = [
        {
            "sweep": sweep.info.run_id,
            "name": sweep.info.run_name,
            "started": pd.Timestamp(sweep.info.start_time, unit="ms"),
            "status": sweep.info.status,
            "finished": _count(explanations, sweep, "FINISHED"),
            "failed": _count(explanations, sweep, "FAILED", "KILLED"),
        }
        for sweep in store.search({"kind": "sweep"})
    ]
    return pd.DataFrame(rows, columns=["sweep", "name", "started", "status", "finished", "failed"])


def _count(explanations: Sequence[Run], sweep: Run, *statuses: str) -> int:
    mine = _latest_of_each([run for run in explanations if run.data.tags.get(PARENT) == sweep.info.run_id])
    return sum(run.info.status in statuses for run in mine)


def _choose(store: Store, explanations: Sequence[Run], which: str | None) -> Run:
    candidates = store.search({"kind": "sweep"})
    if which is None:
        parents = {run.data.tags.get(PARENT) for run in explanations}
        found = [run for run in candidates if run.info.run_id in parents][-1:]
    else:
        pool = [*candidates, *explanations]
        found = [run for run in pool if run.info.run_id.startswith(which) or run.info.run_name == which]
    if len(found) != 1:
        many = ", ".join(f"{run.info.run_name} ({run.info.run_id})" for run in found) or "none"
        raise BenchError(
            f"Expected one sweep {which or 'with explanations'} in {store.uri}, got {many}: "
            "`python -m lrp_bench.report --list` shows what there is."
        )
    return found[0]


def _latest_of_each(runs: Sequence[Run]) -> list[Run]:
    """The same work done twice, by two jobs that raced or after a failure, counts once: the last that finished.

    A job that failed before its fingerprint was known is known by its config.
    """
    finished = {_job(run) for run in runs if run.info.status == "FINISHED"}
    kept: dict[object, Run] = {}
    for run in sorted(runs, key=lambda run: run.info.status == "FINISHED"):
        done, fingerprint = run.info.status == "FINISHED", run.data.tags.get("fingerprint")
        if fingerprint or done or _job(run) not in finished:
            kept[fingerprint or (run.info.run_id if done else _job(run))] = run
    chosen = {run.info.run_id for run in kept.values()}
    return [run for run in runs if run.info.run_id in chosen]


def _job(run: Run) -> tuple[str, ...]:
    tags: Mapping[str, str] = run.data.tags
    return (tags["job"], _tag(run, "method")) if "job" in tags else (run.info.run_id,)


def _explained(run: Run, found: artifacts.Artifacts) -> Explained:
    tags: Mapping[str, str] = run.data.tags
    prefix = artifacts.UNAVAILABLE
    return Explained(
        run=run.info.run_id,
        name=run.info.run_name,
        **{key: _tag(run, key) for key in IDENTITY},
        settings=_settings(run),
        unavailable={key.removeprefix(prefix): tags[key] for key in tags if key.startswith(prefix)},
        artifacts=found,
        seconds=run.data.metrics.get("explain_seconds", float("nan")),
    )


def _settings(run: Run) -> dict[str, str]:
    """The config as it was written, but for the devices: as they were found."""
    tags: Mapping[str, str] = run.data.tags
    found = {"device": tags.get(DEVICE), f"trainer.{TRAINED_ON}": tags.get(TRAINED_ON)}
    return {**run.data.params, **{key: value for key, value in found.items() if value}}


def _tag(run: Run, key: str) -> str:
    return str(run.data.tags.get(key, run.info.run_name if key == "method" else "unknown"))


def _read(store: Store, run: Run) -> Explained | Failure:
    """A run's numbers, or the reason why there are none."""
    dataset, model, method = (_tag(run, key) for key in ("dataset", "model", "method"))
    if run.info.status != "FINISHED":
        return Failure(dataset, model, method, _reason(run))
    try:
        with _files(store, run) as folder:
            return _explained(run, artifacts.read(folder))
    except (OSError, ValueError, BenchError) as error:
        return Failure(dataset, model, method, f"its numbers cannot be read: {error}")


def _reason(run: Run) -> str:
    told: str = run.data.tags.get("error", "").removeprefix("BenchError: ")
    if told and run.info.status == "KILLED":
        return f"{REASONS['KILLED']} ({told})"
    return told or REASONS[run.info.status]


@contextmanager
def _files(store: Store, run: Run) -> Iterator[Path]:
    """The folder of a run's files: where they lie, or what a server sends of them."""
    place = urlparse(run.info.artifact_uri)
    if place.scheme == "file":
        yield Path(url2pathname(place.path))
        return
    with TemporaryDirectory() as folder:
        with reaching(store.uri):
            there = {item.path for item in store.client.list_artifacts(run.info.run_id)}
            for name in there.intersection(artifacts.FILES):
                store.client.download_artifacts(run.info.run_id, name, folder)
        yield Path(folder)


def latest(
    uri: str, experiment: str, preset: str, sweep: str | None = None
) -> tuple[Run, list[tuple[Run, artifacts.Artifacts]]] | None:
    """The latest finished sweep of a preset (experiment=NAME, nothing else changed), and its explanations with numbers.

    sweep: the run id of one of them instead of the latest. None where there is no such sweep. An explanation whose
    files are missing or damaged is left out, with a warning.
    """
    store = open_store(uri, experiment)
    found = [run for run in _finished(store, preset) if sweep in (None, run.info.run_id)]
    if not found:
        return None
    explained = []
    for run in _latest_of_each(store.search({"kind": "explanation", PARENT: found[-1].info.run_id}, "FINISHED")):
        each = _read(store, run)
        if isinstance(each, Failure):
            logger.warning("%s on %s (%s) is left out: %s", each.method, each.dataset, each.model, each.reason)
        else:
            explained.append((run, each.artifacts))
    return found[-1], explained


def latest_id(uri: str, experiment: str, preset: str) -> str:
    """The run id of a preset's latest finished sweep. BenchError where there is none."""
    found = _finished(open_store(uri, experiment), preset)
    if not found:
        raise BenchError(
            f"Expected a finished sweep of experiment={preset} in {uri}, got none: run it first, "
            f"python -m lrp_bench experiment={preset}"
        )
    return str(found[-1].info.run_id)


def _finished(store: Store, preset: str) -> list[Run]:
    return store.search({"kind": "sweep", "experiment": preset}, "FINISHED")
