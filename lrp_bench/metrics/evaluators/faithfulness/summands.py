"""Does the relevance follow the numbers that the model adds?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lrp_bench.contracts import Explanation, Measure, NotApplicable, Scores
from lrp_bench.metrics.checks import check_choice, check_relevance
from lrp_bench.metrics.evaluators.base import Context, Evaluator
from lrp_bench.transfers import sent

SIGNS: Mapping[str, float] = {"sum": 1.0, "difference": -1.0}
CHANNELS = 3


class Summands(Evaluator):
    """For the arithmetic task, whose target is n_a + n_b or n_a - n_b (Arras et al. 2019, LNCS 11700, chapter 11).

    Values: summands/first and summands/second, 1 - (z(R) - z(c))^2 / 2 with z(v) = (v - mean) / standard deviation
    over the samples, R the relevance of the step that holds n_a, or n_b, and c what it contributes, n_a, or n_b or
    -n_b: the mean over the samples is Pearson's correlation. summands/others: sum |R| of the other steps / sum |R|. NaN
    where a denominator is 0.

    Args:
        operation: sum or difference.
    """

    higher_is_better = True
    measures: Mapping[str, Measure] = {
        "summands/first": Measure("Correlation with the first summand", "summands", True, upper=1.0),
        "summands/second": Measure("Correlation with the second summand", "summands", True, upper=1.0),
        "summands/others": Measure("Relevance of other numbers", "summands", False, 0.0, 1.0),
    }

    def __init__(self, operation: str) -> None:
        check_choice("operation", operation, SIGNS)
        super().__init__("relevance", "contribution", "others")
        self.signs = torch.tensor([1.0, SIGNS[operation]])

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch."""
        x, R = explanation.inputs, explanation.relevance
        check_relevance(R, x)
        if x.dim() != 2 or x.shape[1] % CHANNELS:
            raise NotApplicable(f"Expected sequences (batch, 3 * steps), got {tuple(x.shape)}: for dataset=arithmetic")
        numbers, steps = (each.reshape(len(x), -1, CHANNELS) for each in (x, R))
        place = numbers[:, :, 1:].abs().argmax(1)  # (batch, 2)
        summands = steps.sum(2).gather(1, place)
        sizes = steps.abs().sum(2)
        others = 1 - sizes.gather(1, place).sum(1) / sizes.sum(1)
        contribution = numbers[:, :, 1:].sum(1) * sent(self.signs, x, x.dtype)
        self.keep(relevance=summands, contribution=contribution, others=others)

    def compute(self) -> Scores:
        """The values of all samples seen since the last reset."""
        apart = _standard(self.kept("relevance")) - _standard(self.kept("contribution"))
        share = 1 - apart.square() / 2
        values = dict(zip(self.measures, [*share.unbind(1), self.kept("others")], strict=True))
        return Scores(values, self.measures)


def _standard(values: Tensor) -> Tensor:
    """(samples, columns) with mean 0 and standard deviation 1; NaN for a column without spread."""
    return (values - values.mean(0)) / values.std(0, correction=0)
