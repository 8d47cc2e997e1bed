"""What a user sees when a batch is too large, and whether max_batch bounds the memory."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch

from gpu_parts.commands import bench
from gpu_parts.setups import Method, exact
from gpu_parts.sheet import Cell, Scale, Sheet
from lrp_bench.contracts import Explanation
from lrp_bench.engine import LRP
from lrp_bench.engine.rules import Epsilon
from lrp_bench.metrics import Context, Flipping, Robustness
from lrp_bench.metrics.memory import peak_memory
from lrp_bench.models import MiniVGG

TOLD, BOUND = "A batch that is too large", "max_batch bounds the peak"
SHAPE = [3, 32, 32]
SAMPLES = {"gpu": 512, "cpu": 32, "smoke": 8}
SHORT = re.compile("out of memory|allocate memory", re.IGNORECASE)
ON_GPU = "import torch; torch.cuda.set_per_process_memory_fraction(0.02)"
ON_CPU = (
    "import resource, torch, lrp_bench.cli, lrp_bench.run; "
    "held = int(open('/proc/self/statm').read().split()[0]) * 4096; "
    "resource.setrlimit(resource.RLIMIT_AS, (held + 1200 * 2**20,) * 2)"
)


def main(sheet: Sheet, scale: Scale) -> None:
    """Both."""
    exact()
    most = SAMPLES[scale.size]
    for name, work in (("flipping", flipped), ("robustness", shaken)):
        for bound in (most // 4, most // 2, most, 4 * most)[:: 3 if scale.size == "smoke" else 1]:
            sheet.attempt(BOUND, f"{name}, max_batch={bound}", partial(work, scale, bound))
    if scale.size != "smoke":
        sheet.attempt(TOLD, "python -m lrp_bench, most of the memory taken away", partial(crowded, scale, sheet.ends))


def crowded(scale: Scale, ends: float) -> Mapping[str, Cell]:
    """A job whose batch cannot fit, since nearly all of the memory is forbidden to it."""
    pictures = 20000 if scale.device == "cuda" else 2000
    with tempfile.TemporaryDirectory() as kept:
        done = bench(
            *(
                Path(kept),
                "dataset=synthetic",
                "dataset.shape=[3,32,32]",
                "dataset.train=64",
                f"dataset.test={pictures}",
            ),
            *(
                f"samples={pictures}",
                f"batch_size={pictures}",
                "model=minivgg",
                "trainer=fast",
                "metric=[conservation]",
            ),
            *("baselines=none", "tracker=memory", f"device={scale.device}"),
            seconds=ends - time.time(),
            before=ON_GPU if scale.device == "cuda" else ON_CPU,
        )
    lines = [line.strip() for line in done.said if not line.startswith(("Error executing", "Set the environment"))]
    first = next((place for place, line in enumerate(lines) if SHORT.search(line)), len(lines) - 3)
    seen = re.sub(r"/\S+/", "", " / ".join(lines[first : first + 3])) if done.code else "no error"
    cells: dict[str, Cell] = {
        "pictures": pictures,
        "exit code": done.code,
        "says what to do": "yes" if "batch_size" in seen else "no",
        "seconds": done.seconds,
    }
    return cells | {"what the user sees": seen[:400]}


def setting(scale: Scale) -> tuple[torch.nn.Module, Explanation, Context]:
    """Samples, explained."""
    torch.manual_seed(0)
    model = MiniVGG(SHAPE, 10).eval().requires_grad_(requires_grad=False).to(scale.device)
    x = torch.randn(SAMPLES[scale.size], *SHAPE, device=scale.device)
    lrp = LRP(model, Epsilon(), example=x[:2])
    e = lrp(x[:8]) if len(x) <= 8 else lrp(x)
    plain = Explanation(e.inputs, e.logits, e.target, e.score, e.relevance)
    return model, plain, Context(model, method=Method(lrp, model, x), background=x[:8])


def flipped(scale: Scale, bound: int) -> Mapping[str, Cell]:
    """Flipping, whose forward passes are bounded."""
    _, explanation, context = setting(scale)
    metric = Flipping(steps=8, max_batch=bound)
    return peak(scale, partial(metric.update, explanation, context))


def shaken(scale: Scale, bound: int) -> Mapping[str, Cell]:
    """Robustness, whose explanations are."""
    _, explanation, context = setting(scale)
    metric = Robustness(draws=4, removals=4, max_batch=bound)
    return peak(scale, partial(metric.update, explanation, context))


def peak(scale: Scale, work: partial[None]) -> Mapping[str, Cell]:
    """MiB above what was held before, and seconds."""
    began = time.perf_counter()
    found = peak_memory(work, torch.device(scale.device)) / 2**20
    return {"samples": SAMPLES[scale.size], "peak MiB": found, "seconds": time.perf_counter() - began}
