"""The user's command, run as the user runs it, and what it left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[3]
SMALL = ("samples=20", "trainer=fast", "baselines=gradient", "pictures=3")


@dataclass(frozen=True)
class Done:
    """code: the exit code; said: lines of what was printed, errors last."""

    code: int
    seconds: float
    said: Sequence[str]


def bench(outputs: Path, *arguments: str, seconds: float, before: str = "") -> Done:
    """Run the command with these arguments. before: Python that is run first, in the same process."""
    start = ["-c", f"{before}; from lrp_bench.cli import main; main()"] if before else ["-m", "lrp_bench"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "MLFLOW_DISABLE_TELEMETRY": "true", "COLUMNS": "200"}
    command, began = [sys.executable, *start, *arguments, f"paths.outputs={outputs}"], time.perf_counter()
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=max(seconds, 1), check=False
    )
    said = [line for line in (done.stdout + "\n" + done.stderr).splitlines() if line.strip()]
    return Done(done.returncode, time.perf_counter() - began, said)


def scores(outputs: Path) -> Mapping[str, pd.DataFrame]:
    """Of the latest sweep: job -> the values of its samples."""
    sweep = max((outputs / "sweeps").iterdir(), key=lambda path: path.name)
    found = {
        str(path.parent.relative_to(sweep)): pd.read_parquet(path) for path in sorted(sweep.rglob("scores.parquet"))
    }
    return {job: table.set_index("sample").select_dtypes("number") for job, table in found.items()}
