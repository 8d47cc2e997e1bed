"""What does an explanation cost?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import median
from types import MappingProxyType

import torch

from lrp_bench.contracts import Explanation, Measure, NotApplicable, Scores
from lrp_bench.metrics.checks import check_whole
from lrp_bench.metrics.evaluators.base import Context, Evaluator
from lrp_bench.metrics.memory import peak_memory

_LEAST_SECONDS = 0.01  # what takes less is repeated until it takes this long
_MIB = 2**20


class Cost(Evaluator):
    """Time and memory of explaining a batch once more, when everything that is done only once has been done.

    Values, each the batch's: cost/seconds, per sample; cost/forwards, the time in units of one forward pass of the same
    batch without gradients; cost/memory, the peak of what is held beyond model and batch, in MiB per sample (see
    `peak_memory`). Larger batches cost less per sample: compare at one batch size.

    Args:
        repeats: measurements of which the median counts, explanations and forward passes in turn.
    """

    higher_is_better = False
    measures = MappingProxyType(
        {
            "cost/seconds": Measure("Seconds per sample", "cost", higher_is_better=False, lower=0.0, headline=False),
            "cost/forwards": Measure("Cost (forward passes)", "cost", higher_is_better=False, lower=0.0),
            "cost/memory": Measure("Peak MiB per sample", "cost", higher_is_better=False, lower=0.0, headline=False),
        }
    )

    def __init__(self, repeats: int = 3) -> None:
        check_whole("repeats", repeats)
        super().__init__("seconds", "forwards", "memory")
        self.repeats = repeats

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch."""
        x, model, method = explanation.inputs, context.model, context.method
        if method is None:
            raise NotApplicable("Expected an explainer that can be timed, got none: give the context its method")

        def explain() -> None:
            method.explain(x, explanation.target)

        @torch.no_grad()
        def forward() -> None:
            model(x)

        seconds, forward_seconds = self._measured(explain, forward, x.device)
        values = {
            "seconds": seconds / len(x),
            "forwards": seconds / forward_seconds,
            "memory": peak_memory(explain, x.device) / len(x) / _MIB,
        }
        self.keep(**{name: torch.full((len(x),), value, device=x.device) for name, value in values.items()})

    def compute(self) -> Scores:
        """The values of all samples seen since the last reset."""
        values = {f"cost/{name}": self.kept(name) for name in ("seconds", "forwards", "memory")}
        return Scores(values, dict(self.measures))

    def _measured(
        self, explain: Callable[[], None], forward: Callable[[], None], device: torch.device
    ) -> tuple[float, float]:
        """Median seconds of an explanation and of a forward pass."""
        calls = explain, forward
        times = [_times(call, device) for call in calls]
        turns = [[_seconds(call, device, n) for call, n in zip(calls, times, strict=True)] for _ in range(self.repeats)]
        explanations, forwards = zip(*turns, strict=True)
        return median(explanations), median(forwards)


def _times(call: Callable[[], None], device: torch.device) -> int:
    """How often a call must be repeated to take long enough for the clock; the first call of all does not count."""
    call()
    return math.ceil(_LEAST_SECONDS / max(_seconds(call, device), _LEAST_SECONDS / 100))


def _seconds(call: Callable[[], None], device: torch.device, times: int = 1) -> float:
    """Seconds that one of several calls takes."""
    began = _clock(device)
    for _ in range(times):
        call()
    return (_clock(device) - began) / times


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
