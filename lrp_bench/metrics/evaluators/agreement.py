"""Does the relevance agree with other methods?"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError, Explanation, Measure, Scores
from lrp_bench.metrics.checks import check_number
from lrp_bench.metrics.evaluators.base import Context, Evaluator, pixels
from lrp_bench.metrics.functional import cosine, spearman, top_k_intersection


class Agreement(Evaluator):
    """Agreement on pixels: signed relevance, summed over channels (axis 1 of three or more).

    More alike is not more right. Values: agreement/<baseline>/spearman, agreement/<baseline>/cosine and
    agreement/<baseline>/top_k (the share of the k largest in |relevance| that both have), NaN where a map is constant;
    and agreement/zeros, the share of pixels without relevance, which inflates all of these. Without baselines there are
    no values.

    Args:
        top_share: k as a share of the pixels, to the nearest whole number, at least 1.
    """

    higher_is_better = True
    kinds = ("spearman", "cosine", "top_k")
    zeros: list[Tensor]

    def __init__(self, top_share: float = 0.1) -> None:
        check_number("top_share", top_share, above=0, below=1)
        super().__init__(*self.kinds, "zeros")
        self.top_share = top_share
        self.baselines: list[str] = []
        self.measures = _measures(self.baselines)

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch; the context's baselines have the inputs' shape.

        A baseline that is missing from a later batch is left out, with its values from earlier ones.
        """
        baselines = context.baselines
        self._name(baselines)
        if not self.baselines:
            return
        ours = pixels(explanation.relevance, explanation.inputs)
        theirs = [pixels(baselines[name], explanation.inputs, f"relevance of {name}") for name in self.baselines]
        k = max(1, round(self.top_share * ours.shape[1]))
        self.keep(
            spearman=torch.stack([spearman(ours, other) for other in theirs], 1),
            cosine=torch.stack([cosine(ours, other) for other in theirs], 1),
            top_k=torch.stack([top_k_intersection(ours, other, k) for other in theirs], 1),
            zeros=(ours == 0).to(ours.dtype).mean(1),
        )

    def compute(self) -> Scores:
        """The values of all samples seen since the last reset."""
        if not self.baselines:
            return Scores({}, {})
        columns = {kind: self.kept(kind).unbind(1) for kind in self.kinds}
        values = {
            f"agreement/{name}/{kind}": columns[kind][i] for i, name in enumerate(self.baselines) for kind in self.kinds
        }
        return Scores({**values, "agreement/zeros": self.kept("zeros")}, self.measures)

    def _name(self, baselines: Mapping[str, Tensor]) -> None:
        first = self.update_count == 1
        if not first and not set(baselines) <= set(self.baselines):
            raise BenchError(
                f"Expected no baselines but {self.baselines}, of the first batch, got {list(baselines)}: pass the same"
            )
        names = list(baselines) if first else [name for name in self.baselines if name in baselines]
        if not first:
            self._leave_only([self.baselines.index(name) for name in names])
        self.baselines, self.measures = names, _measures(names)

    def _leave_only(self, columns: list[int]) -> None:
        for kind in self.kinds:
            setattr(self, kind, [batch[:, columns] for batch in getattr(self, kind)])


def _measures(baselines: list[str]) -> Mapping[str, Measure]:
    measures = {"agreement/zeros": Measure("Zero pixels", "agreement", None, lower=0.0, upper=1.0, headline=False)}
    for name in baselines:
        words = name.replace("_", " ")
        measures |= {
            f"agreement/{name}/spearman": Measure(f"Spearman with {words}", "agreement", True, -1.0, 1.0),
            f"agreement/{name}/cosine": Measure(f"Cosine with {words}", "agreement", True, -1.0, 1.0, headline=False),
            f"agreement/{name}/top_k": Measure(f"Top k with {words}", "agreement", True, 0.0, 1.0, headline=False),
        }
    return measures
