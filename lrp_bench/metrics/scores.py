"""The number that is watched while the input is perturbed. Its name is part of every measure's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from torch import Tensor

from lrp_bench.contracts import BenchError

Score = Literal["logit", "probability", "log_odds", "accuracy"]


def logit(logits: Tensor, target: Tensor) -> Tensor:
    """z_c; with weights sum_c w_c z_c."""
    return _pick(logits, target)


def probability(logits: Tensor, target: Tensor) -> Tensor:
    """Softmax p_c; with weights sum_c w_c p_c."""
    return _pick(_classes(logits).softmax(1), target)


def log_odds(logits: Tensor, target: Tensor) -> Tensor:
    """Logarithm of the odds, log p_c - log(1 - p_c) = z_c - log sum_{j != c} exp z_j."""
    target = _one_class(target)
    others = _classes(logits).scatter(1, target, float("-inf"))
    return logits.gather(1, target)[:, 0] - others.logsumexp(1)


def accuracy(logits: Tensor, target: Tensor) -> Tensor:
    """1 where the class is the predicted one, else 0."""
    return (_classes(logits).argmax(1) == _one_class(target)[:, 0]).to(logits.dtype)


SCORES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "logit": logit,
    "probability": probability,
    "log_odds": log_odds,
    "accuracy": accuracy,
}


def _pick(values: Tensor, target: Tensor) -> Tensor:
    return values.gather(1, target.unsqueeze(1))[:, 0] if target.dim() == 1 else (values * target).sum(1)


def _one_class(target: Tensor) -> Tensor:
    if target.dim() != 1:
        raise BenchError(f"Expected one class per sample (batch,), got weights {tuple(target.shape)}: use score=logit")
    return target.unsqueeze(1)


def _classes(logits: Tensor) -> Tensor:
    if logits.shape[1] < 2:
        raise BenchError(
            f"Expected a model with at least 2 classes, got outputs {tuple(logits.shape)}: use score=logit"
        )
    return logits
