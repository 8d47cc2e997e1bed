"""Time pieces of work in turn, and write what came out as a table."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import torch

from lrp_bench.metrics.memory import peak_memory

Work = Callable[[], object]


def timed(contenders: Mapping[str, Work], repeats: int, device: torch.device) -> pd.DataFrame:
    """Median, least and greatest seconds, and peak memory, of each contender; they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    memory = {name: (work(), peak_memory(work, device) / 2**20)[1] for name, work in contenders.items()}
    for _ in range(repeats):
        for name, work in contenders.items():
            seconds[name].append(clock(work, device))
    rows = [(name, statistics.median(s), min(s), max(s), memory[name]) for name, s in seconds.items()]
    return pd.DataFrame(rows, columns=["contender", "seconds", "least", "greatest", "MiB"]).set_index("contender")


def clock(work: Work, device: torch.device) -> float:
    """Seconds of one run; on a GPU between two events on the device."""
    if device.type != "cuda":
        began = time.perf_counter()
        work()
        return time.perf_counter() - began
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    began.record()
    work()
    ended.record()
    torch.cuda.synchronize()
    return began.elapsed_time(ended) / 1000


def write(table: pd.DataFrame, path: Path, title: str, note: str = "") -> None:
    """As csv and as a Markdown table."""
    table.to_csv(path.with_suffix(".csv"), float_format="%.5g")
    shown = table.reset_index()
    cells = [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row] for row in shown.itertuples(index=False)]
    lines = [" | ".join(row) for row in ([*map(str, shown.columns)], ["---"] * shown.shape[1], *cells)]
    text = (
        f"# {title}\n\n{machine()}{note}\n\n" + "\n".join(f"| {line.replace('nan', 'n.a.')} |" for line in lines) + "\n"
    )
    path.with_suffix(".md").write_text(text)
    print(text)


def machine() -> str:
    """What the figures were measured on."""
    name = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{torch.get_num_threads()} threads of {processor()}"
    )
    return f"{name}; Python {platform.python_version()}, torch {torch.__version__}. Medians; seconds, MiB."


def processor() -> str:
    """The name of the processor."""
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        if info.exists()
        else []
    )
    return names[0] if names else platform.machine()
