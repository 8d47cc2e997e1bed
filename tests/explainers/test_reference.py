"""The random row: normal, reproducible per sample, blind to model and target."""

from __future__ import annotations

import doctest

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from torch import Tensor, nn

from lrp_bench.contracts import BenchError
from lrp_bench.explainers import reference
from lrp_bench.explainers.reference import Random, Sobel, standard_normal


def model(classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, classes))


def images(batch: int, seed: int = 1) -> Tensor:
    return torch.rand(batch, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_doctests() -> None:
    assert doctest.testmod(reference).failed == 0


def test_an_explanation_names_what_it_explains() -> None:
    net, x = model(), images(5)
    explanation = Random(net, x).explain(x)
    logits = net(x).detach()
    torch.testing.assert_close(explanation.logits, logits)
    torch.testing.assert_close(explanation.target, logits.argmax(1))
    torch.testing.assert_close(explanation.score, logits.amax(1))
    assert explanation.relevance.shape == x.shape
    assert explanation.relevance.dtype == x.dtype

    target = torch.tensor([3, 0, 1, 2, 3])
    other = Random(model(9), x).explain(x, target)
    torch.testing.assert_close(other.target, target)
    torch.testing.assert_close(other.relevance, explanation.relevance, rtol=0, atol=0)


@settings(max_examples=15, deadline=None)
@given(cut=st.integers(1, 7), seed=st.integers(0, 2**63 - 1), order=st.permutations(range(8)))
def test_a_map_depends_on_seed_and_sample_alone(cut: int, seed: int, order: list[int]) -> None:
    x = images(8)
    whole = standard_normal(x, seed)
    parts = torch.cat([standard_normal(part, seed) for part in x.split(cut)])
    torch.testing.assert_close(parts, whole, rtol=0, atol=0)
    torch.testing.assert_close(standard_normal(x[order], seed), whole[order], rtol=0, atol=0)


def test_the_draws_are_standard_normal() -> None:
    draws = standard_normal(images(200), 0).flatten()
    assert bool(draws.isfinite().all())
    assert stats.kstest(draws.numpy(), "norm").pvalue > 0.01
    assert abs(float(stats.kurtosis(draws.numpy()))) < 0.1


def test_maps_of_near_and_swapped_samples_and_of_other_seeds_are_unrelated() -> None:
    x = torch.zeros(1, 100, 100)
    near, swapped = x.clone(), x.clone()
    near[0, 0, 0], swapped[0, 0, 1] = 1e-6, 1e-6
    maps = [standard_normal(x, 0), standard_normal(x, 1), standard_normal(near, 0), standard_normal(swapped, 0)]
    correlation = torch.corrcoef(torch.stack([m.flatten() for m in maps]))
    assert float((correlation - torch.eye(4)).abs().max()) < 0.05  # five standard errors of 10,000 draws


def test_equal_values_give_equal_maps() -> None:
    zero = torch.zeros(1, 6)
    torch.testing.assert_close(standard_normal(-zero, 3), standard_normal(zero, 3), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.float64, torch.float64), (torch.bfloat16, torch.bfloat16), (torch.int64, torch.float32)],
)
def test_any_kind_of_input_gets_a_map(dtype: torch.dtype, expected: torch.dtype) -> None:
    class Logits(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.sum(1), -x.sum(1)], 1).float()

    x = torch.randint(0, 9, (4, 7)).to(dtype)
    relevance = Random(Logits(), x, seed=5).explain(x).relevance
    assert relevance.dtype == expected
    torch.testing.assert_close(relevance, standard_normal(x, 5).to(expected), rtol=0, atol=0)


@pytest.mark.parametrize("seed", [-1, 2**63, 1.5, "abc"])
def test_a_bad_seed_says_what_was_expected(seed: object) -> None:
    with pytest.raises(BenchError, match="Expected seed to be an integer"):
        Random(model(), images(1), seed=seed)


def test_sobel_is_that_of_scipy_on_the_mean_over_channels() -> None:
    x = images(3).double()
    relevance = Sobel(model().double(), x).explain(x).relevance
    for image, edges in zip(x.mean(1).numpy(), relevance.sum(1), strict=True):
        across, down = (torch.from_numpy(ndimage.sobel(image, axis, mode="nearest")) / 8 for axis in (0, 1))
        torch.testing.assert_close(edges, torch.hypot(across, down))
    torch.testing.assert_close(relevance[:, 0], relevance.sum(1) / 3)
