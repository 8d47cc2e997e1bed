from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lrp_bench.contracts import Measure
from lrp_bench.report.numbers import statistics
from lrp_bench.report.store import artifacts
from lrp_bench.report.store.results import Failure, Results
from lrp_bench.tracking.mlflow import MLflowRun, MLflowTracker

MEASURES = {
    "agreement/saliency/spearman": Measure("Spearman with captum saliency", "agreement", True, -1.0, 1.0),
    "agreement/ig/spearman": Measure("Spearman with captum integrated gradients", "agreement", True, -1.0, 1.0),
    "conservation/error": Measure("Conservation error", "conservation", False, lower=0.0, summary="median"),
    "flipping/aopc_morf_probability": Measure("AOPC MoRF (probability)", "flipping", True, -1.0, 1.0),
    "flipping/srg_probability": Measure("SRG (probability)", "flipping", True, -1.0, 1.0),
    "flipping/ties": Measure("Ties", "flipping", None, 0.0, 1.0, headline=False),
}
Explain = Callable[..., MLflowRun]


@pytest.fixture(scope="session")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> MLflowTracker:
    """One store for all tests: MLflow takes seconds to make one. Each test opens a sweep of its own."""
    folder = tmp_path_factory.mktemp("store")
    return MLflowTracker(f"sqlite:///{folder}/mlflow.db", "tests", folder / "artifacts")


@pytest.fixture
def sweep(tracker: MLflowTracker, request: pytest.FixtureRequest) -> str:
    run = tracker.start(request.node.name, kind="sweep")
    tracker.end(run.id)
    return run.id


@pytest.fixture
def explain(tracker: MLflowTracker, sweep: str, tmp_path: Path) -> Explain:
    """Logs one explanation run as the benchmark does; values: measure -> (samples,), drawn where not given."""

    def log(
        method: str,
        values: Mapping[str, object] | None = None,
        *,
        dataset: str = "digits",
        model: str = "mlp",
        seed: int = 0,
        samples: object = range(20),
        measures: Mapping[str, Measure] = MEASURES,
        fingerprint: str | None = None,
        job: str | None = None,
        name: str | None = None,
        error: BaseException | None = None,
    ) -> MLflowRun:
        tags = {"dataset": dataset, "model": model, "method": method, "seed": str(seed)}
        tags |= {key: each for key, each in {"fingerprint": fingerprint, "job": job}.items() if each}
        run = tracker.start(name or f"{method} on {dataset}", kind="explanation", parent=sweep, tags=tags)
        if error is None:
            sample = np.asarray(samples)
            rng = np.random.default_rng([len(method), len(dataset), seed])
            drawn = {measure: rng.normal(0.5, 0.1, sample.size) for measure in measures}
            drawn |= {key: np.asarray(each, dtype=float) for key, each in (values or {}).items()}
            columns = {
                "sample": sample,
                "label": sample % 10,
                "prediction": sample % 10,
                "score": rng.normal(size=sample.size),
            }
            fractions = np.linspace(0, 1, 9)
            falls = np.exp(-4 * fractions) + rng.normal(0, 0.1, (sample.size, 9))
            holds = 1 - fractions**3 + rng.normal(0, 0.1, (sample.size, 9))
            curves = {"flipping/morf_probability": (fractions, falls), "flipping/lerf_probability": (fractions, holds)}
            for path in artifacts.write(tmp_path, samples=columns, values=drawn, measures=measures, curves=curves):
                run.log_file(path)
            run.log_metrics({**statistics.metrics(drawn), "explain_seconds": 0.1 * len(method)})
        tracker.end(run.id, error)
        return run

    return log


SMALL = {
    "agreement": Measure("Agreement", "agreement", True),
    "error": Measure("Error", "conservation", False),
    "ties": Measure("Ties", "flipping", None),
}
RUN_COLUMNS = ["name", "dataset", "model", "method", "seed", "settings", "samples", "seconds"]


@pytest.fixture(scope="session")
def results() -> Callable[..., Results]:
    """Makes Results without a tracker."""
    return _made


def _made(
    runs: Mapping[str, tuple[dict[str, object], Mapping[str, list[float]]]],
    measures: Mapping[str, Measure] = SMALL,
    samples: Mapping[str, list[int]] | None = None,
) -> Results:
    """runs: id -> (what differs from digits, mlp, seed 0; measure -> values)."""
    described, rows, points = {}, [], []
    for run, (tags, values) in runs.items():
        named = {
            "name": run,
            "dataset": "digits",
            "model": "mlp",
            "method": run,
            "seed": "0",
            "settings": {},
            "seconds": 1.0,
            **tags,
        }
        count = max((len(each) for each in values.values()), default=0)
        ids = (samples or {}).get(run, list(range(count)))
        described[run] = {**named, "samples": frozenset(ids)}
        for measure, each in values.items():
            rows += [{"run": run, "measure": measure, "sample": s, "value": v} for s, v in zip(ids, each, strict=True)]
            points += [
                ("flipping/lerf_logit", run, s, f, v + f) for s, v in zip(ids, each, strict=True) for f in (0.0, 1.0)
            ]
    return Results(
        sweep="id",
        name="sweep",
        runs=pd.DataFrame.from_dict(described, orient="index", columns=None if described else RUN_COLUMNS),
        frame=pd.DataFrame(rows, columns=["run", "measure", "sample", "value"]),
        curves=pd.DataFrame(points, columns=["curve", "run", "sample", "fraction", "value"]),
        layers=pd.DataFrame(columns=["run", "layer", "sample"]),
        maps={},
        outputs=pd.DataFrame(columns=["run", "sample", "label", "prediction", "score"]),
        measures=measures,
        failures=(Failure("digits", "mlp", "zbox", "no box"),),
        notes=(),
    )
