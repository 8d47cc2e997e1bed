"""What changes of the input do to an explanation. The perturbed results come in; drawing them is up to the caller."""

from __future__ import annotations

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.metrics.functional.rows import undefined_unless


def max_sensitivity(relevance: Tensor, perturbed: Tensor) -> Tensor:
    """Largest relative change of the explanation: max_d |E(x + d) - E(x)| / |E(x)|, Euclidean norms.

    The paper's norm is not divided; this form, Captum's, lets explanations of different scale be compared.

    Args:
        relevance: (batch, ...), E(x).
        perturbed: (batch, draws, ...), E(x + d) for each drawn d.

    Returns:
        (batch,) in [0, inf), lower is better; NaN where E(x) is all zero.

    Source:
        Yeh et al. 2019.

    >>> max_sensitivity(torch.tensor([[3.0, 4.0]]), torch.tensor([[[3.0, 4.0], [3.0, 9.0]]]))
    tensor([1.])
    """
    E, drawn = _draws(relevance, perturbed)
    size = E.norm(dim=2)[:, 0]
    return undefined_unless(size > 0, (drawn - E).norm(dim=2).amax(1) / size)


def infidelity(relevance: Tensor, perturbations: Tensor, drops: Tensor, *, rescale: bool = False) -> Tensor:
    """Mean squared error of the drop in score that the explanation foretells: E_I[(I.R - (f(x) - f(x - I)))^2].

    Takes R for a gradient: input x gradient on a linear model has infidelity 0 only if I is given in units of the
    input, as (x - x') / x.

    Args:
        relevance: (batch, ...), R.
        perturbations: (batch, draws, ...), I for each draw.
        drops: (batch, draws), f(x) - f(x - I).
        rescale: of c R instead, with the c >= 0 that makes it smallest: for explanations of different scale. 0 where R
            foretells nothing, or the opposite.

    Returns:
        (batch,) in [0, inf), lower is better.

    Source:
        Yeh et al. 2019.

    >>> infidelity(torch.tensor([[2.0, 1.0]]), torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[2.0, 3.0]]))
    tensor([2.])
    """
    R, drawn = _draws(relevance, perturbations)
    if drops.shape != drawn.shape[:2]:
        raise BenchError(f"Expected drops of shape {tuple(drawn.shape[:2])}, got {tuple(drops.shape)}: one per draw")
    foretold = (drawn * R).sum(2)
    if rescale:
        best = (foretold * drops).sum(1, keepdim=True) / foretold.square().sum(1, keepdim=True)
        foretold = foretold * best.nan_to_num(0.0).clamp(min=0)  # 0 / 0: a map of zeros foretells no drop
    return (foretold - drops).square().mean(1)


def _draws(values: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """(batch, ...) and (batch, draws, ...) -> (batch, 1, n) and (batch, draws, n)."""
    if values.dim() < 2 or drawn.dim() != values.dim() + 1 or drawn[:, :1].squeeze(1).shape != values.shape:
        batch, *rest = values.shape
        raise BenchError(
            f"Expected draws of shape {(batch, 'draws', *rest)}, got {tuple(drawn.shape)}: give each sample its draws"
        )
    dtype = torch.promote_types(values.dtype, torch.float32)
    return values.flatten(1).unsqueeze(1).to(dtype), drawn.flatten(2).to(dtype)
