"""The main job on the device: is its table that of the CPU, and the same bits when it is run twice?"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from gpu_parts.commands import SMALL, Done, bench, scores
from gpu_parts.sheet import Cell, Scale, Sheet

TABLE, BESIDE = "Main job", "Is it the same table?"
COMMAND = ("rule=epsilon,alphabeta", "--multirun")
NO_FORM = re.compile(r"([\w.:]+) does not have a deterministic implementation")


def main(sheet: Sheet, scale: Scale) -> None:
    """Run it, again, with the CPU explaining the same model, and whole on the CPU."""
    small = SMALL if scale.size == "smoke" else ()
    runs = {
        "first": ("first", (f"device={scale.device}", *small)),
        "again, nothing kept": ("again", (f"device={scale.device}", *small)),
    }
    if scale.device != "cpu":
        runs["explained on the CPU, trained by the first"] = ("first", ("device=cpu", *small))
        runs["whole on the CPU"] = ("cpu", ("device=cpu", "trainer.accelerator=cpu", *small))
    found: dict[str, Mapping[str, pd.DataFrame]] = {}
    with tempfile.TemporaryDirectory() as kept:
        for name, (folder, options) in runs.items():
            sheet.attempt(TABLE, name, partial(run, found, name, Path(kept) / folder, options, sheet.ends))
            if "first" in found and name in found and name != "first":
                sheet.attempt(BESIDE, f"{name}, beside the first", partial(beside, found[name], found["first"]))


def run(
    found: dict[str, Mapping[str, pd.DataFrame]], name: str, outputs: Path, options: tuple[str, ...], ends: float
) -> Mapping[str, Cell]:
    """One run of the command, its scores kept in `found`."""
    done = bench(outputs, *COMMAND, *options, seconds=ends - time.time())
    cells: dict[str, Cell] = {"options": " ".join(options), "seconds": done.seconds, "exit code": done.code}
    if done.code:
        return cells | {"note": " / ".join(done.said[-2:])[:300]}
    found[name] = scores(outputs)
    return cells | {"operators without a deterministic form": ", ".join(undetermined(done)) or "none was told"}


def undetermined(done: Done) -> list[str]:
    """The operators that torch names."""
    return sorted({name for line in done.said for name in NO_FORM.findall(line)})


def beside(these: Mapping[str, pd.DataFrame], those: Mapping[str, pd.DataFrame]) -> Mapping[str, Cell]:
    """Every value of every sample, and the means of the table."""
    apart, same, values = {}, 0, 0
    for job, b in those.items():
        a = these[job].loc[b.index, b.columns]
        same += int(((a == b) | (a.isna() & b.isna())).to_numpy().sum())
        values += a.size
        apart |= {f"{name} of job {job}": (column.abs().max(), abs(column.mean())) for name, column in (a - b).items()}
    found = pd.DataFrame(apart, index=["value", "mean"]).T.fillna(0.0)
    return {
        "values": values,
        "bit for bit the same": same,
        "largest difference of a value": float(found["value"].max()),
        "of a mean": float(found["mean"].max()),
        "which": str(found["mean"].idxmax()) if found["mean"].max() else "none",
    }
