"""What the store holds of one experiment, as one tidy frame."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from lrp_bench.contracts import Measure
from lrp_bench.report.store.artifacts import Artifacts
from lrp_bench.report.store.collect import latest
from lrp_bench.report.store.results import current, newest

logger = logging.getLogger(__name__)

COLUMNS = ("run", "method", "dataset", "model", "seed", "column", "sample", "value")
OF_A_RUN = ("test_", "explain_seconds")  # metrics of the run itself, not of its samples


@dataclass(frozen=True)
class Evidence:
    """The numbers of the latest finished sweep of an experiment.

    frame: columns run, method, dataset, model, seed, column (a measure, score, prediction, or a number of the run),
    sample (NaN for a number of the run), value. measured: when, and with which versions. settings: run -> its flattened
    config. measures: name -> what it means.
    """

    frame: pd.DataFrame
    measured: str
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    measures: Mapping[str, Measure] = field(default_factory=dict)

    def setting(self, key: str) -> pd.Series[Any]:
        """Of each row of the frame what its run was made with: a choice (imputer) or a value (trainer.max_epochs)."""
        values = {run: each.get(f"names.{key}", each.get(key)) for run, each in self.settings.items()}
        return self.frame["run"].map(values)

    def higher_is_better(self, column: str) -> bool:
        """Whether more is better; so it is of what is no measure, such as an accuracy."""
        return column not in self.measures or self.measures[column].higher_is_better is not False


def gather(
    uri: str, experiment: str, preset: str, beside: Sequence[str] = (), sweep: str | None = None
) -> Evidence | None:
    """What was measured with experiment=PRESET, lately or in this sweep, and with the presets beside it; else None.

    Numbers of an older definition of a measure are left out, with a warning.
    """
    found = [latest(uri, experiment, preset, sweep), *(latest(uri, experiment, each) for each in beside)]
    if found[0] is None or not found[0][1]:
        return None
    explained = [pair for sweep in found if sweep for pair in sweep[1]]
    measures = newest(files for _, files in explained)
    frames = [frame for run, files in explained for frame in _frames(run, files, measures)]
    return Evidence(
        pd.concat(frames, ignore_index=True),
        _measured(found[0][0]),
        {run.info.run_id: run.data.params for run, _ in explained},
        measures,
    )


def _frames(run: Any, files: Artifacts, measures: Mapping[str, Measure]) -> Iterator[pd.DataFrame]:
    if older := sorted(set(files.measures) - set(current(files, measures))):
        logger.warning("%s was measured by an older definition, left out, of %s", run.info.run_name, ", ".join(older))
    identity = {key: run.data.tags.get(key, "") for key in ("method", "dataset", "model", "seed")}
    identity["run"] = run.info.run_id
    scores = files.scores.drop(columns=older).melt("sample", var_name="column", value_name="value")
    yield scores.assign(**identity)[list(COLUMNS)].astype({"value": float, "sample": float})
    own = {name: value for name, value in run.data.metrics.items() if name.startswith(OF_A_RUN)}
    whole = pd.DataFrame({"column": list(own), "value": list(own.values())})
    yield whole.assign(sample=float("nan"), **identity)[list(COLUMNS)].astype({"value": float})


def _measured(sweep: Any) -> str:
    day = pd.Timestamp(sweep.info.end_time, unit="ms").date()
    versions = {name: sweep.data.tags.get(f"version.{name}", "?") for name in ("lrp_bench", "torch")}
    return f"{day}, " + ", ".join(f"{name} {version}" for name, version in versions.items())
