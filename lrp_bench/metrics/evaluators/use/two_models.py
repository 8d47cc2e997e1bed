"""Do two models that were trained alike look at the same things?"""

from __future__ import annotations

import copy
from types import MappingProxyType

import torch
from torch import nn

from lrp_bench.contracts import Explainer, Explanation, Measure, NotApplicable, Scores
from lrp_bench.metrics.checks import check_whole
from lrp_bench.metrics.evaluators.base import Context, Evaluator, pixels, relevance_by
from lrp_bench.metrics.evaluators.use.detection import auroc
from lrp_bench.metrics.functional import cosine, spearman
from lrp_bench.metrics.randomisation import shuffle


class TwoModels(Evaluator):
    """The explained model beside its twin, of another seed: the same samples and classes, pixels with channels summed.

    Values: two_models/spearman and two_models/cosine of the two maps of the explained class;
    two_models/spearman_untrained, |rho| with the map of the twin after its weights were put in a random order, which is
    what the picture and the architecture alone bring about (without the sign, which follows that of the explained
    output, and random weights do not keep it); two_models/learnt, |rho| with the twin less that; two_models/same_class,
    1 where the twin predicts the same class; two_models/auroc, values whose mean is the chance that the maps of a
    sample with one prediction agree more than those of a sample with two. NaN where a map is constant. A method that
    looks at no model has one map for all of them.

    Args:
        twin: which one, from 1.
        seed: of the random order.
    """

    higher_is_better = None
    measures = MappingProxyType(
        {
            "two_models/spearman": Measure("Spearman with the twin", "two_models", None, -1.0, 1.0),
            "two_models/cosine": Measure("Cosine with the twin", "two_models", None, -1.0, 1.0, headline=False),
            "two_models/spearman_untrained": Measure("|Spearman| with random weights", "two_models", None, 0.0, 1.0),
            "two_models/learnt": Measure(
                "|Spearman| less random weights", "two_models", None, -2.0, 2.0, headline=False
            ),
            "two_models/same_class": Measure("Same class", "two_models", None, 0.0, 1.0),
            "two_models/auroc": Measure("AUROC of Spearman for same class", "two_models", None),
        }
    )

    def __init__(self, twin: int = 1, seed: int = 0) -> None:
        check_whole("twin", twin)
        check_whole("seed", seed, least=0)
        super().__init__("spearman", "cosine", "spearman_untrained", "same_class")
        self.twin, self.seed = twin, seed
        self.others: tuple[nn.Module, Explainer, Explainer] | None = None

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch."""
        x, target = explanation.inputs, explanation.target
        ours = pixels(explanation.relevance, x)
        other, method, untrained = self._others(context)
        theirs = pixels(relevance_by(method, x, target), x, "relevance of the twin")
        chance = pixels(relevance_by(untrained, x, target), x, "relevance of random weights")
        with torch.no_grad():
            same = other(x).argmax(1) == explanation.logits.argmax(1)
        self.keep(
            spearman=spearman(ours, theirs),
            cosine=cosine(ours, theirs),
            spearman_untrained=spearman(ours, chance).abs(),
            same_class=same.to(ours.dtype),
        )

    def compute(self) -> Scores:
        """The values of all samples seen since the last reset."""
        names = ("spearman", "cosine", "spearman_untrained", "same_class")
        values = {f"two_models/{name}": self.kept(name) for name in names}
        values["two_models/learnt"] = values["two_models/spearman"].abs() - values["two_models/spearman_untrained"]
        values["two_models/auroc"] = auroc(self.kept("spearman"), self.kept("same_class") == 1)
        return Scores(values, self.measures)

    def _others(self, context: Context) -> tuple[nn.Module, Explainer, Explainer]:
        """The twin, the method for it, and for the twin without what it learnt."""
        if self.others is None or self.update_count == 1:
            if context.retrain is None or context.explainer is None:
                raise NotApplicable("Expected a model that can be trained again, got none: leave two_models out.")
            twin = context.retrain(twin=self.twin)
            self.others = twin, context.explainer(twin), context.explainer(forgetful(twin, self.seed))
        return self.others


def forgetful(model: nn.Module, seed: int) -> nn.Module:
    """A copy whose parameters have their values in a random order."""
    twin, generator, done = copy.deepcopy(model), torch.Generator().manual_seed(seed), set[int]()
    for layer in twin.modules():
        shuffle(layer, generator, done)
    return twin
