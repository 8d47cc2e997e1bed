"""Robustness against captum.metrics, on the very draws that were made."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from captum import metrics as captum_metrics
from torch import Tensor
from torch.testing import assert_close

from lrp_bench.contracts import BenchError, Explanation, NotApplicable
from lrp_bench.metrics import Context, Robustness

BATCH, SHAPE, DRAWS = 6, (2, 5, 5), 8


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


INPUTS, WEIGHT = drawn(BATCH, *SHAPE, seed=0), drawn(*SHAPE, seed=1)
TARGET = torch.arange(BATCH) % 2


class Model:
    """A curved score and its negative; remembers its inputs."""

    def __init__(self) -> None:
        self.seen = list[Tensor]()

    def __call__(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        score = (x * WEIGHT).flatten(1).sum(1).tanh()
        return torch.stack([score, -score], 1)


class Method:
    """Shares of the score, up to a curve; remembers its inputs."""

    def __init__(self) -> None:
        self.seen = list[Tensor]()

    def relevance(self, x: Tensor) -> Tensor:
        return (x * WEIGHT).sin() * (1 + x.square())

    def explain(self, inputs: Tensor, target: Tensor | None = None) -> Explanation:
        assert target is not None
        self.seen.append(inputs)
        sign = 1 - 2 * target.reshape(-1, 1, 1, 1)
        logits = Model()(inputs)
        return Explanation(inputs, logits, target, logits[:, 0], sign * self.relevance(inputs))


def measured(metric: Robustness) -> tuple[Explanation, Method, Model, dict[str, Tensor]]:
    method, model = Method(), Model()
    explanation = Method().explain(INPUTS, TARGET)
    metric.update(explanation, Context(model, method=method))
    return explanation, method, model, dict(metric.compute().values)


def test_max_sensitivity_is_captums() -> None:
    _, method, _, values = measured(Robustness(radius=0.1, draws=DRAWS))
    (noisy,) = method.seen

    def explain(x: Tensor | tuple[Tensor]) -> tuple[Tensor]:
        return (method.relevance(x[0] if isinstance(x, tuple) else x),)

    theirs = captum_metrics.sensitivity_max(explain, INPUTS, lambda x, radius: noisy, n_perturb_samples=DRAWS)
    assert_close(values["robustness/max_sensitivity"], theirs)


def test_noise_is_uniform_in_the_radius_and_new_in_each_draw() -> None:
    _, method, _, _ = measured(Robustness(radius=0.1, draws=DRAWS))
    noise = (method.seen[0] - INPUTS.repeat_interleave(DRAWS, 0)).flatten()
    assert noise.abs().max() <= 0.1 + 1e-6
    assert_close(noise.mean(), torch.tensor(0.0), atol=0.005, rtol=0)
    assert_close(noise.square().mean(), torch.tensor(0.01 / 3), atol=2e-4, rtol=0)
    assert len(noise.unique()) > 0.99 * len(noise)


@pytest.mark.parametrize("rescale", [True, False])
def test_infidelity_is_captums(rescale: bool) -> None:
    explanation, _, model, values = measured(Robustness(removals=DRAWS, share=0.3, baseline=0.5, rescale=rescale))
    (perturbed,) = model.seen
    removed = (perturbed != INPUTS.repeat_interleave(DRAWS, 0)).float()
    theirs = captum_metrics.infidelity(
        lambda x, target: Model()(x).gather(1, target[:, None])[:, 0],
        lambda x: (removed, perturbed),
        INPUTS,
        explanation.relevance,
        additional_forward_args=(TARGET,),
        n_perturb_samples=DRAWS,
        normalize=rescale,
    )
    foretold = (removed.reshape(BATCH, DRAWS, -1) * explanation.relevance.reshape(BATCH, 1, -1)).sum(2)
    after = Model()(perturbed).gather(1, TARGET.repeat_interleave(DRAWS)[:, None])[:, 0]
    drops = explanation.logits.gather(1, TARGET[:, None]) - after.reshape(BATCH, DRAWS)
    honest = ((foretold * drops).sum(1) >= 0) | (not rescale)  # captum also takes a factor below 0
    assert honest.sum() >= BATCH / 2
    assert_close(values["robustness/infidelity"][honest], theirs[honest])


def test_whole_pixels_are_removed_a_fixed_share_of_them() -> None:
    _, _, model, _ = measured(Robustness(removals=DRAWS, share=0.3, baseline=7.0))
    removed = model.seen[0] == 7.0
    assert torch.equal(removed[:, 0], removed[:, 1])
    assert removed[:, 0].flatten(1).sum(1).unique().tolist() == [round(0.3 * 25)]
    assert removed[:, 0].float().mean(0).max() < 0.6


def test_shares_of_a_linear_score_foretell_it_exactly() -> None:
    linear = (INPUTS * WEIGHT).flatten(1).sum(1)
    logits = torch.stack([linear, -linear], 1)
    R = INPUTS * WEIGHT
    for scale, rescale in ((1.0, False), (4.0, True)):
        metric = Robustness(rescale=rescale)
        explanation = Explanation(INPUTS, logits, torch.zeros(BATCH, dtype=torch.int64), linear, scale * R)
        metric.update(
            explanation,
            Context(lambda x: torch.stack([(x * WEIGHT).flatten(1).sum(1)] * 2, 1), method=Method()),
        )
        assert_close(metric.compute().values["robustness/infidelity"], torch.zeros(BATCH), atol=1e-8, rtol=0)


def test_memory_is_bounded_whatever_the_number_of_draws() -> None:
    _, method, model, _ = measured(Robustness(draws=5, removals=9, max_batch=7))
    assert max(map(len, method.seen + model.seen)) <= 7


def test_noisy_relevance_that_cannot_be_used_is_told() -> None:
    class Broken(Method):
        def explain(self, inputs: Tensor, target: Tensor | None = None) -> Explanation:
            return replace(super().explain(inputs, target), relevance=inputs / 0)

    with pytest.raises(BenchError, match="relevance of noisy inputs"):
        Robustness().update(Method().explain(INPUTS, TARGET), Context(Model(), method=Broken()))


def test_token_ids_and_a_missing_method_are_told() -> None:
    tokens = torch.zeros(BATCH, 4, dtype=torch.int64)
    R = torch.ones(BATCH, 4)
    with pytest.raises(NotApplicable, match="can bear noise"):
        Robustness().update(Explanation(tokens, R, TARGET, R[:, 0], R), Context(Model(), method=Method()))
    with pytest.raises(NotApplicable, match="method"):
        Robustness().update(Method().explain(INPUTS, TARGET), Context(Model()))
