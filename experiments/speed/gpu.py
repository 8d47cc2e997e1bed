"""Prove on a GPU, within 8 minutes, that all of lrp_bench is right and quick there; smaller on a CPU.

    python experiments/speed/gpu.py [--device auto] [--seconds N] [--smoke] [--only PART ...] [--out FOLDER]

Each part runs in a process of its own within its share of the time: one that fails, hangs or runs out of memory costs
nothing of the others, and its reason stands in gpu.md. gpu.md, gpu.csv and gpu.png are written after each part.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.context import BaseContext
from pathlib import Path

from gpu_parts.isolation import Outcome, Part, run_part, run_parts, started_by
from gpu_parts.pages import write
from gpu_parts.sheet import Scale, read

SECONDS = {"gpu": 450.0, "cpu": 180.0, "smoke": 120.0}
MACHINE = Part("machine", "gpu_parts.machine:main", 1)
PARTS = (
    Part("rules", "gpu_parts.rules:main", 40),
    Part("operators", "gpu_parts.operators:main", 15),
    Part("evaluators", "gpu_parts.evaluators:main", 35),
    Part("draws and memory", "gpu_parts.steadiness:main", 10),
    Part("main job", "gpu_parts.job:main", 120),
    Part("vgg16", "gpu_parts.quick:vgg16", 35),
    Part("resnet50", "gpu_parts.quick:resnet50", 35),
    Part("vit_b_16", "gpu_parts.quick:vit", 35),
    Part("causal", "gpu_parts.quick:causal", 35),
    Part("curves and training", "gpu_parts.work:main", 25),
    Part("sparing", "gpu_parts.sparing:main", 25),
    Part("outside", "gpu_parts.outside:main", 25),
    Part("variants", "gpu_parts.variants:main", 35),
    Part("CUDA graphs", "gpu_parts.variants:recorded", 15),
    Part("compiled", "gpu_parts.variants:compiled", 40),
)


def main(arguments: Sequence[str] | None = None, parts: Sequence[Part] = PARTS) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--seconds", type=float, help="for all parts together; 450 on a GPU, 180 on a CPU")
    parser.add_argument("--smoke", action="store_true", help="the least of everything, to see that it runs")
    parser.add_argument("--only", nargs="+", metavar="PART", help=", ".join(part.name for part in parts))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.only or ()) - {part.name for part in parts})
    if unknown:
        parser.error(f"expected parts among those of --help, got {', '.join(unknown)}: correct --only")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a part that runs is ended, too
    options.out.mkdir(parents=True, exist_ok=True)
    began = time.time()
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        context, first = probed(Scale(options.device, ""), folder)
        found = {str(line["row"]): str(line["value"]) for line in read(folder / f"{MACHINE.name}.jsonl")}
        device = found.get("device", "cpu")
        scale = Scale(device, "smoke" if options.smoke else "gpu" if device == "cuda" else "cpu")
        chosen = [part for part in parts if not options.only or part.name in options.only]

        def told(outcomes: Sequence[Outcome]) -> None:
            ended = outcomes[-1]
            print(
                f"{time.time() - began:5.0f} s  {ended.part}: {ended.reason or 'done'}, {ended.seconds:.0f} s",
                flush=True,
            )
            every = [first, *outcomes]
            waiting = [part.name for part in chosen[len(outcomes) :]]
            lines = [line for each in every for line in read(folder / f"{each.part}.jsonl")]
            write(lines, every, waiting, scale, options.out / "gpu")

        ends = began + (options.seconds or SECONDS[scale.size])
        run_parts(chosen, scale, folder, ends, context, told)
    print(f"Written to {options.out / 'gpu'}.md, .csv and .png")


def probed(scale: Scale, folder: Path) -> tuple[BaseContext, Outcome]:
    """How to start processes, and how the first one ended: forked ones are quicker, if the device works in them."""
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # whether there is a GPU, without touching it
    for method in ("forkserver", "spawn"):
        context = started_by(method)
        outcome = run_part(MACHINE, scale, folder, 60.0, context)
        if not outcome.reason:
            return context, outcome
    raise SystemExit(f"Expected a device that works, and it did not: {outcome.reason}")


if __name__ == "__main__":
    main()
