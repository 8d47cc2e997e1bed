"""What becomes of the accuracy while words are deleted, the experiment of Arras et al."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lrp_bench.contracts import Explanation, Measure, Scores
from lrp_bench.metrics.checks import check_whole
from lrp_bench.metrics.evaluators.base import Context, Evaluator
from lrp_bench.metrics.flipping import Constant, Order, PerturbationCurve, Tokens, traced

ORDERS: Mapping[str, Order] = {"correct": "morf", "wrong": "lerf"}
TITLES = {"correct": "Accuracy, {} most relevant deleted", "wrong": "Accuracy, {} least relevant deleted"}


class WordDeletion(Evaluator):
    """Accuracy after k words are gone (Arras et al. 2017, WASSA).

    Values, 1 where the explained class, the true one, is the predicted one, else 0, for k = 1 ... words:
    word_deletion/correct_<k> of the sentences that were classified correctly, after their most relevant words were
    deleted, lower is better; word_deletion/wrong_<k> of the others, after their least relevant words were, higher is
    better. NaN for sentences of the other kind and for those that are too short. Explain target=label for it.
    word_deletion/ties: share of words whose place in the order was drawn by lot.

    Args:
        words: the most that are deleted.
        at_least: words of a sentence that counts.
        padding: the id of no word, which takes the place of a deleted one.
        seed: of the order of words of equal relevance.
        max_batch: inputs given to the model at once.
    """

    higher_is_better = None

    def __init__(
        self, words: int = 5, at_least: int = 10, padding: int = 0, seed: int = 0, max_batch: int = 512
    ) -> None:
        super().__init__("correct", "wrong", "ties")
        check_whole("words", words)
        check_whole("at_least", at_least, least=words)
        self.words, self.at_least, self.unit = words, at_least, Tokens(padding)
        self.curves = {
            kind: PerturbationCurve(self.unit, order, words, Constant(padding), "accuracy", seed, "unit", max_batch)
            for kind, order in ORDERS.items()
        }
        self.measures = {
            **{
                f"word_deletion/{kind}_{k}": Measure(title.format(k), "word_deletion", kind == "wrong", 0.0, 1.0)
                for kind, title in TITLES.items()
                for k in range(1, words + 1)
            },
            "word_deletion/ties": Measure("Ties", "word_deletion", None, 0.0, 1.0, headline=False),
        }

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch."""
        x = explanation.inputs
        regions = self.unit(x, explanation.relevance)
        long = regions.positions().sum(1) >= self.at_least
        self.keep(ties=regions.ties())
        plans = {kind: curve.plan(x, regions) for kind, curve in self.curves.items()}
        for kind, trace in traced(plans, context.model, explanation.target).items():
            scores = trace.scores
            meant = long & (scores[:, 0] == (kind == "correct"))
            self.keep(**{kind: scores.masked_fill(~meant.unsqueeze(1), torch.nan)})

    def compute(self) -> Scores:
        """The values of all samples seen since the last reset."""
        scores = {kind: self.kept(kind) for kind in self.curves}
        values: dict[str, Tensor] = {
            f"word_deletion/{kind}_{k}": each[:, k] for kind, each in scores.items() for k in range(1, self.words + 1)
        }
        return Scores({**values, "word_deletion/ties": self.kept("ties")}, self.measures)
