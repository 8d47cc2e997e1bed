"""Are the features that the relevance names those that a model needs?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError, Explanation, Measure, NotApplicable, Scores
from lrp_bench.metrics.checks import check_number, check_relevance, check_whole
from lrp_bench.metrics.evaluators.base import Context, Evaluator, Model, Retrain, per_pixel
from lrp_bench.metrics.evaluators.faithfulness.permutation import loss_growth

ORDERS: Mapping[str, tuple[str, bool | None]] = {
    "most": ("most relevant", True),
    "least": ("least relevant", False),
    "permutation": ("by permutation importance", None),
}


class Selection(Evaluator):
    """How good the model is when it is trained on a few features alone, the same ones for all samples.

    As ROAR (Hooker et al. 2019), which removes other pixels from each sample. Features are the columns of a table, or
    the pixels, channels together. They are chosen on training samples: by their mean |relevance|, channels summed, of
    the predicted class, or by their permutation importance there, which sees the labels. All others are held at the
    mean, in training and in the test.

    Values, whose mean is the accuracy, or R2 of a model with one output: selection/most_<share>,
    selection/least_<share> and selection/permutation_<share>, of the model trained on that share of the features; and
    selection/gain_<share>, the first less the third.

    Args:
        shares: of the features, in percent; to the nearest whole number of features, at least one.
        repeats: permutations of each feature.
        seed: of the permutations.
    """

    higher_is_better = True

    def __init__(self, shares: Sequence[int] = (12, 25, 50), repeats: int = 5, seed: int = 0) -> None:
        if not shares:
            raise BenchError("Expected shares to list percentages, got none: write [12, 25, 50]")
        for share in shares:
            check_whole("shares", share)
            check_number("shares", share, below=100)
        check_whole("repeats", repeats)
        check_whole("seed", seed, 0)
        super().__init__("inputs", "label")
        self.shares, self.repeats, self.seed = tuple(shares), repeats, seed
        self.measures: Mapping[str, Measure] = _measures(self.shares)
        self.rankings: Mapping[str, Tensor] = {}
        self.retrain: Retrain | None = None

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch."""
        check_relevance(explanation.relevance, explanation.inputs)
        if context.retrain is None or context.label is None:
            raise NotApplicable("Expected labels and a model that can be trained again, got none: leave selection out.")
        if self.update_count == 1:
            self.rankings = self._rankings(context)
        self.retrain = context.retrain
        self.keep(inputs=explanation.inputs, label=context.label)

    def compute(self) -> Scores:
        """The values of all samples seen since the last reset."""
        values = {
            f"selection/{order}_{share}": self._quality(ranking, share)
            for share in self.shares
            for order, ranking in self.rankings.items()
        }
        gains = {
            f"selection/gain_{share}": values[f"selection/most_{share}"] - values[f"selection/permutation_{share}"]
            for share in self.shares
        }
        return Scores({**values, **gains}, self.measures)

    def _rankings(self, context: Context) -> dict[str, Tensor]:
        """Order -> importance of each position, the larger the better to keep."""
        x, label = context.background, context.background_label
        if context.method is None or x is None or label is None:
            raise NotApplicable("Expected the method and training samples with labels, got none: leave selection out.")
        with torch.enable_grad():
            R = per_pixel(context.method.explain(x).relevance.detach()).abs().mean(0)
        flat = _flat(context.model, x)
        growth = loss_growth(flat, x.flatten(1), label, self.repeats, self.seed).mean(0).view(x.shape[1:])
        return {"most": R, "least": -R, "permutation": per_pixel(growth.unsqueeze(0))[0]}

    @torch.no_grad()
    def _quality(self, importance: Tensor, share: int) -> Tensor:
        if self.retrain is None:
            raise BenchError("Expected Selection to have seen a batch, got none: call update first")
        count = max(1, round(importance.numel() * share / 100))
        keep = torch.zeros_like(importance, dtype=torch.bool).flatten()
        keep[importance.flatten().topk(count).indices] = True
        outputs = self.retrain(keep=keep.view(importance.shape))(self.kept("inputs"))
        return quality(outputs, self.kept("label"))


def quality(outputs: Tensor, label: Tensor) -> Tensor:
    """(batch,): 1 where the class is right, else 0; of one output, values whose mean is R2."""
    if outputs.shape[1] > 1:
        return (outputs.argmax(1) == label).to(outputs.dtype)
    return 1 - (outputs[:, 0] - label).square() / label.var(correction=0)


def _flat(model: Model, x: Tensor) -> Model:
    return lambda rows: model(rows.view(-1, *x.shape[1:]))


def _measures(shares: Sequence[int]) -> Mapping[str, Measure]:
    kept = {
        f"selection/{order}_{share}": Measure(f"Quality with {share} % of the features, {words}", "selection", better)
        for share in shares
        for order, (words, better) in ORDERS.items()
    }
    title = "Most relevant less permutation importance, {} %"
    return kept | {
        f"selection/gain_{share}": Measure(title.format(share), "selection", None, headline=False) for share in shares
    }
