"""Does the explanation change when the model forgets what it learnt?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from lrp_bench import chance
from lrp_bench.chance import Purpose
from lrp_bench.contracts import BenchError, Curve, Explainer, Explanation, Measure, NotApplicable, Scores
from lrp_bench.metrics.checks import check_number, check_whole
from lrp_bench.metrics.evaluators.base import Context, Evaluator, pixels, relevance_by
from lrp_bench.metrics.functional import spearman
from lrp_bench.metrics.functional.rows import rows, varied
from lrp_bench.metrics.randomisation import Twin, forward_order, shuffle
from lrp_bench.transfers import sent, together


class Randomisation(Evaluator):
    """Model parameter randomisation test, MPRT (Adebayo et al. 2018); with draws its smoothed form, sMPRT.

    From the output down, one layer after the other has the values of its parameters put in a random order, which keeps
    their distribution; those above stay random. After each step the same class is explained again, and compared with
    the map of the trained model on pixels (channels summed) by Spearman's |rho|: the sign of a map follows that of the
    explained output, which a random model does not keep. A map that does not change does not look at the model. Of
    unrelated maps of n pixels |rho| is about 0.8 / sqrt(n).

    Values: mprt/spearman, with every layer random; mprt/spearman_mean, over the steps; mprt/magnitude and
    mprt/magnitude_mean, the same of |relevance|. NaN where the map of the trained model is constant, 0 where only the
    other one is. Curves: mprt/spearman and mprt/magnitude over the share of the layers that is random. With draws all
    are called smprt/...

    sMPRT (Hedstroem et al. 2024) compares maps averaged over noisy inputs, x + n with n ~ N(0, sigma (max x - min x)).

    Each step makes the method anew for the randomised model, unless it follows the weights of its model, as LRP does.

    Args:
        layers: how many steps to look at, evenly spaced, the last with every layer random; or the names of modules
            after which to look; None: after each layer. All layers are randomised in any case.
        draws: noisy inputs per sample; 0: the input itself.
        sigma: of the noise, as a share of the sample's range.
        seed: of the random order and the noise.
        gate: the largest mean of mprt/spearman that passes.
    """

    higher_is_better = False
    kinds = ("spearman", "magnitude")
    fractions: list[Tensor]

    def __init__(
        self,
        layers: int | Sequence[str] | None = None,
        draws: int = 0,
        sigma: float = 0.1,
        seed: int = 0,
        gate: float = 0.5,
    ) -> None:
        _check_layers(layers)
        check_whole("draws", draws, least=0)
        check_whole("seed", seed, least=0)
        check_number("sigma", sigma, above=0)
        check_number("gate", gate, above=0, below=1)
        super().__init__(*self.kinds, "fractions")
        self.layers, self.draws, self.sigma, self.seed = layers, draws, sigma, seed
        self.twin: Twin | None = None
        self.family = "smprt" if draws else "mprt"
        self.measures = _measures(self.family, gate)

    def update(self, explanation: Explanation, context: Context) -> None:
        """Add one batch; the context's model is an nn.Module, which stays as it is."""
        if context.method is None or context.explainer is None or not isinstance(context.model, nn.Module):
            raise NotApplicable(
                "Expected a model with layers and a method that can be made anew for it, got none: leave mprt out."
            )
        x = explanation.inputs
        before = pixels(explanation.relevance, x)
        if self.draws:
            before = pixels(self._explained(context.method, explanation), x)
        fractions, after = [0.0], [before]
        twin = self._twin_of(context.model, context.explainer)
        for fraction in self._randomised(twin.model, x):
            with together(lambda error: NotApplicable(f"The method cannot explain the randomised model: {error}")):
                after.append(pixels(self._explained(twin.method(), explanation), x))
            fractions.append(fraction)
        self.twin = twin if twin.followed else None
        self.keep(
            spearman=torch.stack([_alike(before, other) for other in after], 1),
            magnitude=torch.stack([_alike(before.abs(), other.abs()) for other in after], 1),
            fractions=sent([fractions], x),
        )

    def compute(self) -> Scores:
        """The values and curves of all samples seen since the last reset."""
        self.twin = None
        fractions, values, curves = self.kept("fractions")[0], {}, {}
        for kind in self.kinds:
            scores = self.kept(kind)
            values[f"{self.family}/{kind}"] = scores[:, -1]
            values[f"{self.family}/{kind}_mean"] = scores[:, 1:].mean(1)
            curves[f"{self.family}/{kind}"] = Curve(fractions, scores)
        return Scores(values, self.measures, curves)

    def reset(self) -> None:
        """Forget all samples."""
        super().reset()
        self.twin = None

    def _twin_of(self, model: nn.Module, make: Callable[[nn.Module], Explainer]) -> Twin:
        """A copy of the model with its weights: that of the last batch, if its method could be kept."""
        twin, self.twin = self.twin, None
        if twin is None or twin.original is not model or twin.make is not make:
            return Twin(model, make)
        twin.restore()
        return twin

    def _explained(self, method: Explainer, explanation: Explanation) -> Tensor:
        """The map of the class that was explained, the mean over noisy inputs if there are draws."""
        x, target = explanation.inputs, explanation.target
        if not self.draws:
            return relevance_by(method, x, target)
        if not x.is_floating_point():
            raise NotApplicable(f"Expected inputs that noise can be added to, got {x.dtype}: set draws to 0.")
        scale = self.sigma * (x.flatten(1).amax(1) - x.flatten(1).amin(1)).view(-1, *[1] * (x.dim() - 1))
        noisy = (x + scale * chance.normal_like(x, self.seed, Purpose.SMPRT_NOISE, draw) for draw in range(self.draws))
        return torch.stack([relevance_by(method, each, target) for each in noisy]).mean(0)

    def _randomised(self, twin: nn.Module, x: Tensor) -> Iterator[float]:
        """Randomises the layers; the share of them that is random, after each step that is looked at."""
        generator, done = torch.Generator().manual_seed(self.seed), set[int]()
        order = forward_order(twin, x[:2])[::-1]
        stops = self._stops(order)
        for number, name in enumerate(order, start=1):
            shuffle(twin.get_submodule(name), generator, done)
            if number in stops:
                yield number / len(order)

    def _stops(self, order: list[str]) -> set[int]:
        count = len(order)
        if not count:
            raise NotApplicable("Expected a model with parameters, got one without: nothing can be randomised.")
        if self.layers is None or isinstance(self.layers, int):
            steps = min(self.layers or count, count)
            return {math.ceil(count * step / steps) for step in range(1, steps + 1)}
        if unknown := [name for name in self.layers if name not in order]:
            raise BenchError(
                f"Expected layers with parameters, among {', '.join(order)}, got {', '.join(unknown)}: correct layers."
            )
        return {*(order.index(name) + 1 for name in self.layers), count}


def _alike(before: Tensor, after: Tensor) -> Tensor:
    """(batch,): |rho|, and 0 where only the second map is constant: nothing of the first is left in it."""
    gone = varied(rows(before)) & ~varied(rows(after))
    return spearman(before, after).abs().masked_fill(gone, 0.0)


def _check_layers(layers: object) -> None:
    if layers is None or (isinstance(layers, Sequence) and not isinstance(layers, str)):
        return
    if isinstance(layers, str):
        raise BenchError(f"Expected layers to list names of modules, got {layers!r}: write [{layers}]")
    check_whole("layers", layers)


def _measures(family: str, gate: float) -> Mapping[str, Measure]:
    title = "sMPRT" if family == "smprt" else "MPRT"

    def alike(words: str, *, headline: bool = False, gate: float | None = None) -> Measure:
        return Measure(f"{title}{words}", family, False, 0.0, 1.0, headline=headline, gate=gate)

    return {
        f"{family}/spearman": alike("", headline=True, gate=gate),
        f"{family}/spearman_mean": alike(", mean over layers"),
        f"{family}/magnitude": alike(" of magnitudes"),
        f"{family}/magnitude_mean": alike(" of magnitudes, mean over layers"),
    }
