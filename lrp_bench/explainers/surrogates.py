"""Captum's methods that fit a linear model to the scores of random choices of patches."""

from __future__ import annotations

from abc import abstractmethod

import torch
from captum import attr
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr._core.lime import get_exp_kernel_similarity_function
from torch import Tensor, nn

from lrp_bench import chance
from lrp_bench.chance import Purpose
from lrp_bench.explainers.arguments import expect, expect_number
from lrp_bench.explainers.patches import Switched, patch_ids
from lrp_bench.explainers.perturbation import SampledPatches


class Surrogate(SampledPatches):
    """The weights of a linear model fitted to the scores of random choices of patches, one fit for each sample.

    Raises:
        BenchError: if the input has fewer than 2 patches, or n_samples is less than their number + 2, with which the
            fit is undetermined; several times their number is better.
    """

    def _verify(self, probe: Tensor) -> None:
        patches = int(patch_ids(probe, self._patch).max()) + 1
        size = f"patch={self._patch} and inputs {tuple(probe.shape[1:])}"
        expect(patches >= 2, "at least 2 patches to compare", f"{patches} with {size}")
        expect(
            self._n_samples >= patches + 2,
            f"n_samples of at least {patches + 2}, for the {patches} patches and 2 more, or larger patches",
            self._n_samples,
        )

    @abstractmethod
    def _method(self, game: Switched) -> attr.Lime: ...

    def _worth(self, game: Switched, switches: Tensor, inputs: Tensor, target: Tensor) -> Tensor:
        method, keys = self._method(game), chance.bits(inputs, 1, self._seed, Purpose.GENERATOR_SEED)[:, 0].tolist()
        before = torch.random.get_rng_state()  # Captum draws on the CPU, from the global generator
        try:
            return torch.cat([self._fit(method, *row) for row in zip(keys, switches, inputs, target, strict=True)])
        finally:
            torch.random.set_rng_state(before)

    def _fit(self, method: attr.Lime, key: int, switches: Tensor, inputs: Tensor, target: Tensor) -> Tensor:
        torch.default_generator.manual_seed(key)
        weights: Tensor = method.attribute(
            switches[None],
            target=target[None],
            additional_forward_args=(inputs[None],),
            n_samples=self._n_samples,
            perturbations_per_eval=self._internal_batch_size,
            return_input_shape=False,
        )
        return weights.view(1, -1)


class KernelShap(Surrogate):
    """Shapley values by weighted least squares (Lundberg, Lee 2017), on n_samples choices of patches."""

    def _method(self, game: Switched) -> attr.Lime:
        return attr.KernelShap(game)


class Lime(Surrogate):
    """A ridge regression on choices of patches, near ones weighing more (Ribeiro et al. 2016).

    Each patch is present with probability 1/2. A choice z weighs exp(-d^2 / (2 kernel_width^2)), d being the cosine
    distance of z from the choice of all patches.

    Args:
        model: see IsolatedExplainer.
        example: see IsolatedExplainer.
        kernel_width: in the formula above.
        alpha: penalty on the squared weights.
        patch: see PatchExplainer.
        baseline: see PerturbationExplainer.
        n_samples: see SampledPatches.
        seed: see SampledPatches.
        internal_batch_size: see PerturbationExplainer.
    """

    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        *,
        kernel_width: float = 0.25,
        alpha: float = 1.0,
        patch: int | None = None,
        baseline: float = 0.0,
        n_samples: int = 256,
        seed: int = 0,
        internal_batch_size: int = 256,
    ) -> None:
        expect_number("kernel_width", kernel_width)
        expect(kernel_width > 0, "kernel_width to be > 0", kernel_width)
        expect_number("alpha", alpha, least=0)
        self._kernel_width, self._alpha = kernel_width, alpha
        super().__init__(
            model,
            example,
            patch=patch,
            baseline=baseline,
            n_samples=n_samples,
            seed=seed,
            internal_batch_size=internal_batch_size,
        )

    def _method(self, game: Switched) -> attr.Lime:
        near = get_exp_kernel_similarity_function("cosine", kernel_width=self._kernel_width)
        return attr.Lime(game, interpretable_model=SkLearnRidge(alpha=self._alpha), similarity_func=near)
