"""One number from a perturbation curve: scores (batch, steps+1), the untouched input at step 0.

MoRF curves remove the most relevant first, LeRF curves the least relevant first. Fractions are (steps+1,), or (batch,
steps+1) where each sample has its own, as with superpixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.metrics.functional.rows import paired_rows, rows, undefined_unless


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
        fractions: (steps+1,) or (batch, steps+1), ascending, the share removed at each step.
        scores: (batch, steps+1).

    Returns:
        (batch,), bounded by the range of the score; NaN where the fractions cover nothing.

    Source:
        Bluecher et al. 2024.

    >>> auc(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([[1.0, 0.0, 0.0]]))
    tensor([0.2500])
    """
    scores = rows(scores)
    if fractions.shape not in (scores.shape, scores.shape[1:]):
        raise BenchError(
            f"Expected one fraction per step ({scores.shape[1]},), got {tuple(fractions.shape)}: "
            "pass the fractions that came with these scores"
        )
    fractions = fractions.to(scores.dtype)
    return torch.trapezoid(scores, fractions, dim=1) / (fractions[..., -1] - fractions[..., 0])


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


def abpc(lerf: Tensor, morf: Tensor) -> Tensor:
    """Area between the perturbation curves: 1 / (L+1) sum_{k=0..L} f_LeRF(k) - f_MoRF(k), as AOPC weighs the steps.

    Args:
        lerf: (batch, L+1).
        morf: (batch, L+1), of the same input.

    Returns:
        (batch,), higher is better, bounded by the range of the score: [-1, 1] for probabilities.

    Source:
        Samek et al. 2017, who compare the two curves so.

    >>> abpc(torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    tensor([0.3333])
    """
    lerf, morf = paired_rows(lerf, morf)
    return (lerf - morf).mean(1)


def deletion(fractions: Tensor, morf: Tensor) -> Tensor:
    """Area under the score while the most relevant goes first: pixel flipping in one number.

    Args:
        fractions: as for auc.
        morf: (batch, steps+1).

    Returns:
        (batch,), lower is better, bounded by the range of the score.

    Source:
        Petsiuk et al. 2018 (RISE); the curve is that of Bach et al. 2015.

    >>> deletion(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([[1.0, 0.0, 0.0]]))
    tensor([0.2500])
    """
    return auc(fractions, morf)


def insertion(fractions: Tensor, lerf: Tensor) -> Tensor:
    """Area under the score while the most relevant is put first onto what the imputer fills everywhere.

    With the k most relevant units put in, the n - k least relevant are out: the LeRF curve read from its end.

    Args:
        fractions: as for auc, the share removed.
        lerf: (batch, steps+1), down to everything removed.

    Returns:
        (batch,), higher is better, bounded by the range of the score.

    Source:
        Petsiuk et al. 2018 (RISE).

    >>> insertion(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([[1.0, 1.0, 0.0]]))
    tensor([0.7500])
    """
    return auc(fractions, lerf)


def remaining(scores: Tensor) -> Tensor:
    """Mean score after a removal, over all steps but step 0: ROAD's number, of the score accuracy and imputer Road.

    Args:
        scores: (batch, steps+1).

    Returns:
        (batch,), bounded by the range of the score. Low for the MoRF and high for the LeRF curve of a good explanation.

    Source:
        Rong et al. 2022.

    >>> remaining(torch.tensor([[1.0, 1.0, 0.0]]))
    tensor([0.5000])
    """
    return rows(scores)[:, 1:].mean(1)


def comprehensiveness(morf: Tensor) -> Tensor:
    """Mean of f(x) - f(x without its most relevant parts), over the shares that were removed.

    Args:
        morf: (batch, shares+1), step 0 the whole input.

    Returns:
        (batch,), higher is better, bounded by the range of the score: [-1, 1] for probabilities.

    Source:
        DeYoung et al. 2020 (ERASER), who remove 1, 5, 10, 20 and 50 % of the tokens.

    >>> comprehensiveness(torch.tensor([[1.0, 0.5, 0.25]]))
    tensor([0.6250])
    """
    return rows(morf)[:, 0] - remaining(morf)


def sufficiency(kept: Tensor) -> Tensor:
    """Mean of f(x) - f(the most relevant parts alone), over the shares that were kept.

    Args:
        kept: (batch, shares+1), step 0 the whole input: a LeRF curve at the fractions 1 - share.

    Returns:
        (batch,), lower is better, bounded by the range of the score: [-1, 1] for probabilities.

    Source:
        DeYoung et al. 2020 (ERASER).

    >>> sufficiency(torch.tensor([[1.0, 1.0, 0.5]]))
    tensor([0.2500])
    """
    return rows(kept)[:, 0] - remaining(kept)


_ROUNDING = 16  # epsilons; a forward pass rounds many times


def naopc(value: Tensor, lower: Tensor, upper: Tensor, size: Tensor | float = 0.0) -> Tensor:
    """AOPC between its bounds for this model and input: (AOPC - lower) / (upper - lower).

    Args:
        value: (batch,), the AOPC of a curve that removes one unit a step.
        lower: (batch,), the least AOPC of any order of the units; metrics.extremes finds it.
        upper: (batch,), the greatest.
        size: (batch,), the largest |score|; bounds that differ by no more than its rounding are the same.

    Returns:
        (batch,) in [0, 1] for true bounds, higher is better for a MoRF curve; NaN where every order is as good, that
        is upper - lower <= 16 eps size, eps that of the value's type.

    Source:
        Edin et al. 2024.

    >>> naopc(torch.tensor([0.5]), torch.tensor([0.0]), torch.tensor([2.0]))
    tensor([0.2500])
    """
    if not value.shape == lower.shape == upper.shape:
        raise BenchError(
            f"Expected three tensors of one shape, got {tuple(value.shape)}, {tuple(lower.shape)} and "
            f"{tuple(upper.shape)}: pass one AOPC and two bounds per sample"
        )
    rounding = _ROUNDING * torch.finfo(value.dtype).eps * size
    return undefined_unless(upper - lower > rounding, (value - lower) / (upper - lower))
