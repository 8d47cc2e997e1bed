"""Does a score tell two kinds of samples apart? Not one of the functional measures: a value depends on all samples."""

from __future__ import annotations

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError


def auroc(score: Tensor, positive: Tensor) -> Tensor:
    """The area under the ROC curve, as values whose mean it is and whose variance over n is DeLong's.

    A + n / n_k (V_i - A) for a sample of a kind with n_k samples: V_i is the share of the other kind's samples on the
    right side of it, ties counting half, and A the area.

    Args:
        score: (batch,), larger for the positive.
        positive: (batch,) bool.

    Returns:
        (batch,), of any size, with mean A in [0, 1]; NaN where the score is, and everywhere if one kind is missing.

    Source:
        DeLong, DeLong and Clarke-Pearson 1988; the reference is sklearn.metrics.roc_auc_score.
    """
    if score.dim() != 1 or positive.shape != score.shape or positive.dtype != torch.bool:
        got = f"{tuple(score.shape)} and {tuple(positive.shape)} of {positive.dtype}"
        raise BenchError(f"Expected score (batch,) and positive (batch,) bool, got {got}: pass one of each per sample")
    told = ~score.isnan()
    values = torch.full_like(score, torch.nan)
    values[told] = _components(score[told], positive[told])
    return values


def _components(score: Tensor, positive: Tensor) -> Tensor:
    above, below = score[positive].sort().values, score[~positive].sort().values
    if not len(above) or not len(below):
        return torch.full_like(score, torch.nan)
    placed = torch.where(positive, _share_below(below, score), 1 - _share_below(above, score))
    area, weight = placed[positive].mean(), torch.where(positive, 1 / len(above), 1 / len(below)).to(score)
    return area + len(score) * weight * (placed - area)


def _share_below(ordered: Tensor, values: Tensor) -> Tensor:
    """The share of ordered numbers that are smaller than each value, equal ones counting half."""
    ends = [torch.searchsorted(ordered, values, right=right) for right in (False, True)]
    return (ends[0] + ends[1]).to(values) / (2 * len(ordered))
