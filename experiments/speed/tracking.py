"""Time what MLflow adds to a run, as a share of a minute: the same command with tracker=memory and with tracker=mlflow.

    python experiments/speed/tracking.py [--repeats 3] [--steps 300] [--out FOLDER]

Whole processes, in turn, from their start to their end: what is added is importing MLflow, opening the store, logging
(the model too, where one is trained), and the table that is read back and shown. Once with a model that was trained
before, once with a training. Processor seconds hold where the machine has other work. Writes tracking.csv and .md.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from timing import write

TRACKERS = ("memory", "mlflow")
COMMAND = ("model=lenet", "samples=360", "batch_size=60", "metric=[conservation,flipping,agreement]", "threads=1")


def spent(tracker: str, steps: int, outputs: Path) -> tuple[float, float]:
    """Seconds of one run, and of a processor; steps: of integrated gradients, which set how long it takes."""
    options = (f"tracker={tracker}", f"paths.outputs={outputs}")
    load = f"baselines.captum_integrated_gradients.n_steps={steps}"
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "lrp_bench", *COMMAND, load, *options], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compared(repeats: int, steps: int, outputs: Path) -> pd.DataFrame:
    """Medians of both trackers, and of what is added within each pair."""
    rows = []
    spent("mlflow", 1, outputs)  # the store is made once, and the first to read a file waits for the disk
    for task, trains in {"model trained before": False, "with a training": True}.items():
        pairs: dict[str, list[tuple[float, float]]] = {tracker: [] for tracker in TRACKERS}
        for _ in range(repeats):
            for tracker in TRACKERS:
                if trains:
                    shutil.rmtree(outputs / "models")
                pairs[tracker].append(spent(tracker, steps, outputs))
        memory, mlflow = (np.array(pairs[tracker]) for tracker in TRACKERS)
        added, row = np.median(mlflow - memory, axis=0), {"run": task}
        for place, clock in enumerate(("wall", "processor")):
            row[f"memory, {clock}"] = np.median(memory[:, place])
            row[f"mlflow, {clock}"] = np.median(mlflow[:, place])
            row[f"added, {clock}"] = added[place]
        rows.append({**row, "added, % of a minute": 100 * row["added, wall"] / 60})
    return pd.DataFrame(rows).set_index("run")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as outputs:
        table = compared(options.repeats, options.steps, Path(outputs))
    write(table, options.out / "tracking", "What MLflow adds to a run, in seconds")


if __name__ == "__main__":
    main()
