"""What a tracking store holds about a sweep, as one tidy frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from lrp_bench.contracts import BenchError, Measure
from lrp_bench.report import artifacts
from lrp_bench.tracking.mlflow import Store, open_store

PARENT = "mlflow.parentRunId"
IDENTITY = ("dataset", "model", "method", "seed")


@dataclass(frozen=True)
class Failure:
    """A run without numbers, and why."""

    dataset: str
    model: str
    method: str
    reason: str


@dataclass(frozen=True)
class Results:
    """A sweep, read back.

    frame: one row per run x measure x sample, columns run, dataset, model, method, seed, measure, sample, value;
    curves: one row per point, columns run, curve, sample, fraction, value; runs: indexed by run id in the order they
    started, columns name, dataset, model, method, seed, samples (frozenset); notes: what a reader must know.
    """

    sweep: str
    name: str
    runs: pd.DataFrame
    frame: pd.DataFrame
    curves: pd.DataFrame
    measures: Mapping[str, Measure]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]


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
    return _results(store, sweep, _latest_of_each(runs))


def sweeps(uri: str, experiment: str) -> pd.DataFrame:
    """The sweeps of an experiment, oldest first: columns sweep, name, started, status, finished, failed."""
    store = open_store(uri, experiment)
    explanations = store.search({"kind": "explanation"})
    rows = [
        {
            "sweep": sweep.info.run_id,
            "name": sweep.info.run_name,
            "started": pd.Timestamp(sweep.info.start_time, unit="ms"),
            "status": sweep.info.status,
            "finished": _count(explanations, sweep, finished=True),
            "failed": _count(explanations, sweep, finished=False),
        }
        for sweep in store.search({"kind": "sweep"})
    ]
    return pd.DataFrame(rows, columns=["sweep", "name", "started", "status", "finished", "failed"])


def _count(explanations: Sequence[Run], sweep: Run, *, finished: bool) -> int:
    mine = [run for run in explanations if run.data.tags.get(PARENT) == sweep.info.run_id]
    return sum((run.info.status == "FINISHED") == finished for run in mine)


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
    """The same work done twice, by two jobs that raced or after a failure, counts once: the last that finished."""
    kept: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: run.info.status == "FINISHED"):
        kept[run.data.tags.get("fingerprint", run.info.run_id)] = run
    chosen = {run.info.run_id for run in kept.values()}
    return [run for run in runs if run.info.run_id in chosen]


def _results(store: Store, sweep: Run, started: Sequence[Run]) -> Results:
    read: dict[str, artifacts.Artifacts] = {}
    failures = []
    for run in started:
        found = _read(store, run)
        if isinstance(found, str):
            failures.append(Failure(**{key: _tag(run, key) for key in ("dataset", "model", "method")}, reason=found))
        else:
            read[run.info.run_id] = found
    runs = _runs([run for run in started if run.info.run_id in read], read)
    measures = _newest(read.values())
    return Results(
        sweep=sweep.info.run_id,
        name=sweep.info.run_name,
        runs=runs,
        frame=_values(read, measures, runs),
        curves=_curves(read),
        measures=measures,
        failures=tuple(failures),
        notes=tuple(_outdated(read, measures, runs)),
    )


def _runs(runs: Sequence[Run], read: Mapping[str, artifacts.Artifacts]) -> pd.DataFrame:
    rows = [
        {
            "name": run.info.run_name,
            **{key: _tag(run, key) for key in IDENTITY},
            "samples": frozenset(read[run.info.run_id].scores["sample"]),
        }
        for run in runs
    ]
    index = pd.Index([run.info.run_id for run in runs], dtype=object)
    return pd.DataFrame(rows, columns=["name", *IDENTITY, "samples"], index=index, dtype=object)


def _tag(run: Run, key: str) -> str:
    return str(run.data.tags.get(key, run.info.run_name if key == "method" else "unknown"))


def _read(store: Store, run: Run) -> artifacts.Artifacts | str:
    """A run's files, or the reason why there are none."""
    if run.info.status != "FINISHED":
        told = run.data.tags.get("error", "").removeprefix("BenchError: ")
        return told or f"the run is {run.info.status}"
    try:
        with TemporaryDirectory() as folder:
            there = {item.path for item in store.client.list_artifacts(run.info.run_id)}
            for name in there & {artifacts.SCORES, artifacts.MEASURES, artifacts.CURVES}:
                store.client.download_artifacts(run.info.run_id, name, folder)
            return artifacts.read(Path(folder))
    except (OSError, ValueError, MlflowException) as error:
        return f"its numbers cannot be read: {error}"


def _newest(read: Iterable[artifacts.Artifacts]) -> dict[str, Measure]:
    newest: dict[str, Measure] = {}
    for found in read:
        for name, measure in found.measures.items():
            if name not in newest or measure.version > newest[name].version:
                newest[name] = measure
    return newest


def _current(found: artifacts.Artifacts, newest: Mapping[str, Measure]) -> list[str]:
    """The measures of a run that mean what the newest definition says."""
    return [name for name, measure in found.measures.items() if measure.version == newest[name].version]


def _outdated(
    read: Mapping[str, artifacts.Artifacts], newest: Mapping[str, Measure], runs: pd.DataFrame
) -> Iterator[str]:
    for run, found in read.items():
        if older := sorted(set(found.measures) - set(_current(found, newest))):
            name = runs["name"].loc[run]
            yield f"{name} was measured by an older definition, left out, of {', '.join(older)}"


def _values(read: Mapping[str, artifacts.Artifacts], newest: Mapping[str, Measure], runs: pd.DataFrame) -> pd.DataFrame:
    frames = [
        found.scores.melt("sample", _current(found, newest), "measure", "value").assign(run=run)
        for run, found in read.items()
    ]
    long = (
        pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["sample", "measure", "value", "run"])
    )
    for key in IDENTITY:
        long[key] = long["run"].map(runs[key])
    names = ["run", *IDENTITY, "measure"]
    return long.astype(dict.fromkeys(names, "category"))[[*names, "sample", "value"]]


def _curves(read: Mapping[str, artifacts.Artifacts]) -> pd.DataFrame:
    columns = ["run", *artifacts.CURVE_COLUMNS]
    frames = [found.curves.assign(run=run)[columns] for run, found in read.items() if len(found.curves)]
    points = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)
    return points.astype({"run": "category", "curve": "category"})
