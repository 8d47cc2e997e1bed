"""What becomes of a map when the input is moved a little, where that changes the decision most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lrp_bench import chance
from lrp_bench.chance import Purpose
from lrp_bench.contracts import BenchError, Explanation, Measure, NotApplicable, Scores
from lrp_bench.metrics.checks import check_floating, check_number, check_whole
from lrp_bench.metrics.evaluators.base import Context, Evaluator, Model, pixels, relevance_by
from lrp_bench.metrics.functional import relevance_mass, spearman
from lrp_bench.transfers import sent

Values = float | Sequence[float]
LOST = "adversarial/lost"


class Adversarial(Evaluator):
    """The maps before and after one step of the fast gradient sign method (Goodfellow et al. 2015).

    x' = clip(x + epsilon / std * sign(g)), g the gradient of the cross entropy of the class predicted for x. The
    control is a step of the same size, before the clipping, with signs drawn by lot. On pixels, channels summed.

    Values, each also with the ending _random, of the control: adversarial/changed, 1 where another class is predicted
    for x'; adversarial/spearman, of the maps of x and x' for the explained class; adversarial/moved, the share of the
    relevance that went elsewhere, 1/2 sum |p - p'| with p = |R| / sum |R|; adversarial/left, by how much the share of
    positive relevance inside the mask fell, beside adversarial/inside, that share before. And adversarial/lost, by how
    much the second is lower than the control's; adversarial/spearman_predicted, of the maps of x for its class and of
    x' for the class that is predicted for it, where that is another one. NaN where a map is constant or there is no
    mask.

    Args:
        epsilon: the step, in units of the data before they were standardised: of a pixel, in [0, 1].
        std: of the standardisation, a number or one per channel (per feature).
        low: smallest value of the standardised input, likewise.
        high: largest value, likewise.
        seed: of the control's signs.
    """

    higher_is_better = None

    def __init__(
        self, epsilon: float = 0.1, std: Values = 1.0, low: Values = 0.0, high: Values = 1.0, seed: int = 0
    ) -> None:
        check_number("epsilon", epsilon, above=0)
        check_whole("seed", seed, least=0)
        self.epsilon, self.seed = epsilon, seed
        self.std, self.low, self.high = _numbers("std", std), _numbers("low", low), _numbers("high", high)
        if not bool((self.std > 0).all()) or not bool((self.low < self.high).all()):
            raise BenchError(f"Expected std above 0 and low below high, got {std}, {low} and {high}: correct them")
        self.measures: Mapping[str, Measure] = _measures()
        super().__init__(*(name.partition("/")[2] for name in self.measures if name != LOST))

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch."""
        x, target = explanation.inputs, explanation.target
        before = pixels(explanation.relevance, x)
        if context.method is None:
            raise NotApplicable("Expected the method, to explain other inputs, got none: leave adversarial out.")
        check_floating(x, "adversarial", "leave the metric out")
        if explanation.logits.shape[1] < 2:
            raise NotApplicable("Expected a classifier, got one output: leave the metric adversarial out.")
        method, predicted = context.method, explanation.logits.argmax(1)
        attacked = self._step(x, ascent(context.model, x, predicted))
        control = self._step(x, chance.uniform_like(x, self.seed, Purpose.ADVERSARIAL_SIGNS) - 0.5)
        inside = _mass(before, context.mask)
        self.keep(inside=inside)
        for ending, moved in (("", attacked), ("_random", control)):
            after = pixels(relevance_by(method, moved, target), x, "relevance of moved inputs")
            self.keep(
                **{
                    f"changed{ending}": (_classes(context.model, moved) != predicted).to(before.dtype),
                    f"spearman{ending}": spearman(before, after),
                    f"moved{ending}": (_shares(before) - _shares(after)).abs().sum(1) / 2,
                    f"left{ending}": inside - _mass(after, context.mask),
                }
            )
        turned = _classes(context.model, attacked)
        found = pixels(relevance_by(method, attacked, turned), x, "relevance of moved inputs")
        self.keep(spearman_predicted=spearman(before, found).masked_fill(turned == predicted, torch.nan))

    def compute(self) -> Scores:
        """The values of all samples seen since the last reset."""
        values = {name: self.kept(name.partition("/")[2]) for name in self.measures if name != LOST}
        values[LOST] = values["adversarial/spearman_random"] - values["adversarial/spearman"]
        return Scores(values, self.measures)

    def _step(self, x: Tensor, direction: Tensor) -> Tensor:
        std, low, high = (_spread(values, x) for values in (self.std, self.low, self.high))
        return (x + self.epsilon / std * direction.sign()).clamp(low, high)


def ascent(model: Model, x: Tensor, predicted: Tensor) -> Tensor:
    """The gradient of the cross entropy of the predicted class, in the shape of x."""
    with torch.enable_grad():
        inputs = x.detach().clone().requires_grad_()
        loss = F.cross_entropy(model(inputs), predicted, reduction="sum")
        return torch.autograd.grad(loss, inputs)[0]


@torch.no_grad()
def _classes(model: Model, x: Tensor) -> Tensor:
    return model(x).argmax(1)


def _shares(relevance: Tensor) -> Tensor:
    sizes = relevance.abs()
    return sizes / sizes.sum(1, keepdim=True)


def _mass(relevance: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return torch.full_like(relevance[:, 0], torch.nan)
    return relevance_mass(relevance, mask.flatten(1))


def _numbers(name: str, values: Values) -> Tensor:
    each = list(values) if isinstance(values, Sequence) else [values]
    for value in each:
        check_number(name, value)
    return torch.tensor(each)


def _spread(values: Tensor, x: Tensor) -> Tensor:
    """(1,) or (channels,) against (batch, channels, ...)."""
    if len(values) not in (1, x.shape[1]):
        raise BenchError(f"Expected one number or {x.shape[1]}, got {values.tolist()}: correct std, low and high")
    return sent(values, x, x.dtype).reshape(-1, *[1] * (x.dim() - 2))


def _measures() -> Mapping[str, Measure]:
    def measure(title: str, lower: float = 0.0, *, headline: bool = False) -> Measure:
        return Measure(title, "adversarial", None, lower, 1.0, headline=headline)

    return {
        "adversarial/changed": measure("Decision changed, FGSM", headline=True),
        "adversarial/changed_random": measure("Decision changed, random signs", headline=True),
        "adversarial/spearman": measure("Spearman before and after FGSM", -1.0, headline=True),
        "adversarial/spearman_random": measure("Spearman before and after random signs", -1.0, headline=True),
        "adversarial/spearman_predicted": measure("Spearman with the map of the new class", -1.0),
        "adversarial/moved": measure("Relevance moved by FGSM"),
        "adversarial/moved_random": measure("Relevance moved by random signs"),
        "adversarial/inside": measure("Relevance mass"),
        "adversarial/left": measure("Relevance mass lost by FGSM", -1.0),
        "adversarial/left_random": measure("Relevance mass lost by random signs", -1.0),
        LOST: Measure("Spearman, random signs less FGSM", "adversarial", None, -2.0, 2.0, headline=False),
    }
