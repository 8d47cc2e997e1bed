"""Does the relevance lie where the truth is? relevance and mask: (batch, ...) of one shape; nonzero is inside.

Sum relevance over channels first. A sample with an empty mask has nothing to find: NaN, which is no hit.
"""

from __future__ import annotations

from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.metrics.functional.rows import rows, undefined_unless, varied


def relevance_mass(relevance: Tensor, mask: Tensor) -> Tensor:
    """Relevance mass accuracy: sum of R+ inside the mask / sum of R+, with R+ = max(R, 0).

    Args:
        relevance: (batch, ...).
        mask: the shape of relevance, bool or number.

    Returns:
        (batch,) in [0, 1]; NaN where the mask is empty or no relevance is positive.

    Source:
        Arras et al. 2022.

    >>> relevance_mass(torch.tensor([[3.0, 1.0, -5.0]]), torch.tensor([[True, False, False]]))
    tensor([0.7500])
    """
    R, inside = _masked(relevance, mask)
    R = R.clamp(min=0)
    return undefined_unless(inside.any(1), (R * inside).sum(1) / R.sum(1))


def relevance_rank(relevance: Tensor, mask: Tensor) -> Tensor:
    """Relevance rank accuracy: |top K & mask| / K, K = |mask|, top K the K largest signed values.

    Of values tied at the edge of the top K as many count as a lot would draw on average.

    Args:
        relevance: (batch, ...).
        mask: the shape of relevance, bool or number.

    Returns:
        (batch,) in [0, 1]; NaN where the mask is empty or the relevance constant.

    Source:
        Arras et al. 2022.

    >>> relevance_rank(torch.tensor([[3.0, 1.0, -5.0]]), torch.tensor([[True, False, True]]))
    tensor([0.5000])
    """
    R, inside = _masked(relevance, mask)
    K = inside.sum(1, keepdim=True)
    edge = R.sort(1, descending=True).values.gather(1, (K - 1).clamp(min=0))
    above, tied = edge < R, edge == R
    by_lot = (K - above.sum(1, keepdim=True)) / tied.sum(1, keepdim=True).to(R.dtype)
    share = (inside * (above + tied * by_lot)).sum(1) / K[:, 0]
    return undefined_unless(inside.any(1) & varied(R), share)


def pointing_game(relevance: Tensor, mask: Tensor) -> Tensor:
    """1 where the largest relevance lies inside the mask, 0 where it does not.

    Where several values share the maximum: the share of them that is inside, the chance of a hit by lot.

    Args:
        relevance: (batch, ...).
        mask: the shape of relevance, bool or number.

    Returns:
        (batch,) in [0, 1]; NaN where the mask is empty or the relevance constant.

    Source:
        Zhang et al. 2018, without their tolerance of 15 pixels.

    >>> pointing_game(torch.tensor([[3.0, 1.0], [0.0, 1.0]]), torch.tensor([[True, False], [True, False]]))
    tensor([1., 0.])
    """
    R, inside = _masked(relevance, mask)
    largest = R.amax(1, keepdim=True) == R
    share = (largest & inside).sum(1).to(R.dtype) / largest.sum(1)
    return undefined_unless(inside.any(1) & varied(R), share)


def _masked(relevance: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    if mask.shape != relevance.shape:
        raise BenchError(
            f"Expected a mask of the relevance's shape {tuple(relevance.shape)}, got {tuple(mask.shape)}: "
            "sum the relevance over channels, or expand the mask"
        )
    return rows(relevance), mask.flatten(1) != 0
