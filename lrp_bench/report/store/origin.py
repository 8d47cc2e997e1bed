"""Where a sweep's numbers come from: command, time, versions, models, and where its runs can be looked at."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import pandas as pd

from lrp_bench.report.store.conditions import trained
from lrp_bench.tracking.record import PARENT, without_secrets
from lrp_bench.tracking.store import Store, open_store

QUALITY = "test_"  # metrics of a run that are the model's


@dataclass(frozen=True)
class Origin:
    """Of one sweep.

    command: as typed; preset: experiment=NAME, in brackets what was changed about it; status: FINISHED, RUNNING, FAILED
    or KILLED; commit: empty for an installed package; versions: distribution -> version; quality: (dataset, model) ->
    name -> one number per training and seed; uri: of the store, without what is secret; pages: the address before a
    run's id, None where the store has no pages of its own.
    """

    sweep: str
    command: str
    preset: str
    status: str
    started: pd.Timestamp | None
    seconds: float
    commit: str
    versions: Mapping[str, str]
    quality: Mapping[tuple[str, str], Mapping[str, Sequence[float]]]
    uri: str
    pages: str | None

    def link(self, run: str) -> str | None:
        """The MLflow page of a run."""
        return f"{self.pages}{quote(run)}?workflowType=machine_learning" if self.pages else None


def origin(uri: str, experiment: str, sweep: str) -> Origin:
    """Read from MLflow where a sweep, or a single run, comes from. sweep: a run id."""
    store = open_store(uri, experiment)
    run: Any = store.client.get_run(sweep)
    tags = run.data.tags
    started, ended = (
        pd.Timestamp(each, unit="ms") if each else None for each in (run.info.start_time, run.info.end_time)
    )
    public = without_secrets(store.uri)
    pages = f"{public.rstrip('/')}/#/experiments/{store.experiment_id}/runs/"
    return Origin(
        sweep=sweep,
        command=_command(tags, run.data.params),
        preset=tags.get("experiment", ""),
        status=run.info.status,
        started=started,
        seconds=(ended - started).total_seconds() if started and ended else float("nan"),
        commit=_commit(tags),
        versions={key.removeprefix("version."): tags[key] for key in sorted(tags) if key.startswith("version.")},
        quality=_quality(store, run),
        uri=public,
        pages=pages if urlsplit(public).scheme in ("http", "https") else None,
    )


def _command(tags: Mapping[str, str], params: Mapping[str, str]) -> str:
    typed = shlex.split(tags.get("command", ""))[1:]  # the first word is a path of that machine
    return shlex.join(["python", "-m", "lrp_bench", *typed]) if typed else params.get("command", "")


def _commit(tags: Mapping[str, str]) -> str:
    commit = tags.get("mlflow.source.git.commit", "")
    return f"{commit[:12]} and changes that were not committed" if tags.get("git.dirty") == "true" else commit[:12]


def _quality(store: Store, sweep: Any) -> dict[tuple[str, str], dict[str, list[float]]]:
    """The same number of several methods is one model's: one for each training and seed."""
    children = store.search({"kind": "explanation", PARENT: sweep.info.run_id}) or [sweep]
    found: dict[tuple[str, str], dict[str, dict[tuple[str, str], float]]] = {}
    for run in children:
        tags = run.data.tags
        place = found.setdefault((tags.get("dataset", ""), tags.get("model", "")), {})
        for name, value in run.data.metrics.items():
            if name.startswith(QUALITY):
                place.setdefault(name, {})[trained(run.data.params), tags.get("seed", "")] = value
    return {
        key: {name: list(values.values()) for name, values in each.items()} for key, each in found.items() if any(each)
    }
