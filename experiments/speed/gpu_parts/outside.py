"""Where the time of a sweep's job goes that is not the device's: a profile of one job, its model trained before."""

from __future__ import annotations

import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from gpu_parts.commands import SMALL
from gpu_parts.sheet import Cell, Scale, Sheet
from lrp_bench.cli import configure
from lrp_bench.run import run

TABLE, PARTS = "A job of a sweep, its model trained before", "What its three largest parts are"
SHOWN = 3


def main(sheet: Sheet, scale: Scale) -> None:
    """Run a job to train the model and warm up; then one for its times and one for its profile."""
    small = SMALL if scale.size == "smoke" else ()
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)

        def job(rule: str) -> None:
            cfg = configure(f"rule={rule}", f"device={scale.device}", f"paths.outputs={folder}", *small)
            run(cfg, folder=folder / rule)

        job("epsilon")
        sheet.attempt(
            TABLE, "rule=alphabeta and the random row", lambda: shares(lambda: job("alphabeta"), scale.device)
        )
        for name, cells in largest(lambda: job("zplus")).items():
            sheet.put(PARTS, name, **cells)


def shares(job: Callable[[], None], device: str) -> Mapping[str, Cell]:
    """Seconds in all, and those in which the device computed: its kernels, or on a CPU torch's operators."""
    activity = ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU
    began = time.perf_counter()
    with profile(activities=[activity], acc_events=True) as seen:
        job()
        if device == "cuda":
            torch.cuda.synchronize()
        whole = time.perf_counter() - began
    name = "self_device_time_total" if device == "cuda" else "self_cpu_time_total"
    busy = sum(getattr(event, name) for event in seen.key_averages()) / 1e6
    kind = "kernels of the GPU" if device == "cuda" else "operators of torch"
    return {"seconds": whole, kind: busy, "outside of them": whole - busy, "share outside": (whole - busy) / whole}


def largest(job: Callable[[], None]) -> Mapping[str, Mapping[str, Cell]]:
    """What lrp_bench/run.py calls, by the time spent in it: disjoint parts of a job."""
    profiler = cProfile.Profile()
    profiler.runcall(job)
    stats: Mapping[tuple[str, int, str], tuple[object, ...]] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    whole = max(row[3] for row in stats.values())
    spent: dict[str, float] = {}
    for (file, _, function), (*_, callers) in stats.items():
        if file.endswith("lrp_bench/run.py"):
            continue
        seconds = sum(times[3] for caller, times in callers.items() if caller[0].endswith("lrp_bench/run.py"))
        place = f"{Path(file).parent.name}/{Path(file).name}: {function}"
        spent[place] = spent.get(place, 0.0) + seconds
    first = sorted(spent, key=spent.__getitem__, reverse=True)[:SHOWN]
    return {place: {"seconds, profiled": spent[place], "share": spent[place] / whole} for place in first}
