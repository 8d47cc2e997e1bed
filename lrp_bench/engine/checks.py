"""What the engine refuses, before and after it runs. Values are looked at together, at the end (transfers.together)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lrp_bench.contracts import BenchError
from lrp_bench.engine.operators.embedding import not_tokens
from lrp_bench.transfers import refuse_where


def check_inputs(inputs: Sequence[Tensor]) -> None:
    """Raise BenchError unless these are batches of finite numbers or of integers, of the same length."""
    if not inputs or not all(isinstance(x, Tensor) for x in inputs):
        got = ", ".join(type(x).__name__ for x in inputs) or "nothing"
        raise BenchError(f"Expected a tensor, or a tuple of tensors, got {got}: pass the model's inputs.")
    for x in inputs:
        _check_input(x)
    lengths = [len(x) for x in inputs]
    if len(set(lengths)) > 1:
        raise BenchError(f"Expected inputs of one batch, got {lengths} samples: the first dimension is the batch.")


def _check_input(x: Tensor) -> None:
    if not x.is_floating_point() and x.dtype not in (torch.int32, torch.int64, torch.bool):
        raise not_tokens(x.dtype)
    if x.dim() < (2 if x.is_floating_point() else 1) or x.shape[0] == 0:
        raise BenchError(
            f"Expected a batch (batch, ...) of one sample or more, got shape {tuple(x.shape)}: add the batch dimension."
        )
    if x.is_floating_point():
        _check_finite(x, "Expected finite inputs, got NaN or infinity: clean the data first.")


def check_logits(logits: Tensor, batch: int) -> None:
    """Raise BenchError unless the model gave (batch, classes)."""
    if logits.dim() != 2 or logits.shape[0] != batch:
        raise BenchError(
            f"Expected logits of shape ({batch}, classes), got {tuple(logits.shape)}: wrap the model so that it "
            "returns them."
        )


def choose(logits: Tensor, target: Tensor | int | None) -> tuple[Tensor, Tensor]:
    """The target as the caller meant it, and the weight (batch, classes) of each logit."""
    batch, classes = logits.shape
    if target is None:
        target = logits.argmax(1)
    elif isinstance(target, int) and not isinstance(target, bool):
        target = torch.full((batch,), target, device=logits.device)
    elif not isinstance(target, Tensor):
        raise BenchError(f"Expected target None, a class or a tensor, got {type(target).__name__}: pass one of them.")
    target = target.detach().to(logits.device)
    _check_finite(target, "Expected finite target weights, got NaN or infinity: correct target.")
    if target.shape == logits.shape and target.is_floating_point():
        return target, target.to(logits.dtype)
    whole = not (target.is_floating_point() or target.is_complex() or target.dtype is torch.bool)
    if target.shape != (batch,) or not whole:
        raise BenchError(
            f"Expected a target of shape ({batch},) with classes, or floating-point weights ({batch}, {classes}), got "
            f"{target.dtype} of shape {tuple(target.shape)}: pass one class per sample."
        )
    refuse_where((target < 0) | (target >= classes), lambda: _not_classes(target, classes))
    weights = torch.zeros_like(logits).scatter_(1, target.long().clamp(0, classes - 1).unsqueeze(1), 1)
    return target, weights


def _not_classes(target: Tensor, classes: int) -> BenchError:
    got = f"{int(target.min())} to {int(target.max())}"
    return BenchError(f"Expected targets from 0 to {classes - 1}, got {got}: correct target.")


def check_relevance(relevances: Sequence[Tensor], logits: Tensor) -> None:
    """Raise BenchError for relevance that is not finite, and name its cause."""
    for relevance in relevances:
        refuse_where(relevance.isfinite().all().logical_not(), lambda: _unlimited(logits))


def _unlimited(logits: Tensor) -> BenchError:
    if not bool(logits.isfinite().all()):
        return not_finite()
    return BenchError(
        "Expected finite relevance, got NaN or infinity: a denominator came close to zero, use a larger epsilon."
    )


def _check_finite(values: Tensor, message: str) -> None:
    refuse_where(values.isfinite().all().logical_not(), lambda: BenchError(message))


def check_model(model: nn.Module) -> None:
    """Raise BenchError for a module that is not ready, or is no Python any more."""
    if isinstance(model, torch.jit.ScriptModule):
        raise BenchError(
            f"Expected a module in Python, got a {type(model).__name__} of torch.jit, which torch.export cannot "
            "capture: pass the module that it was traced or scripted from."
        )
    lazy = next((name for name, weight in _tensors(model) if is_lazy(weight)), None)
    if lazy is not None:
        raise BenchError(
            f"Expected a model with weights, got {type(model).__name__}, whose {lazy} has no shape yet: run it on a "
            "batch and train it, or load its weights, first."
        )


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def not_finite() -> BenchError:
    """What to say of a model's own output."""
    return BenchError(
        "Expected a model that gives finite logits, got NaN or infinity: look for weights that are not finite, for "
        "logarithms and quotients of zero, and for inputs of another size than the model was trained with."
    )


def check_capture(
    logits: Tensor, expected: Sequence[Tensor], again: Callable[[], Sequence[Tensor]], written: Sequence[str] = ()
) -> None:
    """Raise BenchError unless what was captured computes one of the model's outputs, and depends on the input.

    expected: the model's outputs on the same samples; again: what it gives the next time; written: attributes and
    buffers that its forward changes.
    """
    if not logits.requires_grad:
        raise BenchError(
            "Expected logits that depend on the input through operators that carry relevance, got none: integers, "
            "comparisons and constants carry none."
        )
    rivals = [x for x in expected if x.shape == logits.shape]
    off = _off(logits, rivals)
    if off <= (1e-9 if logits.dtype == torch.float64 else 1e-2):
        return
    if rivals and not all(bool(x.isfinite().all()) for x in rivals):
        raise not_finite()
    if rivals and _off(rivals[0], again()) > 1e-6:
        advice = (
            f"in eval mode let forward leave {', '.join(written)} alone"
            if written
            else "pass training=self.training to functional dropout, and let forward draw no numbers"
        )
        raise BenchError(
            f"Expected a model that gives the same logits each time in eval mode, got others the next time: {advice}."
        )
    raise BenchError(
        f"Expected the captured model to give the model's own logits, got others, off by {off:.2g} of their size: a "
        "TransformerEncoder with a padding mask needs enable_nested_tensor=False. Otherwise please report it; do not "
        "trust its relevance."
    )


def _off(logits: Tensor, expected: Sequence[Tensor]) -> float:
    """The largest difference from the nearest output, in units of its largest entry."""
    rivals = [x for x in expected if x.shape == logits.shape]
    sizes = [x.abs().max().clamp(min=1e-30) for x in rivals]
    return min((float((logits.detach() - x).abs().max() / s) for x, s in zip(rivals, sizes, strict=True)), default=1.0)
