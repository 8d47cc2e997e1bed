"""What the engine refuses, before and after it runs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lrp_bench.contracts import BenchError
from lrp_bench.engine.capture import evaluating


def check_tensor(x: object) -> Tensor:
    """X as a copy of its own, out of any graph and of inference mode. Raise BenchError unless it is a tensor."""
    if not isinstance(x, Tensor):
        raise BenchError(f"Expected inputs as a tensor (batch, ...), got {type(x).__name__}: convert them.")
    return x.detach().clone()


def check_input(x: Tensor) -> None:
    """Raise BenchError unless x is a floating-point batch of finite numbers."""
    if not x.is_floating_point():
        raise BenchError(
            f"Expected floating-point inputs, got {x.dtype}: convert them, for images with x.float() / 255."
        )
    if x.dim() < 2 or x.shape[0] == 0:
        raise BenchError(
            f"Expected a batch (batch, ...) of one sample or more, got shape {tuple(x.shape)}: add the batch dimension."
        )
    if not bool(x.isfinite().all()):
        raise BenchError("Expected finite inputs, got NaN or infinity: clean the data first.")


def check_logits(logits: Tensor, x: Tensor) -> None:
    """Raise BenchError unless the model gave (batch, classes)."""
    if logits.dim() != 2 or logits.shape[0] != x.shape[0]:
        raise BenchError(
            f"Expected logits of shape ({x.shape[0]}, classes), got {tuple(logits.shape)}: wrap the model so that it "
            "returns them."
        )


def choose(logits: Tensor, target: Tensor | int | None) -> tuple[Tensor, Tensor]:
    """The target as the caller meant it, and the weight (batch, classes) of each logit."""
    batch, classes = logits.shape
    if target is None:
        target = logits.argmax(1)
    elif isinstance(target, int):
        target = torch.full((batch,), target, device=logits.device)
    elif not isinstance(target, Tensor):
        raise BenchError(f"Expected target None, a class or a tensor, got {type(target).__name__}: pass one of them.")
    target = target.detach().to(logits.device)
    if not bool(target.isfinite().all()):
        raise BenchError("Expected finite target weights, got NaN or infinity: correct target.")
    if target.shape == logits.shape and target.is_floating_point():
        return target, target.to(logits.dtype)
    if target.shape != (batch,) or target.is_floating_point():
        raise BenchError(
            f"Expected a target of shape ({batch},) with classes, or floating-point weights ({batch}, {classes}), got "
            f"{target.dtype} of shape {tuple(target.shape)}: pass one class per sample."
        )
    if bool(((target < 0) | (target >= classes)).any()):
        got = f"{int(target.min())} to {int(target.max())}"
        raise BenchError(f"Expected targets from 0 to {classes - 1}, got {got}: correct target.")
    return target, torch.nn.functional.one_hot(target.long(), classes).to(logits.dtype)


def check_relevance(relevance: Tensor) -> None:
    """Raise BenchError for relevance that is not finite."""
    if not bool(relevance.isfinite().all()):
        raise BenchError(
            "Expected finite relevance, got NaN or infinity: a denominator came close to zero, use a larger epsilon."
        )


def check_capture(model: nn.Module, rewritten: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Raise BenchError unless what was captured computes what the model does, and depends on its input."""
    with evaluating(model), torch.no_grad():
        expected = model(x)
    with torch.enable_grad():
        logits = rewritten(x.detach().requires_grad_())
    if not logits.requires_grad:
        raise BenchError(
            "Expected logits that depend on the input through operators that carry relevance, got none: integers, "
            "comparisons and constants carry none."
        )
    scale, tolerance = float(expected.abs().max()), 1e-9 if x.dtype == torch.float64 else 1e-2
    off = float((logits.detach() - expected).abs().max())
    if off > tolerance * scale:
        raise BenchError(
            f"Expected the captured model to give the model's own logits, got others, off by {off:.2g} of {scale:.2g}: "
            "is the model random in eval mode? If not, please report it; do not trust its relevance."
        )
