"""Does the relevance add up to the explained score?"""

from __future__ import annotations

from types import MappingProxyType

from lrp_bench.contracts import Explanation, Measure, Scores
from lrp_bench.metrics.checks import check_number, check_relevance
from lrp_bench.metrics.evaluators.base import Context, Evaluator
from lrp_bench.metrics.functional import conservation_delta, conservation_error


class Conservation(Evaluator):
    """How far the relevance is from adding up to the explained score f.

    Values: conservation/error, |sum R - f| / (|f| + tau), and conservation/delta, f - sum R.
    """

    higher_is_better = False
    measures = MappingProxyType(
        {
            "conservation/error": Measure(
                "Conservation error", "conservation", higher_is_better=False, lower=0.0, summary="median"
            ),
            "conservation/delta": Measure("Conservation delta", "conservation", higher_is_better=None, headline=False),
        }
    )

    def __init__(self, tau: float = 1e-9) -> None:
        check_number("tau", tau, above=0)
        super().__init__("error", "delta")
        self.tau = tau

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch."""
        R, f = explanation.relevance, explanation.score
        check_relevance(R, explanation.inputs)
        self.keep(error=conservation_error(R, f, self.tau), delta=conservation_delta(R, f))

    def compute(self) -> Scores:
        """The values of all samples seen since the last reset."""
        return Scores({f"conservation/{name}": self.kept(name) for name in ("error", "delta")}, dict(self.measures))
