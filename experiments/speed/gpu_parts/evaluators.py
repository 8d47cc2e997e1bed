"""Is every evaluator right on the device? Each of conf/metric on small data that it applies to, beside the CPU."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from gpu_parts.setups import BATCH, NETWORKS, Method, Setup, captured, differences, exact, gathered
from gpu_parts.sheet import Cell, Scale, Sheet
from lrp_bench.cli import CONF, configure
from lrp_bench.contracts import Batch
from lrp_bench.evaluation import Evaluation, evaluate
from lrp_bench.models.kept import Kept
from lrp_bench.run import build

TABLE = "Evaluators"
TIMES = {"cost"}  # what it measures differs from run to run
SMALLER = {
    "samek": ("metric.samek.unit.size=4", "metric.samek.steps=16", "metric.samek.draws=2"),
    "flipping_bluecher": ("metric.flipping_bluecher.unit.segments=9", "metric.flipping_bluecher.draws=2"),
    "naopc": (
        "metric.naopc.beam=2",
        "+metric.naopc.unit._target_=lrp_bench.metrics.flipping.Patches",
        "+metric.naopc.unit.size=8",
    ),
    "robustness": ("metric.robustness.draws=3", "metric.robustness.removals=10"),
    "smprt": ("metric.smprt.draws=3",),
    "uncertainty": ("metric.uncertainty.members=2",),
    "selection": ("metric.selection.shares=[25]",),
}


OTHERS = {  # what is for other data than pictures: the network, and the data set whose options the metric reads
    "word_deletion": ("LSTM", "digits"),
    "summands": ("LSTM of numbers", "arithmetic"),
    "relevance": ("MLP of a table", "iris"),
    "permutation": ("MLP of a table", "iris"),
}


def main(sheet: Sheet, scale: Scale) -> None:
    """Evaluate on the CPU and on the device, and compare every value of every sample."""
    exact()
    names = sorted(path.stem for path in (CONF / "metric").glob("*.yaml"))
    for name in ["conservation", "flipping"] if scale.size == "smoke" else names:
        sheet.attempt(TABLE, name, partial(compared, name, scale.device))


def compared(name: str, device: str) -> Mapping[str, Cell]:
    """The largest difference over all measures, each in units of its largest value; and seconds on the device."""
    seconds: dict[str, float] = {}

    def timed(setup: Setup) -> Mapping[str, Tensor]:
        began = time.perf_counter()
        values = evaluated(name, setup).values
        seconds[setup.device] = time.perf_counter() - began
        return values

    cells = differences(gathered(device, timed), device)
    if name in TIMES:
        cells = dict.fromkeys(cells, "times")
    return cells | {"seconds": seconds[device]}


def evaluated(name: str, setup: Setup) -> Evaluation:
    """LRP-epsilon of all samples under one metric."""
    network, dataset = OTHERS.get(name, ("residual CNN", "digits"))
    cfg, (lrp, x) = configured(name, dataset), captured(network, setup)
    label = torch.arange(BATCH) % 3

    def retrain(*, twin: int = 0, keep: Tensor | None = None) -> nn.Module:
        torch.manual_seed(twin)
        other = NETWORKS[network][0]().to(setup.device, setup.dtype).eval().requires_grad_(requires_grad=False)
        return other if keep is None else Kept(other, keep)

    return evaluate(
        explainer=partial(Method, lrp),
        baselines=build(cfg.baselines),
        metrics=build(cfg.metric),
        batches=[Batch(x, label, torch.arange(BATCH), x[:, 0] > 0 if x.dim() == 4 else None)],
        model=lrp.model,
        device=torch.device(setup.device),
        explain_label=name == "word_deletion",
        pictures=torch.arange(2),
        background=(x.flip(0), label.flip(0)),
        retrain=retrain,
    )


@cache
def configured(name: str, dataset: str) -> Any:
    """The metric as conf/ has it, smaller where it is made for large pictures."""
    sizes = ["dataset.mean=0", "dataset.std=0.25"] if dataset == "digits" else []
    baselines = f"baselines={'gradient' if name == 'agreement' else 'none'}"
    return configure(f"metric=[{name}]", f"dataset={dataset}", baselines, *sizes, *SMALLER.get(name, ()))
