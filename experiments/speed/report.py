"""Time a report of many runs: the whole command, from an SQLite store to tables, figures and page.

    python experiments/speed/report.py [--runs 200] [--samples 500] [--store FOLDER]

Writes runs of ten methods under as many imputers as it takes, with drawn numbers, into a store (kept in FOLDER, and
used again where it is there), then runs `python -m lrp_bench.report` on them, and prints seconds and the peak of its
memory.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lrp_bench.contracts import Measure
from lrp_bench.report.store import artifacts, maps
from lrp_bench.report.store.maps import Maps
from lrp_bench.tracking.mlflow import MLflowTracker

EXPERIMENT = "speed"
METHODS = ("epsilon", "gamma", "zplus", "alphabeta", "flat", "wsquare", "epsilon_plus", "gradient", "ig", "random")
BASELINES = ("saliency", "input_x_gradient", "integrated_gradients")
LAYERS, POINTS, PICTURES, SIDE = 10, 33, 8, 28
MEASURES = {
    "conservation/error": Measure("Conservation error", "conservation", False, lower=0.0, summary="median"),
    "flipping/aopc_morf_probability": Measure("AOPC MoRF (probability)", "flipping", True),
    "flipping/srg_probability": Measure("SRG (probability)", "flipping", True),
    "flipping/ties": Measure("Ties", "flipping", None, headline=False),
    "sparseness/gini": Measure("Gini index", "sparseness", True),
    "cost/seconds": Measure("Seconds per sample", "cost", False, headline=False),
    **{f"agreement/{name}/spearman": Measure(f"Spearman with {name}", "agreement", True) for name in BASELINES},
    **{
        f"agreement/{name}/cosine": Measure(f"Cosine with {name}", "agreement", True, headline=False)
        for name in BASELINES
    },
}


def fill(tracker: MLflowTracker, runs: int, samples: int, draft: Path) -> None:
    """Log one sweep of drawn numbers."""
    rng = np.random.default_rng(0)
    sweep = tracker.start(f"{runs} runs of {samples} samples", kind="sweep")
    for place in range(runs):
        imputer, method = divmod(place, len(METHODS))
        params = {"names": {"method": METHODS[method], "imputer": f"imputer{imputer}"}, "dataset": {"seed": 0}}
        tags = {"dataset": "digits", "model": "lenet", "method": METHODS[method], "seed": "0"}
        run = tracker.start(str(place), kind="explanation", parent=sweep.id, params=params, tags=tags)
        for path in [*written(rng, method, samples, draft), maps.write(pictured(rng, samples), draft)]:
            run.log_file(path)
        run.log_metrics({"explain_seconds": float(rng.random())})
        tracker.end(run.id)
    tracker.end(sweep.id)


def written(rng: np.random.Generator, method: int, samples: int, draft: Path) -> list[Path]:
    """A run's files."""
    sample = np.arange(samples)
    parts = rng.normal(0, 0.01, (LAYERS, 3, samples))
    layers = {
        f"layer{place}": {"arrived": 1 + part.sum(0), "passed": np.ones(samples)}
        | dict(zip(("bias", "stabilizer", "rule"), part, strict=True))
        for place, part in enumerate(parts)
    }
    fractions = np.linspace(0, 1, POINTS)
    orders = {"morf": np.exp(-4 * fractions), "lerf": 1 - fractions**3}
    return artifacts.write(
        draft,
        samples={"sample": sample, "label": sample % 10, "prediction": sample % 10, "score": rng.random(samples)},
        values={name: rng.normal(0.1 * method, 1, samples) for name in MEASURES},
        measures=MEASURES,
        curves={
            f"flipping/{order}_probability": (fractions, curve + rng.normal(0, 0.1, (samples, POINTS)))
            for order, curve in orders.items()
        },
        layers=layers,
    )


def pictured(rng: np.random.Generator, samples: int) -> Maps:
    """A run's maps."""
    sample, count = np.arange(samples)[:PICTURES], min(PICTURES, samples)
    titles = np.array([f"true {place % 10}\npredicted {place % 10}" for place in sample])
    inputs, R = rng.random((count, 1, SIDE, SIDE)), rng.normal(size=(count, SIDE, SIDE)).astype(np.float32)
    return Maps(sample, sample % 10, sample % 10, rng.random(count), titles, inputs, R)


def report(store: str, folder: Path) -> float:
    """Seconds of the command."""
    options = ("--uri", store, "--experiment", EXPERIMENT, "--out", str(folder))
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "lrp_bench.report", *options], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Fill a store where there is none, and report on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--store", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        store = options.store or Path(scratch) / "store"
        new = not (store / "mlflow.db").exists()
        tracker = MLflowTracker(f"sqlite:///{store}/mlflow.db", EXPERIMENT, store / "artifacts")
        if new:
            fill(tracker, options.runs, options.samples, Path(scratch))
        seconds = report(tracker.uri, Path(scratch) / "report")
        page = next(Path(scratch).glob("report/*/report.html")).stat().st_size
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{seconds:.1f} s, of a processor {used.ru_utime + used.ru_stime:.1f} s")
    print(f"peak memory: {used.ru_maxrss / 2**20:.2f} GiB; report.html: {page / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
