"""Permutation importance, and whether the relevance ranks the features alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lrp_bench.contracts import BenchError, Explanation, Measure, NotApplicable, Scores
from lrp_bench.metrics.checks import check_relevance, check_whole
from lrp_bench.metrics.evaluators.base import Context, Evaluator, Model
from lrp_bench.metrics.functional import spearman
from lrp_bench.transfers import sent


class Permutation(Evaluator):
    """Permutation importance: how much a sample's loss grows when one feature takes its values from other samples.

    Values: permutation/<feature>, the growth of the loss (squared error of a model with one output, else cross
    entropy), whose mean over the samples is the importance (Breiman 2001; Fisher et al. 2019); and
    permutation/spearman, the rank correlation of a sample's |relevance| with these importances.

    Args:
        names: of the features, in their order; None: their positions.
        repeats: permutations of each feature.
        seed: of the permutations.
    """

    higher_is_better = True
    inputs: list[Tensor]
    measures: Mapping[str, Measure]

    def __init__(
        self, names: Sequence[str] | Mapping[str, str] | None = None, repeats: int = 20, seed: int = 0
    ) -> None:
        check_whole("repeats", repeats)
        check_whole("seed", seed, 0)
        super().__init__("inputs", "relevance", "label")
        self.names = None if names is None else [str(name) for name in names]
        self.repeats, self.seed = repeats, seed
        self.model: Model | None = None
        self.measures = {}

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch."""
        check_relevance(explanation.relevance, explanation.inputs)
        if explanation.inputs.dim() != 2 or context.label is None:
            raise NotApplicable("Expected a table with labels, got other data: permutation importance is of columns")
        self.model = context.model
        self.keep(inputs=explanation.inputs, relevance=explanation.relevance, label=context.label)

    def compute(self) -> Scores:
        """The values of all samples seen since the last reset."""
        if self.model is None:
            raise BenchError("Expected Permutation to have seen a batch, got none: call update first")
        x, R = self.kept("inputs"), self.kept("relevance")
        growth = loss_growth(self.model, x, self.kept("label"), self.repeats, self.seed)
        importance = growth.mean(0).expand_as(R)
        names = self.names or [str(place) for place in range(x.shape[1])]
        values = {f"permutation/{name}": column for name, column in zip(names, growth.unbind(1), strict=True)}
        values["permutation/spearman"] = spearman(R.abs(), importance.to(R))
        self.measures = {name: _measure(name) for name in values}
        return Scores(values, self.measures)


def loss_growth(model: Model, x: Tensor, label: Tensor, repeats: int, seed: int) -> Tensor:
    """Mean over `repeats` of each sample's loss with one feature permuted, less its loss: (samples, features)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        before = _loss(model(x), label)
        columns = []
        for feature in range(x.shape[1]):
            orders = sent(torch.stack([torch.randperm(len(x), generator=generator) for _ in range(repeats)]), x)
            permuted = x.repeat(repeats, 1)
            permuted[:, feature] = x[orders.flatten(), feature]
            after = _loss(model(permuted), label.repeat(repeats)).view(repeats, -1)
            columns.append(after.mean(0) - before)
    return torch.stack(columns, 1)


def _loss(outputs: Tensor, label: Tensor) -> Tensor:
    if outputs.shape[1] == 1:
        return (outputs[:, 0] - label).square()
    return F.cross_entropy(outputs, label, reduction="none")


def _measure(name: str) -> Measure:
    if name == "permutation/spearman":
        return Measure("Spearman with permutation importance", "permutation", True, -1.0, 1.0)
    return Measure(f"Loss growth without {name.partition('/')[2]}", "permutation", None, headline=False)
