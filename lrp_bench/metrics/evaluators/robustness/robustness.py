"""What small changes of the input do to the explanation, and whether it foretells what larger ones do to the score."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import torch
from torch import Tensor

from lrp_bench import chance
from lrp_bench.chance import Purpose
from lrp_bench.contracts import Explainer, Explanation, Measure, NotApplicable, Scores
from lrp_bench.metrics.checks import check_number, check_relevance, check_whole
from lrp_bench.metrics.evaluators.base import Context, Evaluator, Model, per_pixel
from lrp_bench.metrics.functional import infidelity, max_sensitivity
from lrp_bench.metrics.scores import logit


class Robustness(Evaluator):
    """Maximal sensitivity and infidelity (Yeh et al. 2019); every draw belongs to its sample, in whatever batch.

    Values: robustness/max_sensitivity, the largest |E(x + d) - E(x)| / |E(x)| over draws of d, uniform in
    [-radius, radius] for each input value, NaN where the relevance is zero. And robustness/infidelity, the mean squared
    error of sum_{i removed} R_i as a forecast of f(x) - f(x without i), in squared logits: a random set of pixels is
    replaced by the baseline, as many in each draw. That reads the relevance as shares of the score (I is 1 where a
    pixel is removed), so a gradient is at a disadvantage.

    Args:
        radius: of the noise, in units of the model's input.
        draws: noisy copies of a sample; each costs one explanation.
        removals: sets of pixels removed; each costs one forward pass.
        share: of the pixels that is removed, to the nearest whole number, at least 1.
        baseline: what takes their place, in units of the model's input.
        rescale: infidelity of c R, with the c >= 0 that is best for the sample, so that methods whose maps are of
            another scale can be compared; a map that foretells nothing has the mean squared drop of the score.
        seed: of all draws.
        max_batch: inputs explained, or given to the model, at once.
    """

    higher_is_better = False
    measures = MappingProxyType(
        {
            "robustness/max_sensitivity": Measure("Max sensitivity", "robustness", higher_is_better=False, lower=0.0),
            "robustness/infidelity": Measure("Infidelity", "robustness", higher_is_better=False, lower=0.0),
        }
    )

    def __init__(
        self,
        radius: float = 0.02,
        draws: int = 10,
        removals: int = 50,
        share: float = 0.1,
        baseline: float = 0.0,
        rescale: bool = True,
        seed: int = 0,
        max_batch: int = 128,
    ) -> None:
        check_number("radius", radius, above=0)
        check_number("share", share, above=0, below=1)
        check_number("baseline", baseline)
        for name, value, least in (
            ("draws", draws, 1),
            ("removals", removals, 1),
            ("seed", seed, 0),
            ("max_batch", max_batch, 1),
        ):
            check_whole(name, value, least)
        super().__init__("max_sensitivity", "infidelity")
        self.radius, self.draws, self.removals, self.share = radius, draws, removals, share
        self.baseline, self.rescale, self.seed, self.max_batch = baseline, rescale, seed, max_batch

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch; the context's method explains its noisy copies."""
        check_relevance(explanation.relevance, explanation.inputs)
        method = _method(explanation, context)
        self.keep(
            infidelity=self._infidelity(explanation, context.model),
            max_sensitivity=self._max_sensitivity(explanation, method),
        )

    def compute(self) -> Scores:
        """The values of all samples seen since the last reset."""
        values = {name: self.kept(name.removeprefix("robustness/")) for name in self.measures}
        return Scores(values, dict(self.measures))

    def _max_sensitivity(self, explanation: Explanation, method: Explainer) -> Tensor:
        x, R, target = explanation.inputs, explanation.relevance, explanation.target

        def change(rows: Tensor, draw: Tensor) -> Tensor:
            unit = chance.uniform_like(x[rows], self.seed, Purpose.SENSITIVITY_NOISE, draw)
            noisy = method.explain(x[rows] + self.radius * (2 * unit - 1), target[rows]).relevance
            check_relevance(noisy, x[rows], "relevance of noisy inputs")
            return max_sensitivity(R[rows], noisy.unsqueeze(1))

        return self._each(x, self.draws, change).amax(1)

    @torch.no_grad()
    def _infidelity(self, explanation: Explanation, model: Model) -> Tensor:
        x, R, target = explanation.inputs, per_pixel(explanation.relevance), explanation.target
        before, pixels = logit(explanation.logits, target), R[0].numel()
        count = max(1, round(self.share * pixels))

        def foretold_and_found(rows: Tensor, draw: Tensor) -> Tensor:
            removed = chance.order(x[rows], pixels, self.seed, Purpose.INFIDELITY_PIXELS, draw) < count
            after = model(x[rows].masked_fill(_spread(removed, x), self.baseline))
            return torch.stack([(R[rows].flatten(1) * removed).sum(1), before[rows] - logit(after, target[rows])], 1)

        foretold, drops = self._each(x, self.removals, foretold_and_found).unbind(2)
        return infidelity(torch.ones_like(foretold[:, :1]), foretold.unsqueeze(2), drops, rescale=self.rescale)

    def _each(self, x: Tensor, draws: int, of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """(samples, draws, ...). Samples and draws are laid end to end and cut into batches of nearly one size."""
        pairs = torch.arange(len(x) * draws, device=x.device)
        chunks = pairs.tensor_split(-(-len(pairs) // self.max_batch))
        values = torch.cat([of(chunk // draws, chunk % draws) for chunk in chunks])
        return values.reshape(len(x), draws, *values.shape[1:])


def _spread(removed: Tensor, x: Tensor) -> Tensor:
    """(n, pixels) -> against x (batch, channels, ...), all channels of a pixel together; columns as they are."""
    return removed.reshape(-1, 1, *x.shape[2:]) if x.dim() > 2 else removed


def _method(explanation: Explanation, context: Context) -> Explainer:
    if not explanation.inputs.is_floating_point():
        got = explanation.inputs.dtype
        raise NotApplicable(f"Expected inputs that can bear noise, got {got}: leave out the metric robustness.")
    if context.method is None:
        raise NotApplicable("Expected a method that explains noisy inputs too, got none: pass Context(method=...).")
    return context.method
