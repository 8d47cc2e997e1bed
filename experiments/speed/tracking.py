"""Time what MLflow adds to a run of about a minute: the same command with tracker=memory and with tracker=mlflow.

    python experiments/speed/tracking.py [--repeats 3] [--steps 1200] [--out FOLDER]

Whole processes, in turn, from their start to their end: what is added is importing MLflow, opening the store, logging
(the model too, where one is trained), and the table that is read back and shown. Once with a model that was trained
before, once with a training. Writes tracking.csv and tracking.md.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
from timing import write

TRACKERS = ("memory", "mlflow")
COMMAND = ("model=lenet", "samples=360", "batch_size=60", "metric=[conservation,flipping,agreement]", "threads=1")


def seconds(tracker: str, steps: int, outputs: Path) -> float:
    """Of one run; steps: of integrated gradients, which set how long it takes."""
    options = (f"tracker={tracker}", f"paths.outputs={outputs}")
    load = f"baselines.captum_integrated_gradients.n_steps={steps}"
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "lrp_bench", *COMMAND, load, *options], check=True, capture_output=True)
    return time.perf_counter() - began


def compared(repeats: int, steps: int, outputs: Path) -> pd.DataFrame:
    """Medians of both trackers, and of what is added within each pair."""
    rows = []
    seconds("mlflow", 1, outputs)  # the store is made once, and the first to read a file waits for the disk
    for task, trains in {"model trained before": False, "with a training": True}.items():
        pairs = []
        for _ in range(repeats):
            pair = {}
            for tracker in TRACKERS:
                if trains:
                    shutil.rmtree(outputs / "models")
                pair[tracker] = seconds(tracker, steps, outputs)
            pairs.append(pair)
        found = pd.DataFrame(pairs)
        found["added"] = found["mlflow"] - found["memory"]
        rows.append({"run": task, **found.median(), "least added": found["added"].min()})
        rows[-1] |= {"greatest added": found["added"].max(), "added %": 100 * rows[-1]["added"] / rows[-1]["memory"]}
    return pd.DataFrame(rows).set_index("run")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as outputs:
        table = compared(options.repeats, options.steps, Path(outputs))
    write(table, options.out / "tracking", "What MLflow adds to a run, in seconds")


if __name__ == "__main__":
    main()
