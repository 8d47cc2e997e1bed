"""Does the relevance add up to what was explained?"""

from __future__ import annotations

from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.metrics.functional.rows import rows


def conservation_delta(relevance: Tensor, score: Tensor) -> Tensor:
    """Signed share that did not arrive: f - sum_i R_i.

    Positive where relevance was lost on the way (to biases, to a stabiliser), negative where it grew; in units of f.

    Args:
        relevance: (batch, ...).
        score: (batch,), the explained output f.

    Returns:
        (batch,), unbounded, 0 is best.

    Source:
        Bach et al. 2015, eq. 2; the sign is that of Captum's convergence delta.

    >>> conservation_delta(torch.tensor([[1.0, 2.0], [4.0, 0.0]]), torch.tensor([3.0, 3.0]))
    tensor([ 0., -1.])
    """
    R = rows(relevance)
    if score.shape != R.shape[:1]:
        raise BenchError(
            f"Expected one score per sample ({len(R)},), got {tuple(score.shape)}: pass the explained output"
        )
    return score - R.sum(1)


def conservation_error(relevance: Tensor, score: Tensor, tau: float = 1e-9) -> Tensor:
    """Relative conservation error: |sum_i R_i - f| / (|f| + tau).

    Explodes where f is near 0: summarise it by its median and quartiles beside the mean.

    Args:
        relevance: (batch, ...).
        score: (batch,), the explained output f.
        tau: keeps the quotient finite at f = 0.

    Returns:
        (batch,) in [0, inf), 0 is best.

    Source:
        Bach et al. 2015, eq. 2.

    >>> conservation_error(torch.tensor([[1.0, 2.0], [4.0, 0.0]]), torch.tensor([3.0, 2.0]))
    tensor([0., 1.])
    """
    return conservation_delta(relevance, score).abs() / (score.abs() + tau)
