"""Is the relevance in few places or in many?"""

from __future__ import annotations

from types import MappingProxyType

from lrp_bench.contracts import Explanation, Measure, Scores
from lrp_bench.metrics.checks import check_relevance
from lrp_bench.metrics.evaluators.base import Context, Evaluator, per_pixel
from lrp_bench.metrics.functional import entropy, gini


class Sparseness(Evaluator):
    """How unevenly the relevance is spread over the pixels: signed relevance, summed over channels.

    A sparser map is easier to read, not more right, so neither number has a good direction. Values: sparseness/gini, 0
    for equal values, towards 1 for a single one; sparseness/entropy in nats, 0 for a single value, log n for n equal
    ones; NaN where all relevance is zero. Both depend on the resolution.
    """

    measures = MappingProxyType(
        {
            "sparseness/gini": Measure("Gini index", "sparseness", None, lower=0.0, upper=1.0),
            "sparseness/entropy": Measure("Entropy", "sparseness", None, lower=0.0, headline=False),
        }
    )

    def __init__(self) -> None:
        super().__init__("gini", "entropy")

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch."""
        check_relevance(explanation.relevance, explanation.inputs)
        R = per_pixel(explanation.relevance)
        self.keep(gini=gini(R), entropy=entropy(R))

    def compute(self) -> Scores:
        """The values of all samples seen since the last reset."""
        return Scores({f"sparseness/{name}": self.kept(name) for name in ("gini", "entropy")}, dict(self.measures))
