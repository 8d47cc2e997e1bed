"""Explain every sample with one method and let every evaluator look."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lrp_bench.contracts import Batch, BenchError, Curve, Explainer, Measure, Scores


@dataclass(frozen=True)
class Evaluation:
    """What came out for one method; n samples, in the order of the explained subset, all on the CPU.

    index, label, prediction: (n,) int64; score: (n,), the explained output. values: measure -> (n,), NaN where
    undefined. inputs and
    relevance: (pictures, ...), the first samples. seconds: of the explanations alone. unavailable: baseline -> why it
    has no numbers.
    """

    index: Tensor
    label: Tensor
    prediction: Tensor
    score: Tensor
    values: Mapping[str, Tensor]
    measures: Mapping[str, Measure]
    curves: Mapping[str, Curve]
    inputs: Tensor
    relevance: Tensor
    seconds: float
    unavailable: Mapping[str, str]
    coverage: list[Any]


def evaluate(
    *,
    explainer: Callable[..., Explainer],
    baselines: Mapping[str, Callable[..., Explainer]],
    metrics: Mapping[str, Any],
    batches: Iterable[Batch],
    model: nn.Module,
    device: torch.device,
    explain_label: bool,
    pictures: int,
) -> Evaluation:
    """Run one method over all batches. explainer and baselines are called with model= and example= first."""
    seconds, unavailable = 0.0, dict[str, str]()
    rows: list[tuple[Tensor, ...]] = []
    shown: list[tuple[Tensor, Tensor]] = []
    method: Explainer | None = None
    references: dict[str, Explainer] = {}
    for metric in metrics.values():
        metric.to(device)
    for batch in batches:
        batch = Batch(batch.inputs.to(device), batch.label.to(device), batch.index.to(device))
        if method is None:
            method = made(explainer, model, batch.inputs)
            references = _available(baselines, model, batch.inputs, unavailable)
        began = _clock(device)
        explanation = method.explain(batch.inputs, batch.label if explain_label else None)
        seconds += _clock(device) - began
        compared = {name: r.explain(batch.inputs, explanation.target).relevance for name, r in references.items()}
        for metric in metrics.values():
            metric.update(explanation, model=model, baselines=compared)
        rows.append((batch.index, batch.label, explanation.logits.argmax(1), explanation.score))
        missing = pictures - sum(len(inputs) for inputs, _ in shown)
        shown.append((batch.inputs[:missing], explanation.relevance[:missing]))
    index, label, prediction, score = (torch.cat(column).cpu() for column in zip(*rows, strict=True))
    inputs, relevance = (torch.cat(column).cpu() for column in zip(*shown, strict=True))
    scores: list[Scores] = [metric.compute() for metric in metrics.values()]
    return Evaluation(
        index,
        label,
        prediction,
        score,
        {name: values.cpu() for s in scores for name, values in s.values.items()},
        {name: measure for s in scores for name, measure in s.measures.items()},
        {name: Curve(c.fractions.cpu(), c.scores.cpu()) for s in scores for name, c in s.curves.items()},
        inputs,
        relevance,
        seconds,
        unavailable,
        list(getattr(method, "coverage", [])),
    )


def _available(
    baselines: Mapping[str, Callable[..., Explainer]], model: nn.Module, example: Tensor, unavailable: dict[str, str]
) -> dict[str, Explainer]:
    """The baselines that can explain this model; the others are named with their reason."""
    built = {}
    for name, baseline in baselines.items():
        try:
            built[name] = made(baseline, model, example)
        except BenchError as error:
            unavailable[name] = str(error)
    return built


def made(explainer: Callable[..., Explainer], model: nn.Module, example: Tensor) -> Explainer:
    """The explainer for a model. Raises BenchError for a parameter that it does not have."""
    try:
        inspect.signature(explainer).bind(model=model, example=example)
    except (TypeError, ValueError) as error:
        name = getattr(getattr(explainer, "func", explainer), "__name__", str(explainer))
        reason = error.__cause__ or error
        raise BenchError(f"Expected parameters that {name} has, got: {reason}: correct the config.") from error
    return explainer(model=model, example=example)


def on_device(name: str) -> torch.device:
    """The device a config names; auto means a GPU where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise BenchError(
            f"Expected device to be auto, cpu or a GPU of this machine, got {name!r} ({reason}): correct device."
        ) from error


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
