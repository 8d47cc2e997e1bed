"""What the engine refuses, before and after it runs."""

from __future__ import annotations

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError


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
    target = target.detach().to(logits.device)
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
