"""The program for a GPU runs on a CPU, and a part that fails costs nothing of the others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

SPEED = Path(__file__).parents[2] / "experiments" / "speed"

# parts that end in every way there is, the good ones between them
PARTS = """
import os, time

def good(sheet, scale):
    sheet.put("Good", "row", number=1.5)

def raises(sheet, scale):
    sheet.put("Begun", "row", number=2.5)
    raise ValueError("as it was meant")

def dies(sheet, scale):
    os.kill(os.getpid(), 9)

def hangs(sheet, scale):
    sheet.put("Hung", "row", number=3.5)
    time.sleep(600)

def last(sheet, scale):
    def broken():
        raise RuntimeError("this row alone")
    sheet.attempt("Last", "first", broken)
    sheet.attempt("Last", "second", lambda: {"number": 4.5})
"""
PROGRAM = """
import sys
sys.path[:0] = sys.argv[1:3]
from gpu import main
from gpu_parts.isolation import Part

if __name__ == "__main__":
    shares = {"good": 30, "raises": 30, "dies": 30, "hangs": 6, "last": 30}
    main(["--smoke", "--seconds", "130", "--out", sys.argv[2]], [Part(n, f"made_up:{n}", s) for n, s in shares.items()])
"""


def test_a_part_that_fails_dies_or_hangs_costs_nothing_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "made_up.py").write_text(PARTS)
    (tmp_path / "program.py").write_text(PROGRAM)
    subprocess.run([sys.executable, tmp_path / "program.py", SPEED, tmp_path], check=True, timeout=200)
    found = pd.read_csv(tmp_path / "gpu.csv").set_index(["table", "row", "column"])["value"]
    numbers = {table: float(found[table, "row", "number"]) for table in ("Good", "Begun", "Hung")}
    assert numbers == {"Good": 1.5, "Begun": 2.5, "Hung": 3.5}
    assert float(found["Last", "second", "number"]) == 4.5
    assert found["Last", "first", "note"] == "failed: RuntimeError: this row alone"
    page = (tmp_path / "gpu.md").read_text()
    for part, words in {
        "good": "done",
        "raises": "failed: ValueError: as it was meant",
        "dies": "ended by the system, SIGKILL: perhaps for want of memory",
        "hangs": "stopped at its limit of",
        "last": "done",
    }.items():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| {part} |"))
        assert words in row
    assert page.startswith("# CPU figures")
    assert (tmp_path / "gpu.png").stat().st_size > 0


def smoke(folder: Path, *arguments: str) -> pd.DataFrame:
    """The rows of the program at its smallest; no part may fail, and no row."""
    command = [sys.executable, SPEED / "gpu.py", "--smoke", "--device", "cpu", "--out", folder, *arguments]
    subprocess.run(command, check=True, timeout=550)
    found = pd.read_csv(folder / "gpu.csv")
    assert not found["value"].astype(str).str.contains("failed|left out").any()
    page = (folder / "gpu.md").read_text()
    ended = page[page.index("## How each part ended") : page.index("## What it was measured on")]
    assert "failed" not in ended
    assert "stopped" not in ended
    return found


def numbers(found: pd.DataFrame, table: str, column: str) -> pd.Series:
    rows = found[(found["table"] == table) & (found["column"] == column)]
    return rows.set_index("row")["value"].astype(float)


def test_it_measures_on_a_cpu(tmp_path: Path) -> None:
    found = smoke(tmp_path, "--seconds", "200", "--only", "rules", "operators", "causal")
    for table in ("Rules and composites", "Operators"):
        off = numbers(found, table, "float32 of the device beside float64")
        assert off.between(0.0, 1e-4).all()
        assert (off > 1e-9).mean() > 0.5  # measured, not assumed; an operator may round alike in both
    assert (numbers(found, "Rules and composites", "ledger open by, float64") < 1e-12).all()
    assert numbers(found, "Coverage of the table of operators", "number")["compared here"] > 0
    gradients = numbers(found, "Explanations: causal", "gradients")
    assert gradients["gradient, 2"] == 1
    assert {"lrp_bench epsilon, 2", "efficient form of AttnLRP, 2"} < set(gradients.index)
    assert numbers(found, "The efficient form beside AttnLRP", "largest difference, float64")["causal"] < 1e-6


@pytest.mark.slow
def test_every_part_runs_on_a_cpu(tmp_path: Path) -> None:
    found = smoke(tmp_path, "--seconds", "500")
    same = found[found["table"] == "Is it the same table?"].set_index("column")["value"]
    assert same["values"] == same["bit for bit the same"]
    assert len(found[found["table"] == "What its three largest parts are"]["row"].unique()) == 3
