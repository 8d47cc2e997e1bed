"""One number from a perturbation curve: scores (batch, steps+1), the untouched input at step 0."""

from __future__ import annotations

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.metrics.functional.rows import rows


def aopc(scores: Tensor) -> Tensor:
    """Area over the perturbation curve: 1 / (L+1) sum_{k=0..L} f(x(0)) - f(x(k)).

    Step 0 counts, as in the paper. High for the MoRF curve and low for the LeRF curve of a good explanation.

    Args:
        scores: (batch, L+1), f after k steps.

    Returns:
        (batch,), bounded by the range of the score: [-1, 1] for probabilities.

    Source:
        Samek et al. 2017, eq. 12.

    >>> aopc(torch.tensor([[1.0, 0.5, 0.0]]))
    tensor([0.5000])
    """
    scores = rows(scores)
    return (scores[:, :1] - scores).mean(1)


def auc(fractions: Tensor, scores: Tensor) -> Tensor:
    """Area under a curve by the trapezoidal rule, over the covered fraction: the curve's mean height.

    Args:
        fractions: (steps+1,), ascending, the share removed at each step.
        scores: (batch, steps+1).

    Returns:
        (batch,), bounded by the range of the score; NaN if the fractions cover nothing.

    Source:
        Bluecher et al. 2024.

    >>> auc(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([[1.0, 0.0, 0.0]]))
    tensor([0.2500])
    """
    scores = rows(scores)
    if fractions.shape != scores.shape[1:]:
        raise BenchError(
            f"Expected one fraction per step ({scores.shape[1]},), got {tuple(fractions.shape)}: "
            "pass the fractions that came with these scores"
        )
    return torch.trapezoid(scores, fractions.to(scores.dtype), dim=1) / (fractions[-1] - fractions[0]).to(scores.dtype)


def srg(fractions: Tensor, lerf: Tensor, morf: Tensor) -> Tensor:
    """Symmetric relevance gain: AUC(LeRF) - AUC(MoRF). A random order scores 0 on average.

    Args:
        fractions: (steps+1,), ascending, the share removed at each step.
        lerf: (batch, steps+1), least relevant removed first.
        morf: (batch, steps+1), most relevant removed first.

    Returns:
        (batch,), higher is better, bounded by the range of the score: [-1, 1] for probabilities.

    Source:
        Bluecher et al. 2024.

    >>> srg(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    tensor([0.5000])
    """
    return auc(fractions, lerf) - auc(fractions, morf)
