"""Measures as pure functions: tensors in, one value per sample out (batch,), NaN where a measure is undefined.

Every function works on whole batches, on any device, and keeps float32 and float64; other types become float32.
"""

from lrp_bench.metrics.functional.agreement import (
    rank_agreement,
    sign_agreement,
    signed_rank_agreement,
    top_k_intersection,
)
from lrp_bench.metrics.functional.conservation import conservation_delta, conservation_error
from lrp_bench.metrics.functional.correlation import cosine, kendall, pairwise_rank_agreement, pearson, spearman
from lrp_bench.metrics.functional.curves import (
    abpc,
    aopc,
    auc,
    comprehensiveness,
    deletion,
    insertion,
    naopc,
    remaining,
    srg,
    sufficiency,
)
from lrp_bench.metrics.functional.localisation import pointing_game, relevance_mass, relevance_rank
from lrp_bench.metrics.functional.robustness import infidelity, max_sensitivity
from lrp_bench.metrics.functional.sparseness import entropy, gini

__all__ = [
    "abpc",
    "aopc",
    "auc",
    "comprehensiveness",
    "conservation_delta",
    "conservation_error",
    "cosine",
    "deletion",
    "entropy",
    "gini",
    "infidelity",
    "insertion",
    "kendall",
    "max_sensitivity",
    "naopc",
    "pairwise_rank_agreement",
    "pearson",
    "pointing_game",
    "rank_agreement",
    "relevance_mass",
    "relevance_rank",
    "remaining",
    "sign_agreement",
    "signed_rank_agreement",
    "spearman",
    "srg",
    "sufficiency",
    "top_k_intersection",
]
