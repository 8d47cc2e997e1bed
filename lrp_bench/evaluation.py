"""Explain every sample with one method and let every evaluator look."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lrp_bench.contracts import Batch, BenchError, Curve, Explainer, Explanation, Measure, NotApplicable, Panels, Scores
from lrp_bench.devices import sent
from lrp_bench.explainers.base import scored
from lrp_bench.explainers.given import Given
from lrp_bench.metrics.evaluators.base import Context, Evaluator, Retrain


@dataclass(frozen=True)
class Evaluation:
    """What came out for one method; n samples, in the order of the explained subset, all on the CPU.

    index: (n,) int64; label, prediction: (n,) int64, floating where the model has one output; score: (n,), the
    explained output. values: measure -> (n,), NaN where undefined. layers: layer -> quantity -> (n,), what was found
    within the model. pictured: (pictures,), places in `index`; inputs and relevance: (pictures, ...), of these samples.
    seconds: of the explanations alone.
    unavailable: what has no numbers, a metric or agreement/<baseline> -> why. panels: figure -> what it shows.
    """

    index: Tensor
    label: Tensor
    prediction: Tensor
    score: Tensor
    values: Mapping[str, Tensor]
    measures: Mapping[str, Measure]
    curves: Mapping[str, Curve]
    layers: Mapping[str, Mapping[str, Tensor]]
    pictured: Tensor
    inputs: Tensor
    relevance: Tensor
    seconds: float
    unavailable: Mapping[str, str]
    coverage: list[Any]
    panels: Mapping[str, Panels] = field(default_factory=dict)


def evaluate(
    *,
    explainer: Callable[..., Explainer],
    baselines: Mapping[str, Callable[..., Explainer]],
    metrics: Mapping[str, Any],
    batches: Iterable[Batch],
    model: nn.Module,
    device: torch.device,
    explain_label: bool,
    pictures: Tensor,
    background: tuple[Tensor, Tensor] | None = None,
    retrain: Retrain | None = None,
    step: Callable[[str], object] = str,
) -> Evaluation:
    """Run one method over all batches. explainer and baselines are called with model= and example= first.

    The baselines are explained only where a metric compares with them.

    pictures: indices, (pictures,) int64, of the samples whose maps are kept. background: training inputs (n, ...) that
    metrics may draw from, and their labels (n,). retrain: trains the model once more. step: called for each batch after
    the explanations and after each metric, with a word on what was done. A metric that does not apply to these data is
    named with its reason; where none applies, or two give values of one name, that is an error.
    """
    seconds, unavailable = 0.0, dict[str, str]()
    rows: list[tuple[Tensor, ...]] = []
    shown: list[tuple[Tensor, Tensor]] = []
    method: Explainer | None = None
    references: dict[str, Explainer] = {}
    asked = {name: metric.to(device) for name, metric in metrics.items()}
    drawn, drawn_label = (None, None) if background is None else (sent(each, device) for each in background)
    for batch in batches:
        kept = torch.isin(batch.index, pictures).nonzero()[:, 0].to(device, non_blocking=True)
        batch = _moved(batch, device)
        if method is None:
            method = made(explainer, model, example=batch.inputs)
            wanted = baselines if any(getattr(each, "compares", True) for each in metrics.values()) else {}
            references = _available(wanted, model, batch.inputs, unavailable)
            again = partial(made, explainer, example=batch.inputs)
        began = _clock(device)
        explanation = method.explain(batch.inputs, batch.label if explain_label else None)
        seconds += _clock(device) - began
        step("explanations")
        compared = _compared(references, batch.inputs, explanation.target, unavailable)
        context = Context(model, compared, method, again, batch.label, batch.mask, drawn, drawn_label, retrain)
        _update(asked, explanation, context, unavailable, step)
        check_names({name: getattr(metric, "measures", ()) for name, metric in asked.items()})
        rows.append((batch.index, batch.label, _predicted(explanation.logits), explanation.score))
        shown.append((batch.inputs[kept], explanation.relevance[kept]))
    index, label, prediction, score = (torch.cat(column).cpu() for column in zip(*rows, strict=True))
    inputs, relevance = (torch.cat(column).cpu() for column in zip(*shown, strict=True))
    found: dict[str, Scores] = {name: metric.compute() for name, metric in asked.items()}
    check_names({name: each.values for name, each in found.items()})
    scores = list(found.values())
    return Evaluation(
        index,
        label,
        prediction,
        score,
        {name: values.cpu() for s in scores for name, values in s.values.items()},
        {name: measure for s in scores for name, measure in s.measures.items()},
        {name: Curve(c.fractions.cpu(), c.scores.cpu()) for s in scores for name, c in s.curves.items()},
        {layer: {name: values.cpu() for name, values in q.items()} for s in scores for layer, q in s.layers.items()},
        torch.isin(index, pictures).nonzero()[:, 0],
        inputs,
        relevance,
        seconds,
        unavailable,
        list(getattr(method, "coverage", [])),
        {name: _on_cpu(panels) for s in scores for name, panels in s.panels.items()},
    )


def score(
    model: nn.Module,
    inputs: Tensor,
    relevance: Tensor,
    metrics: Sequence[Evaluator],
    *,
    label: Tensor | None = None,
    mask: Tensor | None = None,
    background: tuple[Tensor, Tensor] | None = None,
) -> Evaluation:
    """Measure relevance that anyone computed for the predicted class, or for `label` where it is given.

    model: gives (batch, classes), in eval mode; inputs: (batch, ...), relevance: of the same shape. label: (batch,)
    int64; mask: (batch, *positions) bool, where the evidence lies; background: see `evaluate`. A metric that needs the
    method itself, for other inputs, classes or weights, is in the result's `unavailable`, under its class.
    """
    index = torch.arange(len(inputs), device=inputs.device)
    given = Batch(inputs, scored(model, inputs, label)[1], index, mask)
    return evaluate(
        explainer=partial(Given, relevance=relevance),
        baselines={},
        metrics={type(metric).__name__: metric for metric in metrics},
        batches=[given],
        model=model,
        device=inputs.device,
        explain_label=label is not None,
        pictures=index[:0],
        background=background,
    )


def _on_cpu(panels: Panels) -> Panels:
    maps = {heading: each.cpu() for heading, each in panels.maps.items()}
    return Panels(panels.rows.cpu(), panels.inputs.cpu(), maps)


def check_names(values: Mapping[str, Iterable[str]]) -> None:
    """Raise BenchError where two metrics give values of one name. values: metric -> names of its values."""
    owners: dict[str, str] = {}
    for metric, names in values.items():
        for name in names:
            if owners.setdefault(name, metric) != metric:
                raise BenchError(
                    f"Expected values of different names, got {name} from the metrics {owners[name]} and {metric}: "
                    "give one of them another name, or leave it out."
                )


def _predicted(logits: Tensor) -> Tensor:
    """The class, or the one output itself."""
    return logits.argmax(1) if logits.shape[1] > 1 else logits[:, 0]


def _moved(batch: Batch, device: torch.device) -> Batch:
    mask = None if batch.mask is None else sent(batch.mask, device)
    return Batch(sent(batch.inputs, device), sent(batch.label, device), sent(batch.index, device), mask)


def _update(
    asked: dict[str, Any],
    explanation: Explanation,
    context: Context,
    unavailable: dict[str, str],
    step: Callable[[str], object],
) -> None:
    """Show a batch to every metric. One that does not apply is named with its reason, and not asked again."""
    for name in list(asked):
        try:
            asked[name].update(explanation, context)
            step(name)
        except NotApplicable as reason:
            unavailable[name] = str(reason)
            del asked[name]
            if not asked:
                raise


def _available(
    baselines: Mapping[str, Callable[..., Explainer]], model: nn.Module, example: Tensor, unavailable: dict[str, str]
) -> dict[str, Explainer]:
    """The baselines that can explain this model; the others are named with their reason."""
    built = {}
    for name, baseline in baselines.items():
        try:
            built[name] = made(baseline, model, example=example)
        except BenchError as error:
            unavailable[f"agreement/{name}"] = str(error)
    return built


def _compared(
    references: dict[str, Explainer], inputs: Tensor, target: Tensor, unavailable: dict[str, str]
) -> dict[str, Tensor]:
    """Each baseline's relevance. One that cannot explain this batch is named with its reason, and not asked again."""
    relevance = {}
    for name in list(references):
        try:
            relevance[name] = references[name].explain(inputs, target).relevance
        except BenchError as error:
            unavailable[f"agreement/{name}"] = str(error)
            del references[name]
    return relevance


def made(explainer: Callable[..., Explainer], model: nn.Module, *, example: Tensor) -> Explainer:
    """The explainer for a model. Raises BenchError for a parameter that it does not have."""
    try:
        inspect.signature(explainer).bind(model=model, example=example)
    except (TypeError, ValueError) as error:
        name = getattr(getattr(explainer, "func", explainer), "__name__", str(explainer))
        reason = error.__cause__ or error
        raise BenchError(f"Expected parameters that {name} has, got: {reason}: correct the config.") from error
    return explainer(model=model, example=example)


def _clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
