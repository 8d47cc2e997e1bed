"""Captum's methods that look at the score only: parts of the input are replaced by a baseline."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch
from captum import attr
from torch import Tensor, nn

from lrp_bench import chance
from lrp_bench.chance import Purpose
from lrp_bench.explainers.arguments import expect, expect_count, expect_number, expect_seed
from lrp_bench.explainers.base import LibraryExplainer
from lrp_bench.explainers.patches import Switched, patch_ids, shared


class PerturbationExplainer(LibraryExplainer):
    """Replaces parts of the input.

    Args:
        model: see IsolatedExplainer.
        example: see IsolatedExplainer.
        baseline: what takes the place of a part, one value for every feature, in the units the model takes.
        internal_batch_size: perturbed inputs sent through the model at once; bounds the memory (one per sample at the
            least).
    """

    _needs = "inputs whose values a baseline can replace"

    def __init__(self, model: nn.Module, example: Tensor, baseline: float, internal_batch_size: int) -> None:
        expect_number("baseline", baseline)
        expect_count("internal_batch_size", internal_batch_size)
        self._baseline, self._internal_batch_size = baseline, internal_batch_size
        super().__init__(model, example)

    def _verify(self, probe: Tensor) -> None:
        """Nothing can go wrong that running the model has not shown: no gradient is needed."""

    def _at_once(self, inputs: Tensor) -> int:
        return max(1, self._internal_batch_size // len(inputs))


class Occlusion(PerturbationExplainer):
    """The fall of the score when a window is covered, mean over the windows that cover a pixel (Zeiler, Fergus 2014).

    Every pixel has the whole change of its windows, as in Captum. Of a table, every column is a window of its own.

    Args:
        model: see IsolatedExplainer.
        example: see IsolatedExplainer.
        window: side of the window in pixels, over all channels; None: a quarter of each side.
        stride: step of the window; None: half the window.
        baseline: see PerturbationExplainer.
        internal_batch_size: see PerturbationExplainer.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        *,
        window: int | None = None,
        stride: int | None = None,
        baseline: float = 0.0,
        internal_batch_size: int = 256,
    ) -> None:
        for name, value in (("window", window), ("stride", stride)):
            if value is not None:
                expect_count(name, value)
        self._window, self._stride = window, stride
        self._windows(example)
        super().__init__(model, example, baseline, internal_batch_size)

    def _windows(self, inputs: Tensor) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shape and stride of the window on one sample."""
        if inputs.dim() == 2:
            return (1,), (1,)
        sides = inputs.shape[2:]
        window = [self._window or max(1, side // 4) for side in sides]
        stride = [self._stride or max(1, size // 2) for size in window]
        fits = all(size <= side for size, side in zip(window, sides, strict=True))
        expect(fits, f"a window of at most {min(sides)} pixels", self._window)
        expect(all(s <= w for s, w in zip(stride, window, strict=True)), f"a stride <= {min(window)}", self._stride)
        return (inputs.shape[1], *window), (inputs.shape[1], *stride)

    def _attribute(self, inputs: Tensor, target: Tensor) -> Tensor:
        window, stride = self._windows(inputs)
        relevance: Tensor = attr.Occlusion(self._net).attribute(
            inputs,
            sliding_window_shapes=window,
            strides=stride,
            baselines=self._baseline,
            target=target,
            perturbations_per_eval=self._at_once(inputs),
        )
        return relevance.to(inputs.dtype)


class PatchExplainer(PerturbationExplainer):
    """What each patch is worth, shared equally by its values, so that patches of any size can be summed and compared.

    Args:
        model: see IsolatedExplainer.
        example: see IsolatedExplainer.
        patch: side of a patch in pixels, over all channels; None: the smallest with at most 64 patches. What is left at
            an edge is a smaller patch. Of a table, every column is a patch of its own.
        baseline: see PerturbationExplainer.
        internal_batch_size: see PerturbationExplainer.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        *,
        patch: int | None = None,
        baseline: float = 0.0,
        internal_batch_size: int = 256,
    ) -> None:
        if patch is not None:
            expect_count("patch", patch)
        self._patch = patch
        super().__init__(model, example, baseline, internal_batch_size)

    def _attribute(self, inputs: Tensor, target: Tensor) -> Tensor:
        ids = patch_ids(inputs, self._patch)
        switches = torch.ones(len(inputs), int(ids.max()) + 1, dtype=inputs.dtype, device=inputs.device)
        worth = self._worth(Switched(self._net, ids, self._baseline), switches, inputs.detach(), target)
        return shared(worth.to(inputs), ids)

    @abstractmethod
    def _worth(self, game: Switched, switches: Tensor, inputs: Tensor, target: Tensor) -> Tensor:
        """(batch, patches)."""


class FeatureAblation(PatchExplainer):
    """The fall of the score when one patch alone is replaced; arguments as in PatchExplainer."""

    def _worth(self, game: Switched, switches: Tensor, inputs: Tensor, target: Tensor) -> Tensor:
        worth: Tensor = attr.FeatureAblation(game).attribute(
            switches,
            target=target,
            additional_forward_args=(inputs,),
            perturbations_per_eval=self._at_once(inputs),
        )
        return worth


class SampledPatches(PatchExplainer):
    """What patches are worth, from random choices of patches that belong to the sample, not to the batch.

    Args:
        model: see IsolatedExplainer.
        example: see IsolatedExplainer.
        patch: see PatchExplainer.
        baseline: see PerturbationExplainer.
        n_samples: random choices per sample; None: 256, and of orders (ShapleyValueSampling) 10.
        seed: another seed gives independent choices.
        internal_batch_size: see PerturbationExplainer.
    """

    _default_samples = 256

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        *,
        patch: int | None = None,
        baseline: float = 0.0,
        n_samples: int | None = None,
        seed: int = 0,
        internal_batch_size: int = 256,
    ) -> None:
        self._n_samples = self._default_samples if n_samples is None else n_samples
        expect_count("n_samples", self._n_samples)
        expect_seed(seed)
        self._seed = seed
        super().__init__(model, example, patch=patch, baseline=baseline, internal_batch_size=internal_batch_size)


class ShapleyValueSampling(SampledPatches):
    """Shapley values: the mean, over random orders, of what a patch adds when it is put in (Castro et al. 2009).

    Sums to f(x) - f(baseline) exactly. n_samples are orders, each of as many forward passes as there are patches. All
    samples of a batch go through the model together; each has its patches numbered in an order of its own.
    """

    _default_samples = 10

    def _worth(self, game: Switched, switches: Tensor, inputs: Tensor, target: Tensor) -> Tensor:
        order = chance.order(inputs, switches.shape[1], self._seed, Purpose.PATCH_ORDER)
        method = attr.ShapleyValueSampling(game)
        method.permutation_generator = self._permutations
        worth: Tensor = method.attribute(
            switches,
            target=target,
            additional_forward_args=(inputs, order),
            n_samples=self._n_samples,
            perturbations_per_eval=self._at_once(inputs),
        )
        return torch.zeros_like(worth).scatter(1, order, worth)

    def _permutations(self, patches: int, count: int) -> Iterator[Sequence[int]]:
        generator = torch.Generator().manual_seed(self._seed)
        for _ in range(count):
            yield torch.randperm(patches, generator=generator).tolist()
