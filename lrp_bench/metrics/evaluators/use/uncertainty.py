"""How sure is a map? What an ensemble of models, trained alike but for the seed, says of the same sample."""

from __future__ import annotations

from types import MappingProxyType

import torch
from torch import Tensor, nn

from lrp_bench.contracts import Explainer, Explanation, Measure, NotApplicable, Panels, Scores
from lrp_bench.metrics.checks import check_relevance, check_whole
from lrp_bench.metrics.evaluators.base import Context, Evaluator, per_pixel, relevance_by
from lrp_bench.metrics.evaluators.use.detection import auroc
from lrp_bench.metrics.scores import probabilities


class Uncertainty(Evaluator):
    """Mean m and standard deviation s, per pixel, of the relevance of one class over an ensemble (deep ensembles).

    The explained model is one of its members; the class is that which it explains. Channels are summed, and each map is
    divided by its sum |R|: what counts is where members differ, not how large their outputs are.

    Values: uncertainty/noise, sum s / (sum s + sum |m|), 0 where all members have one map. And values whose mean is an
    area under the ROC curve, the chance that a wrong decision of the explained model has more of something than a right
    one: uncertainty/auroc_noise, of that noise; uncertainty/auroc_entropy, entropy of the members' mean probabilities
    (Lakshminarayanan et al. 2017); uncertainty/auroc_confidence, 1 - probability of its class by the explained model
    alone; and uncertainty/auroc_lead, the first area less the third. NaN where a map is zero, and where no
    decision, or every one, is wrong.

    Panels, of pictures: uncertainty, the input, m and s of as many wrong as right decisions, where there are.

    Args:
        members: models in the ensemble.
        shown: samples in the panels.
    """

    higher_is_better = None
    measures = MappingProxyType(
        {
            "uncertainty/noise": Measure("Noise of the map", "uncertainty", None, 0.0, 1.0),
            "uncertainty/auroc_noise": Measure("AUROC of errors, noise of the map", "uncertainty", None),
            "uncertainty/auroc_entropy": Measure("AUROC of errors, ensemble entropy", "uncertainty", None),
            "uncertainty/auroc_confidence": Measure("AUROC of errors, confidence", "uncertainty", None),
            "uncertainty/auroc_lead": Measure("AUROC, noise less confidence", "uncertainty", None, headline=False),
        }
    )

    def __init__(self, members: int = 5, shown: int = 8) -> None:
        check_whole("members", members, least=2)
        check_whole("shown", shown, least=0)
        super().__init__("inputs", "mean", "deviation", "wrong", "entropy", "doubt")
        self.members, self.shown = members, shown
        self.others: list[tuple[nn.Module, Explainer]] = []

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch."""
        x, target, logits = explanation.inputs, explanation.target, explanation.logits
        check_relevance(explanation.relevance, x)
        if context.label is None or logits.shape[1] < 2:
            raise NotApplicable("Expected a classifier and labels, got none: leave the metric uncertainty out.")
        others = self._others(context)
        maps = [explanation.relevance, *(relevance_by(method, x, target) for _, method in others)]
        deviation, mean = torch.std_mean(torch.stack([_shares(per_pixel(each)) for each in maps]), 0, correction=0)
        with torch.no_grad():
            outputs = probabilities(torch.stack([logits, *(other(x) for other, _ in others)]))
        self.keep(
            inputs=x,
            mean=mean,
            deviation=deviation,
            wrong=logits.argmax(1) != context.label,
            entropy=torch.special.entr(outputs.mean(0)).sum(1),
            doubt=1 - outputs[0].amax(1),
        )

    def compute(self) -> Scores:
        """The values of all samples seen since the last reset."""
        mean, deviation, wrong = (self.kept(state) for state in ("mean", "deviation", "wrong"))
        spread, size = (each.abs().flatten(1).sum(1) for each in (deviation, mean))
        noise = spread / (spread + size)
        values = {
            "uncertainty/noise": noise,
            "uncertainty/auroc_noise": auroc(noise, wrong),
            "uncertainty/auroc_entropy": auroc(self.kept("entropy"), wrong),
            "uncertainty/auroc_confidence": auroc(self.kept("doubt"), wrong),
        }
        values["uncertainty/auroc_lead"] = values["uncertainty/auroc_noise"] - values["uncertainty/auroc_confidence"]
        return Scores(values, self.measures, panels=self._panels(mean, deviation, wrong))

    def _others(self, context: Context) -> list[tuple[nn.Module, Explainer]]:
        """The other members, and the method for each."""
        if self.update_count == 1:
            if context.retrain is None or context.explainer is None:
                raise NotApplicable("Expected a model that can be trained again, got none: leave uncertainty out.")
            models = [context.retrain(twin=twin) for twin in range(1, self.members)]
            self.others = [(model, context.explainer(model)) for model in models]
        return self.others

    def _panels(self, mean: Tensor, deviation: Tensor, wrong: Tensor) -> dict[str, Panels]:
        rows = torch.cat([kind.nonzero()[:, 0][: self.shown // 2] for kind in (wrong, ~wrong)])
        if mean.dim() != 3 or not len(rows):
            return {}
        maps = {"mean relevance": mean[rows], "standard deviation": deviation[rows]}
        return {"uncertainty": Panels(rows, self.kept("inputs")[rows], maps)}


def _shares(relevance: Tensor) -> Tensor:
    """Maps of one size, sum |R| = 1: how they are spread is compared, not how large the outputs are."""
    sizes = relevance.abs().flatten(1).sum(1)
    return relevance / sizes.view(-1, *[1] * (relevance.dim() - 1))
