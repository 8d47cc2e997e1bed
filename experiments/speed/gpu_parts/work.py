"""Perturbation curves in forward passes, and a training in pictures a second."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from functools import partial

import torch
from timing import Work, clock, timed
from torch import nn

from gpu_parts.setups import exact
from gpu_parts.sheet import Cell, Scale, Sheet
from lrp_bench.cli import configure
from lrp_bench.metrics.flipping import Constant, PerturbationCurve
from lrp_bench.models import MiniVGG
from lrp_bench.run import Study

SHAPE = [3, 32, 32]
IMAGES = {"gpu": 256, "cpu": 8, "smoke": 4}
PICTURES = {"gpu": 20000, "cpu": 500, "smoke": 64}
BATCH = {"gpu": 256, "cpu": 64, "smoke": 16}
EPOCHS, STEPS = 2, 32
CURVES, TRAINING = "Perturbation curves", "Training MiniVGG"


def main(sheet: Sheet, scale: Scale) -> None:
    """Both."""
    exact()
    curves(sheet, scale)
    sheet.attempt(TRAINING, "a plain loop, pictures on the device", partial(plain, scale))
    precisions = ["32-true"] + (["16-mixed", "bf16-mixed"] if scale.device == "cuda" else [])
    for precision in precisions:
        sheet.attempt(TRAINING, f"lrp_bench, trainer.precision={precision}", partial(trained, scale, precision))


def curves(sheet: Sheet, scale: Scale) -> None:
    """32 steps, against as many forward passes in batches of the same size."""
    images, device = IMAGES[scale.size], torch.device(scale.device)
    torch.manual_seed(0)
    model = MiniVGG(SHAPE, 10).eval().requires_grad_(requires_grad=False).to(device)
    x, relevance = (torch.randn(images, *SHAPE, device=device) for _ in range(2))
    target = torch.zeros(images, dtype=torch.long, device=device)
    curve = PerturbationCurve(steps=STEPS, imputer=Constant(0.0), max_batch=images)

    @torch.no_grad()
    def forwards() -> None:
        for _ in range(STEPS + 1):
            model(x)

    works: dict[str, Work] = {
        f"{STEPS + 1} forward passes of {images} pictures": forwards,
        f"a curve of {STEPS} steps over them": lambda: curve(model, x, relevance, target),
    }
    found = timed(works, 5 if scale.size == "gpu" else 1, device)
    unit = found["seconds"].iloc[0] / (STEPS + 1)
    for name, row in found.iterrows():
        cells: dict[str, Cell] = {"seconds": row["seconds"], "forwards": row["seconds"] / unit, "peak MiB": row["MiB"]}
        sheet.put(CURVES, str(name), **cells)


def plain(scale: Scale) -> Mapping[str, Cell]:
    """One step after the other on the same pictures: what the network itself takes."""
    torch.manual_seed(0)
    model, batch = MiniVGG(SHAPE, 10).to(scale.device), BATCH[scale.size]
    x, label = torch.randn(batch, *SHAPE, device=scale.device), torch.arange(batch, device=scale.device) % 10
    optimizer, steps = torch.optim.Adam(model.parameters()), max(2, PICTURES[scale.size] // batch // 4)

    def run(times: int) -> None:
        for _ in range(times):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), label).backward()
            optimizer.step()

    run(2)
    seconds = clock(partial(run, steps), torch.device(scale.device))
    return {"batch": batch, "seconds": seconds, "pictures a second": steps * batch / seconds}


def trained(scale: Scale, precision: str) -> Mapping[str, Cell]:
    """By the project's own training with Lightning: validation, the best epoch kept, and all that is in its time."""
    pictures, batch = PICTURES[scale.size], BATCH[scale.size]
    with tempfile.TemporaryDirectory() as kept:
        cfg = configure(
            *(
                "dataset=synthetic",
                "dataset.shape=[3,32,32]",
                f"dataset.train={pictures}",
                "dataset.test=64",
                "samples=10",
            ),
            *("dataset.classes=10", f"trainer.batch_size={batch}", f"trainer.max_epochs={EPOCHS}", "model=minivgg"),
            *(f"device={scale.device}", f"trainer.accelerator={'gpu' if scale.device == 'cuda' else 'cpu'}"),
            *(f"trainer.precision={precision}", "tracker=memory", f"paths.outputs={kept}"),
        )
        began = time.perf_counter()
        metrics = Study(cfg, None).fitted(nn.Module.eval).metrics
        whole = time.perf_counter() - began
    seen = 0.9 * pictures * metrics["epochs"]
    return {
        "batch": batch,
        "seconds": metrics["seconds"],
        "pictures a second": seen / metrics["seconds"],
        "with data": whole,
    }
