"""The number that is watched while the input is perturbed. Its name is part of every measure's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.transfers import warn_where

ALREADY = (
    "The model's outputs are probabilities already (>= 0, with the sum 1): they are taken as they are. Explain logits, "
    "by a model that ends before its softmax: relevance of a probability depends on all classes."
)
Score = Literal["logit", "probability", "log_odds", "accuracy"]


def logit(logits: Tensor, target: Tensor) -> Tensor:
    """z_c; with weights sum_c w_c z_c."""
    return _pick(logits, target)


def probability(logits: Tensor, target: Tensor) -> Tensor:
    """Softmax p_c, or the output itself where the model ends in one; with weights sum_c w_c p_c."""
    return _pick(probabilities(_classes(logits)), target)


def log_odds(logits: Tensor, target: Tensor) -> Tensor:
    """Logarithm of the odds, log p_c - log(1 - p_c) = z_c - log sum_{j != c} exp z_j."""
    target, logits = _one_class(target), _unnormalised(_classes(logits))
    others = logits.scatter(1, target, float("-inf"))
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


def probabilities(outputs: Tensor) -> Tensor:
    """Softmax over the classes, the last dimension; rows that are probabilities already are taken as they are."""
    return torch.where(_sums_to_one(outputs), outputs, outputs.softmax(-1))


def _unnormalised(outputs: Tensor) -> Tensor:
    """What softmax makes the model's probabilities of: its outputs, or their logarithms."""
    tiny = torch.finfo(outputs.dtype).tiny
    return torch.where(_sums_to_one(outputs), outputs.clamp(min=tiny).log(), outputs)


def _sums_to_one(outputs: Tensor) -> Tensor:
    """Which rows are probabilities, (..., 1) bool; the first time there are any, it is said."""
    slack = torch.finfo(outputs.dtype).eps ** 0.5
    found: Tensor = (outputs >= 0).all(-1, keepdim=True) & ((outputs.sum(-1, keepdim=True) - 1).abs() <= slack)
    warn_where(found, ALREADY)  # shown once, as Python does
    return found


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
