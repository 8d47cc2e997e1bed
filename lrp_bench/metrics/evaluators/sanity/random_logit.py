"""Does the explanation change when another class is explained?"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from lrp_bench import chance
from lrp_bench.chance import Purpose
from lrp_bench.contracts import Explanation, Measure, NotApplicable, Scores
from lrp_bench.metrics.checks import check_number, check_whole
from lrp_bench.metrics.evaluators.base import Context, Evaluator, pixels, relevance_by
from lrp_bench.metrics.functional import cosine, spearman


class RandomLogit(Evaluator):
    """Random logit test (Sixt et al. 2020): the map of the explained class against that of another one, drawn by lot.

    On pixels (channels summed), without the sign: a method that is blind to the class gives one map times a number for
    each class, which is negative where that class's output is.

    Values: random_logit/spearman, |rho|, and random_logit/cosine, |cos|; 1 for a class-blind method, NaN where a map is
    constant. Of unrelated maps of n pixels |rho| is about 0.8 / sqrt(n); two classes share evidence, so even a good
    method is above that.

    A model of two classes is refused: all that its probabilities tell is f_0 - f_1, of which R_0 = -R_1 is the right
    explanation, and without the sign it looks the same as a map that is blind to the class.

    Args:
        seed: of the other class, which is drawn for each sample by itself.
        gate: the largest mean of random_logit/spearman that passes.
    """

    higher_is_better = False
    kinds = ("spearman", "cosine")

    def __init__(self, seed: int = 0, gate: float = 0.9) -> None:
        check_whole("seed", seed, least=0)
        check_number("gate", gate, above=0, below=1)
        super().__init__(*self.kinds)
        self.seed = seed
        self.measures: Mapping[str, Measure] = {
            "random_logit/spearman": Measure("Random logit", "random_logit", False, 0.0, 1.0, gate=gate),
            "random_logit/cosine": Measure("Random logit, cosine", "random_logit", False, 0.0, 1.0, headline=False),
        }

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch."""
        if context.method is None:
            raise NotApplicable("Expected the method, to explain another class, got none: leave random_logit out.")
        x = explanation.inputs
        one = pixels(explanation.relevance, x)
        other = pixels(relevance_by(context.method, x, self.other(explanation)), x, "relevance of another class")
        self.keep(spearman=spearman(one, other).abs(), cosine=cosine(one, other).abs())

    def compute(self) -> Scores:
        """The values of all samples seen since the last reset."""
        return Scores({f"random_logit/{kind}": self.kept(kind) for kind in self.kinds}, self.measures)

    def other(self, explanation: Explanation) -> Tensor:
        """Any class but the explained one, (batch,) int64, each with the same chance."""
        classes = explanation.logits.shape[1]
        if classes < 3:
            raise NotApplicable(
                f"Expected a model with at least three outputs, got {classes}: there is no class whose map could tell "
                "more than the sign; leave random_logit out."
            )
        drawn = chance.index(explanation.inputs, 1, classes - 1, self.seed, Purpose.OTHER_CLASS)[:, 0]
        return (explanation.target + 1 + drawn) % classes
