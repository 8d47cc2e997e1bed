"""Every public function against an independent reference: SciPy, captum.metrics, or a loop in plain numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations, permutations, product

import numpy as np
import pytest
import torch
from captum import metrics as captum_metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.metrics import functional
from lrp_bench.metrics.functional import (
    abpc,
    aopc,
    auc,
    conservation_delta,
    conservation_error,
    cosine,
    entropy,
    gini,
    infidelity,
    kendall,
    max_sensitivity,
    naopc,
    pairwise_rank_agreement,
    pearson,
    pointing_game,
    rank_agreement,
    relevance_mass,
    relevance_rank,
    sign_agreement,
    signed_rank_agreement,
    spearman,
    srg,
    top_k_intersection,
)

BATCH = 6
K = 5


def maps(dtype: torch.dtype = torch.float64, seed: int = 0, ties: bool = False) -> Tensor:
    values = torch.randn(BATCH, 3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ((values * 2).round() / 2 if ties else values).to(dtype)


def masks() -> Tensor:
    return maps(seed=7) > 0.3


def per_sample(reference: Callable[..., float]) -> Callable[..., Tensor]:
    """A reference for one sample -> one for batches, in float64 numpy."""

    def batched(*tensors: Tensor) -> Tensor:
        rows = zip(*(tensor.double().flatten(1).numpy() for tensor in tensors), strict=True)
        return torch.tensor([float(reference(*row)) for row in rows], dtype=torch.float64)

    return batched


def chance(values: np.ndarray, k: int = K) -> np.ndarray:
    """(n, k): the chance that a feature is at a place of the top k, ties being broken by lot."""
    first, last = (stats.rankdata(-np.abs(values), method) - 1 for method in ("min", "max"))
    places = np.arange(k)
    possible = (first[:, None] <= places) & (places <= last[:, None])
    return possible / (last - first + 1)[:, None]


def in_both(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return chance(a).sum(1) * chance(b).sum(1)


def at_same_place(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (chance(a) * chance(b)).sum(1)


def trapezoid(fractions: np.ndarray, scores: np.ndarray) -> float:
    area = sum((scores[i] + scores[i + 1]) / 2 * (fractions[i + 1] - fractions[i]) for i in range(len(scores) - 1))
    return area / (fractions[-1] - fractions[0])


def same_order(a: np.ndarray, b: np.ndarray) -> float:
    pairs = list(combinations(range(len(a)), 2))
    a, b = np.abs(a), np.abs(b)
    return sum(np.sign(a[i] - a[j]) == np.sign(b[i] - b[j]) for i, j in pairs) / len(pairs)


def gini_by_differences(values: np.ndarray) -> float:
    values = np.abs(values)
    return float(np.abs(values[:, None] - values).sum() / (2 * len(values) * values.sum()))


FRACTIONS = torch.tensor([0.0, 0.1, 0.4, 1.0], dtype=torch.float64)


def curves(seed: int) -> Tensor:
    return maps(seed=seed).flatten(1)[:, :4]


def captum_infidelity(relevance: Tensor, perturbations: Tensor, weight: Tensor, x: Tensor) -> Tensor:
    draws = perturbations.flatten(0, 1)
    return captum_metrics.infidelity(
        lambda z: (z * weight).flatten(1).sum(1).tanh(),
        lambda z: (draws, z - draws),
        x,
        relevance,
        n_perturb_samples=perturbations.shape[1],
    )


def drops(perturbations: Tensor, weight: Tensor, x: Tensor) -> Tensor:
    before = (x * weight).flatten(1).sum(1).tanh()
    return before[:, None] - ((x[:, None] - perturbations) * weight).flatten(2).sum(2).tanh()


def draws() -> Tensor:
    return torch.stack([maps(seed=20 + i) for i in range(4)], 1)


PAIR = (maps(seed=1), maps(seed=2))
TIED = (maps(seed=1, ties=True), maps(seed=2, ties=True))
SCORE = maps(seed=5).flatten(1)[:, 0]

# name -> (arguments, reference value of each sample)
ORACLES: dict[str, list[tuple[tuple[object, ...], Tensor]]] = {
    "conservation_delta": [((PAIR[0], SCORE), per_sample(lambda R, f: f[0] - math.fsum(R))(PAIR[0], SCORE[:, None]))],
    "conservation_error": [
        (
            (PAIR[0], SCORE),
            per_sample(lambda R, f: abs(math.fsum(R) - f[0]) / (abs(f[0]) + 1e-9))(PAIR[0], SCORE[:, None]),
        )
    ],
    "aopc": [((curves(1),), per_sample(lambda s: sum(s[0] - s[k] for k in range(len(s))) / len(s))(curves(1)))],
    "auc": [((FRACTIONS, curves(1)), per_sample(lambda s: trapezoid(FRACTIONS.numpy(), s))(curves(1)))],
    "srg": [
        (
            (FRACTIONS, curves(1), curves(2)),
            per_sample(lambda lerf, morf: trapezoid(FRACTIONS.numpy(), lerf) - trapezoid(FRACTIONS.numpy(), morf))(
                curves(1), curves(2)
            ),
        )
    ],
    "abpc": [((curves(1), curves(2)), per_sample(lambda lerf, morf: np.mean(lerf - morf))(curves(1), curves(2)))],
    "deletion": [((FRACTIONS, curves(1)), per_sample(lambda s: trapezoid(FRACTIONS.numpy(), s))(curves(1)))],
    "insertion": [
        (
            (FRACTIONS, curves(1)),  # put in from the end: what is out at f is in at 1 - f
            per_sample(lambda s: trapezoid(1 - FRACTIONS.numpy()[::-1], s[::-1]))(curves(1)),
        )
    ],
    "remaining": [((curves(1),), per_sample(lambda s: sum(s[1:]) / (len(s) - 1))(curves(1)))],
    "comprehensiveness": [((curves(1),), per_sample(lambda s: np.mean([s[0] - v for v in s[1:]]))(curves(1)))],
    "sufficiency": [((curves(1),), per_sample(lambda s: np.mean([s[0] - v for v in s[1:]]))(curves(1)))],
    "naopc": [
        (
            (SCORE, SCORE - 1.5, SCORE + SCORE.abs()),
            per_sample(lambda v: 1.5 / (1.5 + abs(v[0])))(SCORE[:, None]),
        )
    ],
    "pearson": [(pair, per_sample(lambda a, b: stats.pearsonr(a, b)[0])(*pair)) for pair in (PAIR, TIED)],
    "spearman": [(pair, per_sample(lambda a, b: stats.spearmanr(a, b)[0])(*pair)) for pair in (PAIR, TIED)],
    "kendall": [(pair, per_sample(lambda a, b: stats.kendalltau(a, b)[0])(*pair)) for pair in (PAIR, TIED)],
    "cosine": [
        (pair, per_sample(lambda a, b: np.dot(a, b) / math.sqrt(np.dot(a, a) * np.dot(b, b)))(*pair))
        for pair in (PAIR, TIED)
    ],
    "pairwise_rank_agreement": [(pair, per_sample(same_order)(*pair)) for pair in (PAIR, TIED)],
    "top_k_intersection": [
        ((*pair, K), per_sample(lambda a, b: in_both(a, b).sum() / K)(*pair)) for pair in (PAIR, TIED)
    ],
    "sign_agreement": [
        (
            (*pair, K),
            per_sample(lambda a, b: in_both(a, b)[np.sign(a) == np.sign(b)].sum() / K)(*pair),
        )
        for pair in (PAIR, TIED)
    ],
    "rank_agreement": [
        ((*pair, K), per_sample(lambda a, b: at_same_place(a, b).sum() / K)(*pair)) for pair in (PAIR, TIED)
    ],
    "signed_rank_agreement": [
        (
            (*pair, K),
            per_sample(lambda a, b: at_same_place(a, b)[np.sign(a) == np.sign(b)].sum() / K)(*pair),
        )
        for pair in (PAIR, TIED)
    ],
    "gini": [((a,), per_sample(gini_by_differences)(a)) for a in (PAIR[0], TIED[0])],
    "entropy": [((a,), per_sample(lambda v: stats.entropy(np.abs(v)))(a)) for a in (PAIR[0], TIED[0])],
    "relevance_mass": [
        (
            (PAIR[0], masks()),
            per_sample(lambda R, m: R[(m == 1) & (R > 0)].sum() / R[R > 0].sum())(PAIR[0], masks()),
        )
    ],
    "relevance_rank": [
        (
            (PAIR[0], masks()),
            per_sample(lambda R, m: m[np.argsort(-R)[: int(m.sum())]].sum() / m.sum())(PAIR[0], masks()),
        )
    ],
    "pointing_game": [((PAIR[0], masks()), per_sample(lambda R, m: m[R.argmax()])(PAIR[0], masks()))],
    "infidelity": [
        (
            (PAIR[0], draws(), drops(draws(), PAIR[1][0], maps(seed=3))),
            captum_infidelity(PAIR[0], draws(), PAIR[1][0], maps(seed=3)),
        )
    ],
    "max_sensitivity": [
        (
            (PAIR[0].square(), (PAIR[0][:, None] + draws()).square()),
            captum_metrics.sensitivity_max(
                lambda z: (z[0].square(),) if isinstance(z, tuple) else z.square(),
                PAIR[0],
                perturb_func=lambda z: z + draws().flatten(0, 1),
                n_perturb_samples=draws().shape[1],
            ),
        )
    ],
}
CASES = [(name, *case) for name, cases in ORACLES.items() for case in cases]


def test_every_function_has_an_oracle() -> None:
    assert set(ORACLES) == set(functional.__all__)


@pytest.mark.parametrize(("name", "arguments", "expected"), CASES)
def test_equals_its_oracle(name: str, arguments: tuple[object, ...], expected: Tensor) -> None:
    assert_close(getattr(functional, name)(*arguments), expected)


@pytest.mark.parametrize(("name", "arguments", "expected"), CASES)
def test_float32_stays_float32(name: str, arguments: tuple[object, ...], expected: Tensor) -> None:
    single = [a.float() if isinstance(a, Tensor) and a.is_floating_point() else a for a in arguments]
    assert_close(getattr(functional, name)(*single), expected.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "arguments", "expected"), CASES)
def test_each_sample_stands_alone(name: str, arguments: tuple[object, ...], expected: Tensor) -> None:
    third = [a[2:3] if isinstance(a, Tensor) and len(a) == BATCH else a for a in arguments]
    assert_close(getattr(functional, name)(*third), expected[2:3])


def test_rank_correlations_of_a_colour_image() -> None:
    generator = torch.Generator().manual_seed(0)
    a = (torch.randn(2, 3072, generator=generator) * 50).round()
    b = (a + 100 * torch.randn(2, 3072, generator=generator)).round()
    assert_close(kendall(a, b), per_sample(lambda x, y: stats.kendalltau(x, y)[0])(a, b).float())
    assert_close(spearman(a, b), per_sample(lambda x, y: stats.spearmanr(x, y)[0])(a, b).float())


def test_auc_at_the_fractions_of_each_sample() -> None:
    fractions = curves(3).abs().cumsum(1)
    expected = [trapezoid(f.numpy(), s.numpy()) for f, s in zip(fractions, curves(1), strict=True)]
    assert_close(auc(fractions, curves(1)), torch.tensor(expected, dtype=torch.float64))


def test_a_rescaled_infidelity_is_the_best_over_all_scales_but_no_reward_for_the_opposite() -> None:
    R, perturbations, found = PAIR[0], draws(), drops(draws(), PAIR[1][0], maps(seed=3))
    scales = torch.linspace(0, 3, 3001, dtype=torch.float64)
    best = torch.stack([infidelity(scale * R, perturbations, found) for scale in scales]).amin(0)
    assert_close(infidelity(R, perturbations, found, rescale=True), best, rtol=1e-3, atol=1e-6)
    exact = (perturbations * R[:, None]).flatten(2).sum(2)
    assert_close(infidelity(2 * R, perturbations, exact, rescale=True), torch.zeros(BATCH, dtype=torch.float64))
    assert_close(infidelity(-R, perturbations, exact, rescale=True), exact.square().mean(1))
    assert_close(infidelity(0 * R, perturbations, found, rescale=True), found.square().mean(1))


def test_the_gini_index_of_equal_values_is_not_below_zero() -> None:
    assert_close(gini(torch.linspace(0.1, 3, 50)[:, None].expand(-1, 64)), torch.zeros(50), atol=1e-6, rtol=0)
    assert (gini(torch.linspace(0.1, 3, 50)[:, None].expand(-1, 64)) >= 0).all()


small = st.lists(st.integers(-3, 3), min_size=2, max_size=9)


@settings(max_examples=60, deadline=None)
@given(st.data(), small)
def test_kendall_and_spearman_equal_scipy_with_any_ties(data: st.DataObject, first: list[int]) -> None:
    second = data.draw(st.lists(st.integers(-3, 3), min_size=len(first), max_size=len(first)))
    a, b = torch.tensor([first], dtype=torch.float64), torch.tensor([second], dtype=torch.float64)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert kendall(a, b).isnan().all()
        assert spearman(a, b).isnan().all()
    else:
        assert_close(kendall(a, b), per_sample(lambda x, y: stats.kendalltau(x, y)[0])(a, b))
        assert_close(spearman(a, b), per_sample(lambda x, y: stats.spearmanr(x, y)[0])(a, b))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1e-25, 1e-3, 1e12]))
def test_agreement_does_not_see_scale(seed: int, scale: float) -> None:
    a, b = maps(torch.float32, seed), maps(torch.float32, seed + 1)
    for measure in (cosine, pearson, spearman, kendall, pairwise_rank_agreement):
        assert_close(measure(a * scale, b), measure(a, b), rtol=1e-4, atol=1e-5)
        assert_close(measure(a, b), measure(b, a))
        assert_close(measure(a, a), torch.ones(BATCH), rtol=1e-5, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.integers(1, 12))
def test_values_stay_in_bounds(seed: int, ties: bool, k: int) -> None:
    a, b, mask = maps(seed=seed, ties=ties), maps(seed=seed + 1, ties=ties), maps(seed=seed + 2) > 0
    bounded = {
        (-1.0, 1.0): [cosine(a, b), pearson(a, b), spearman(a, b), kendall(a, b)],
        (0.0, 1.0): [
            pairwise_rank_agreement(a, b),
            *(f(a, b, k) for f in (top_k_intersection, sign_agreement, rank_agreement, signed_rank_agreement)),
            *(f(a, mask) for f in (relevance_mass, relevance_rank, pointing_game)),
        ],
        (0.0, 1 - 1 / 12): [gini(a)],
        (0.0, math.log(12)): [entropy(a)],
    }
    for (lower, upper), values in bounded.items():
        for value in values:
            defined = value[~value.isnan()]
            assert (defined >= lower - 1e-12).all()
            assert (defined <= upper + 1e-12).all()


ZERO, CONSTANT = torch.zeros(1, 4), torch.full((1, 4), 0.1)
VARIED = torch.tensor([[0.3, -0.1, 0.2, 0.5]])
SOME, NONE = torch.tensor([[True, False, False, True]]), torch.zeros(1, 4, dtype=torch.bool)


@pytest.mark.parametrize(
    "value",
    [
        *(f(flat, VARIED) for f in (pearson, spearman, kendall, pairwise_rank_agreement) for flat in (ZERO, CONSTANT)),
        *(f(VARIED, flat) for f in (pearson, spearman, kendall, pairwise_rank_agreement) for flat in (ZERO, CONSTANT)),
        *(
            f(flat, VARIED, 2)
            for f in (top_k_intersection, sign_agreement, rank_agreement, signed_rank_agreement)
            for flat in (ZERO, CONSTANT)
        ),
        *(f(VARIED * float("nan"), VARIED) for f in (cosine, pearson, spearman, kendall, pairwise_rank_agreement)),
        top_k_intersection(VARIED * float("nan"), VARIED, 2),
        cosine(ZERO, VARIED),
        gini(ZERO),
        entropy(ZERO),
        *(f(VARIED, NONE) for f in (relevance_mass, relevance_rank, pointing_game)),
        relevance_mass(-VARIED.abs(), SOME),
        relevance_rank(CONSTANT, SOME),
        pointing_game(CONSTANT, SOME),
        max_sensitivity(ZERO, torch.ones(1, 2, 4)),
        auc(torch.tensor([0.0]), torch.tensor([[1.0]])),
        auc(torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 1.0]])),
        naopc(torch.ones(1), torch.ones(1), torch.ones(1)),
    ],
)
def test_undefined_is_nan(value: Tensor) -> None:
    assert value.shape == (1,)
    assert value.isnan().all()


def test_an_undefined_sample_leaves_the_others_alone() -> None:
    a = torch.cat([ZERO, VARIED])
    assert_close(spearman(a, a), torch.tensor([float("nan"), 1.0]), equal_nan=True)
    assert_close(top_k_intersection(a, a, 2), torch.tensor([float("nan"), 1.0]), equal_nan=True)


tied = st.lists(st.integers(-2, 2), min_size=4, max_size=4).filter(lambda values: len({abs(v) for v in values}) > 1)


@settings(max_examples=30, deadline=None)
@given(tied, tied, st.integers(1, 4))
def test_top_k_with_ties_is_the_mean_over_all_ways_to_break_them(first: list[int], second: list[int], k: int) -> None:
    def orders(values: list[int]) -> list[list[int]]:
        return [sorted(lot, key=lambda i: -abs(values[i]))[:k] for lot in permutations(range(4))]

    agree = [np.sign(v) == np.sign(w) for v, w in zip(first, second, strict=True)]
    pairs = list(product(orders(first), orders(second)))
    same = [[i for i, j in zip(ours, theirs, strict=True) if i == j] for ours, theirs in pairs]
    both = [{*ours} & {*theirs} for ours, theirs in pairs]
    a, b = (torch.tensor([values], dtype=torch.float64) for values in (first, second))
    for measure, hits in (
        (top_k_intersection, sum(len(each) for each in both)),
        (sign_agreement, sum(agree[i] for each in both for i in each)),
        (rank_agreement, sum(len(each) for each in same)),
        (signed_rank_agreement, sum(agree[i] for each in same for i in each)),
    ):
        assert measure(a, b, k).item() == pytest.approx(hits / len(pairs) / k)


@settings(max_examples=30, deadline=None)
@given(tied, st.lists(st.booleans(), min_size=4, max_size=4).filter(any))
def test_relevance_rank_with_ties_is_the_mean_over_all_ways_to_break_them(values: list[int], mask: list[bool]) -> None:
    hits = [sum(mask[i] for i in sorted(lot, key=lambda i: -values[i])[: sum(mask)]) for lot in permutations(range(4))]
    found = relevance_rank(torch.tensor([values], dtype=torch.float64), torch.tensor([mask]))
    assert found.item() == pytest.approx(sum(hits) / len(hits) / sum(mask))


def test_tied_maxima_hit_by_chance() -> None:
    assert_close(
        pointing_game(torch.tensor([[2.0, 2.0, 1.0]]), torch.tensor([[True, False, True]])), torch.tensor([0.5])
    )


@pytest.mark.parametrize(
    "call",
    [
        lambda: spearman(torch.ones(2, 3), torch.ones(2, 4)),
        lambda: cosine(torch.ones(3), torch.ones(3)),
        lambda: top_k_intersection(VARIED, VARIED, 0),
        lambda: top_k_intersection(VARIED, VARIED, 5),
        lambda: relevance_mass(torch.ones(1, 3, 2, 2), torch.ones(1, 2, 2)),
        lambda: pointing_game(VARIED, SOME[:, :3]),
        lambda: conservation_error(VARIED, torch.ones(1, 1)),
        lambda: conservation_delta(VARIED, torch.ones(2)),
        lambda: auc(torch.zeros(3), torch.zeros(2, 4)),
        lambda: srg(torch.zeros(4), torch.zeros(2, 4), torch.zeros(2, 3)),
        lambda: aopc(torch.zeros(4)),
        lambda: auc(torch.zeros(1, 4), torch.zeros(2, 4)),
        lambda: abpc(torch.zeros(2, 4), torch.zeros(2, 3)),
        lambda: naopc(torch.zeros(2), torch.zeros(2), torch.zeros(3)),
        lambda: max_sensitivity(VARIED, VARIED),
        lambda: infidelity(VARIED, torch.ones(1, 2, 4), torch.ones(1, 3)),
    ],
)
def test_wrong_shapes_are_named(call: Callable[[], Tensor]) -> None:
    with pytest.raises(BenchError, match=r"Expected .* got .*: "):
        call()
