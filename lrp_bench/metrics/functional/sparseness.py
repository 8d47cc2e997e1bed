"""Is the relevance in few places or in many? Both measures depend on the resolution: compare maps of one size only."""

from __future__ import annotations

import torch
from torch import Tensor

from lrp_bench.metrics.functional.rows import rows


def gini(relevance: Tensor) -> Tensor:
    """Gini index of v = |relevance| in ascending order: sum_i (2i - n - 1) v_i / (n sum_i v_i), i = 1..n.

    Args:
        relevance: (batch, ...).

    Returns:
        (batch,) in [0, 1 - 1/n]: 0 for equal values, 1 - 1/n for a single one; NaN where all are zero.

    Source:
        Hurley and Rickard 2009; Chalasani et al. 2020.

    >>> gini(torch.tensor([[0.0, 0.0, 0.0, -2.0], [1.0, 1.0, 1.0, 1.0]]))
    tensor([0.7500, 0.0000])
    """
    v = rows(relevance).abs().sort(1).values
    n = v.shape[1]
    weights = torch.arange(1 - n, n, 2, device=v.device, dtype=v.dtype)
    return ((weights * v / n).sum(1) / v.sum(1)).clamp(min=0)  # equal values: their rounding


def entropy(relevance: Tensor) -> Tensor:
    """Shannon entropy in nats of p = |relevance| / sum |relevance|: -sum_i p_i log p_i.

    Args:
        relevance: (batch, ...).

    Returns:
        (batch,) in [0, log n]: 0 for a single value, log n for equal ones; NaN where all are zero.

    Source:
        Bhatt et al. 2020 (complexity).

    >>> entropy(torch.tensor([[1.0, -1.0], [0.0, 3.0]]))
    tensor([0.6931, 0.0000])
    """
    v = rows(relevance).abs()
    parts: Tensor = torch.special.entr(v / v.sum(1, keepdim=True))
    return parts.sum(1)
