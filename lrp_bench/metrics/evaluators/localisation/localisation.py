"""Does the relevance lie where the evidence is known to lie?"""

from __future__ import annotations

from types import MappingProxyType

from torch import Tensor

from lrp_bench.contracts import Explanation, Measure, NotApplicable, Scores
from lrp_bench.metrics.checks import check_relevance
from lrp_bench.metrics.evaluators.base import Context, Evaluator, per_pixel
from lrp_bench.metrics.functional import pointing_game, relevance_mass, relevance_rank


class Localisation(Evaluator):
    """Relevance against the data's masks, on pixels: signed relevance, summed over channels; its positive part counts.

    Values: localisation/relevance_mass, the share of positive relevance inside the mask; localisation/relevance_rank,
    the share of the mask among as many pixels of largest relevance; localisation/pointing_game, whether the largest
    lies inside; localisation/weighted_mass, the mass over the mask's share, 1 for a map that knows nothing (mu_w of
    Kohlbrenner et al. 2020, whose mu is the mass); NaN for an empty mask. And localisation/mask_share, the mask's share
    of the pixels: what a map that knows nothing, ties or none, scores in the first three on average.
    """

    higher_is_better = True
    measures = MappingProxyType(
        {
            "localisation/relevance_mass": Measure("Relevance mass", "localisation", True, 0.0, 1.0),
            "localisation/relevance_rank": Measure("Relevance rank", "localisation", True, 0.0, 1.0),
            "localisation/pointing_game": Measure("Pointing game", "localisation", True, 0.0, 1.0),
            "localisation/weighted_mass": Measure("Weighted mass", "localisation", True, lower=0.0, headline=False),
            "localisation/mask_share": Measure("Mask share", "localisation", None, 0.0, 1.0, headline=False),
        }
    )

    def __init__(self) -> None:
        super().__init__(*(name.removeprefix("localisation/") for name in self.measures))

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch; the context's mask has the inputs' shape without channels."""
        check_relevance(explanation.relevance, explanation.inputs)
        mask, R = _mask(context), per_pixel(explanation.relevance)
        mass, share = relevance_mass(R, mask), mask.flatten(1).to(R.dtype).mean(1)
        self.keep(
            relevance_mass=mass,
            relevance_rank=relevance_rank(R, mask),
            pointing_game=pointing_game(R, mask),
            weighted_mass=mass / share,
            mask_share=share,
        )

    def compute(self) -> Scores:
        """The values of all samples seen since the last reset."""
        values = {name: self.kept(name.removeprefix("localisation/")) for name in self.measures}
        return Scores(values, dict(self.measures))


def _mask(context: Context) -> Tensor:
    if context.mask is None:
        raise NotApplicable(
            "Expected data with masks of where the evidence lies, got none: choose dataset=digits_on_texture, shortcut "
            "or tetromino, or leave out the metric localisation."
        )
    return context.mask
