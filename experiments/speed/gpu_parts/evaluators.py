"""Is every evaluator right on the device? Each of conf/metric on small data that it applies to, beside the CPU."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from gpu_parts.setups import BATCH, CLASSES, NETWORKS, Setup, differences, exact, gathered
from gpu_parts.sheet import Cell, Scale, Sheet
from lrp_bench.cli import CONF, configure
from lrp_bench.contracts import Batch
from lrp_bench.evaluation import Evaluation, evaluate
from lrp_bench.models import MLP, SequenceLSTM
from lrp_bench.models.kept import Kept
from lrp_bench.run import build

TABLE = "Evaluators"
TIMES = {"cost"}  # what it measures differs from run to run
SMALLER = {
    "samek": ("metric.samek.unit.size=4", "metric.samek.steps=16", "metric.samek.draws=2"),
    "flipping_bluecher": ("metric.flipping_bluecher.unit.segments=9", "metric.flipping_bluecher.draws=2"),
    "naopc": ("metric.naopc.beam=2", "+metric.naopc.unit._target_=lrp_bench.metrics.flipping.Patches", "+metric.naopc.unit.size=8"),
    "robustness": ("metric.robustness.draws=3", "metric.robustness.removals=10"),
    "smprt": ("metric.smprt.draws=3",),
    "uncertainty": ("metric.uncertainty.members=2",),
    "selection": ("metric.selection.shares=[25]",),
}


@dataclass(frozen=True)
class Samples:
    """A network of gpu_parts.setups, or one here, and what it is shown; dataset: whose options the metric reads."""

    network: str
    dataset: str = "digits"


DATA = {
    "word_deletion": Samples("LSTM"),
    "summands": Samples("sequence", "arithmetic"),
    "relevance": Samples("table", "iris"),
    "permutation": Samples("table", "iris"),
}
MORE: Mapping[str, Any] = {
    "sequence": (lambda: SequenceLSTM([12], 1, features=3), lambda: torch.randn(BATCH, 12, generator=_seeded(3))),
    "table": (lambda: MLP([4], 3, hidden=[16]), lambda: torch.randn(BATCH, 4, generator=_seeded(4))),
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
    samples = DATA.get(name, Samples("residual CNN"))
    cfg = configured(name, samples.dataset)
    make, draw = (NETWORKS | MORE)[samples.network]
    x = draw()
    label = torch.arange(BATCH) % CLASSES if samples.dataset == "digits" else torch.arange(BATCH) % 3
    mask = x[:, 0] > 0 if x.dim() == 4 else None

    def retrain(*, twin: int = 0, keep: Tensor | None = None) -> nn.Module:
        torch.manual_seed(twin)
        other = make().to(setup.device, setup.dtype).eval().requires_grad_(requires_grad=False)
        return other if keep is None else Kept(other, keep)

    return evaluate(
        explainer=build(cfg.explainer),
        baselines=build(cfg.baselines),
        metrics=build(cfg.metric),
        batches=[Batch(_typed(x, setup), label, torch.arange(BATCH), mask)],
        model=setup.model(make),
        device=torch.device(setup.device),
        explain_label=name == "word_deletion",
        pictures=torch.arange(2),
        background=(_typed(x.flip(0), setup), label.flip(0)),
        retrain=retrain,
    )


@cache
def configured(name: str, dataset: str) -> Any:
    """The metric as conf/ has it, smaller where it is made for large pictures."""
    sizes = ["dataset.mean=0", "dataset.std=0.25"] if dataset == "digits" else []
    baselines = f"baselines={'gradient' if name == 'agreement' else 'none'}"
    return configure(f"metric=[{name}]", f"dataset={dataset}", baselines, *sizes, *SMALLER.get(name, ()))


def _typed(x: Tensor, setup: Setup) -> Tensor:
    return x.to(setup.dtype) if x.is_floating_point() else x


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
