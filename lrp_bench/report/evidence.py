"""What the store holds of one experiment, as one tidy frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lrp_bench.report.artifacts import Artifacts
from lrp_bench.report.collect import latest

COLUMNS = ("method", "dataset", "model", "seed", "column", "sample", "value")
OF_A_RUN = ("test_", "explain_seconds")  # metrics of the run itself, not of its samples


@dataclass(frozen=True)
class Evidence:
    """The numbers of the latest finished sweep of an experiment.

    frame: columns method, dataset, model, seed, column (a measure, score, prediction, or a number of the run), sample
    (NaN for a number of the run), value. measured: when, and with which versions.
    """

    frame: pd.DataFrame
    measured: str


def gather(uri: str, experiment: str, preset: str, sweep: str | None = None) -> Evidence | None:
    """What was measured with experiment=PRESET, lately or in this sweep; None where nothing was."""
    found = latest(uri, experiment, preset, sweep)
    if found is None or not found[1]:
        return None
    sweep, explained = found
    frames = [frame for run, files in explained for frame in _frames(run, files)]
    return Evidence(pd.concat(frames, ignore_index=True), _measured(sweep))


def _frames(run: Any, files: Artifacts) -> Iterator[pd.DataFrame]:
    identity = {key: run.data.tags.get(key, "") for key in ("method", "dataset", "model", "seed")}
    scores = files.scores.melt("sample", var_name="column", value_name="value")
    yield scores.assign(**identity)[list(COLUMNS)].astype({"value": float, "sample": float})
    own = {name: value for name, value in run.data.metrics.items() if name.startswith(OF_A_RUN)}
    whole = pd.DataFrame({"column": list(own), "value": list(own.values())})
    yield whole.assign(sample=float("nan"), **identity)[list(COLUMNS)].astype({"value": float})


def _measured(sweep: Any) -> str:
    day = pd.Timestamp(sweep.info.end_time, unit="ms").date()
    versions = {name: sweep.data.tags.get(f"version.{name}", "?") for name in ("lrp_bench", "torch")}
    return f"{day}, " + ", ".join(f"{name} {version}" for name, version in versions.items())
