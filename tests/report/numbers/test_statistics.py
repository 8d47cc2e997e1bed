from __future__ import annotations

import doctest
import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lrp_bench.report.numbers import significance, statistics
from lrp_bench.report.numbers.significance import holm, signed_rank
from lrp_bench.report.numbers.statistics import RESAMPLES, interval, intervals, intervals_of_blocks, quartiles
from lrp_bench.report.tables import cells

values = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=2, max_size=30)


def test_the_examples_in_the_docstrings_hold() -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for module in (statistics, cells, significance):
        outcome = doctest.testmod(module, optionflags=flags)
        assert outcome.attempted > 0
        assert outcome.failed == 0


@settings(max_examples=15, deadline=None)
@given(values)
def test_the_interval_is_scipys_of_the_mean(drawn: list[float]) -> None:
    found = interval(drawn)
    defined = [value for value in drawn if not math.isnan(value)]
    assert found.n == len(defined)
    if len(defined) < 2:
        assert math.isnan(found.low)
        return
    theirs = stats.bootstrap(
        (defined,), np.mean, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0)
    )
    expected = [np.mean(defined), *theirs.confidence_interval]
    np.testing.assert_allclose([found.mean, found.low, found.high], expected, rtol=1e-9, atol=1e-6)


def test_seeds_and_samples_are_both_drawn() -> None:
    cube = np.random.default_rng(0).normal(size=(3, 8)) + np.array([[0.0], [1.0], [5.0]])

    def slow(samples: np.ndarray, seeds: np.ndarray) -> float:
        return float(np.mean([[cube[seed, sample] for sample in samples] for seed in seeds]))

    theirs = stats.bootstrap(
        (np.arange(8), np.arange(3)),
        slow,
        n_resamples=RESAMPLES,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    found = interval(cube)
    np.testing.assert_allclose([found.mean, found.low, found.high], [cube.mean(), *theirs.confidence_interval])
    alone = interval(cube.mean(0))
    assert found.high - found.low > 2 * (alone.high - alone.low)


@pytest.mark.parametrize(
    ("draw", "mean", "n", "least"),
    [
        (lambda rng, shape: rng.normal(2, 3, shape), 2.0, 20, 0.89),
        (lambda rng, shape: rng.normal(2, 3, shape), 2.0, 100, 0.925),
        (lambda rng, shape: rng.exponential(1, shape), 1.0, 100, 0.90),
        (lambda rng, shape: rng.integers(0, 2, shape), 0.5, 100, 0.90),
    ],
)
def test_the_interval_holds_the_mean_about_as_often_as_it_says(draw, mean: float, n: int, least: float) -> None:
    found = intervals(draw(np.random.default_rng(1), (1000, n)))
    held = float(((found.low <= mean) & (mean <= found.high)).mean())
    assert least < held < 0.975


def test_columns_do_not_depend_on_each_other() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(size=(40, 25))
    table[rng.random(table.shape) < 0.1] = math.nan
    together, apart = intervals(table), [interval(column) for column in table]
    np.testing.assert_allclose(np.array(together).T, np.array(apart), rtol=1e-12)
    blocks = [table[:7, None], rng.normal(size=(4, 2, 25)), table[7:, None], rng.normal(size=(2, 1, 9))]
    expected = [np.array(intervals(block)) for block in blocks]
    np.testing.assert_allclose(np.array(intervals_of_blocks(blocks)), np.concatenate(expected, axis=1), rtol=1e-12)


@pytest.mark.parametrize(("drawn", "mean", "n"), [([], math.nan, 0), ([math.nan] * 3, math.nan, 0), ([2.5], 2.5, 1)])
def test_too_few_values_have_no_interval(drawn: list[float], mean: float, n: int) -> None:
    np.testing.assert_equal(tuple(interval(drawn)), (mean, math.nan, math.nan, n))


def test_a_constant_has_an_interval_without_width() -> None:
    found = interval([0.1] * 7)
    assert found.low == found.mean == found.high


@settings(max_examples=60, deadline=None)
@given(values)
def test_the_quartiles_are_scipys(drawn: list[float]) -> None:
    defined = [value for value in drawn if not math.isnan(value)]
    expected = stats.mstats.mquantiles(defined, alphap=1, betap=1) if defined else [math.nan] * 3
    np.testing.assert_allclose(quartiles(drawn), expected, rtol=1e-9, atol=1e-9)


def test_an_infinite_value_is_not_hidden() -> None:
    found = interval([1.0, math.inf, 2.0])
    assert (found.mean, found.n, math.isnan(found.low)) == (math.inf, 3, True)
    assert quartiles([1.0, math.inf, 2.0]) == (1.5, 2.0, math.inf)


def test_a_run_logs_mean_count_interval_and_quartiles() -> None:
    logged = statistics.metrics({"srg": [1.0, 3.0, math.nan]})
    assert set(logged) == {"srg", "srg/n", "srg/low", "srg/high", "srg/q1", "srg/median", "srg/q3"}
    assert (logged["srg/q1"], logged["srg/median"], logged["srg/q3"]) == (1.5, 2.0, 2.5)
    assert (logged["srg"], logged["srg/n"], logged["srg/low"], logged["srg/high"]) == (2.0, 2, 1.0, 3.0)


many = st.lists(st.floats(1, 9) | st.integers(-9, -1).map(float) | st.just(0.0), min_size=60, max_size=70)
untied = st.permutations(range(1, 21)).map(lambda each: [0.0, *(x * (-1) ** (x * x % 7) for x in each[:14])])


@settings(max_examples=30, deadline=None)
@given(many.filter(lambda drawn: np.count_nonzero(drawn) > 50) | untied)
def test_the_signed_rank_test_is_scipys(drawn: list[float]) -> None:
    (p,), _ = signed_rank([drawn])
    left = [each for each in drawn if each]
    assert p == pytest.approx(float(stats.wilcoxon(left).pvalue))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=9).filter(any))
def test_with_ties_and_zeros_every_sign_is_counted(drawn: list[float]) -> None:
    left = np.array([each for each in drawn if each])
    ranks = stats.rankdata(np.abs(left))
    sums = np.array([np.dot(signs, ranks) for signs in product((-1, 1), repeat=len(left))])
    found = signed_rank([drawn, drawn[::-1]])
    np.testing.assert_allclose(found.p, (np.abs(sums) >= abs(np.dot(np.sign(left), ranks)) - 1e-9).mean())
    np.testing.assert_allclose(found.rank_biserial, np.dot(np.sign(left), ranks) / ranks.sum())


@pytest.mark.parametrize(("wins", "losses"), [(4, 0), (6, 0), (9, 2), (40, 10)])
def test_where_all_differences_are_equal_it_is_the_sign_test(wins: int, losses: int) -> None:
    row = [1.0] * wins + [-1.0] * losses + [0.0] * (100 - wins - losses)
    assert signed_rank([row]).p == pytest.approx([stats.binomtest(wins, wins + losses).pvalue])


def test_signed_ranks_by_hand() -> None:
    nan = math.nan
    # ranks of |d| 1, 2, 3, all positive: 2 of the 8 sign patterns are as extreme; the second has W = 1: 4 of 8
    p, biserial = signed_rank(
        [[1.0, 2.0, 3.0, nan], [-1.0, 2.0, 3.0, nan], [0.0, 0.0, 0.0, 0.0], [nan] * 4, [2.0, nan, nan, nan]]
    )
    np.testing.assert_allclose(p, [0.25, 0.5, 1.0, nan, 1.0])
    np.testing.assert_allclose(biserial, [1.0, 4 / 6, 0.0, nan, 1.0])


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # 4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04 not below it
        ([0.5, 0.6], [1.0, 1.0]),
        ([math.nan, 0.02, 0.03], [math.nan, 0.04, 0.04]),
        ([], []),
    ],
)
def test_holms_correction_by_hand(p: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(holm(p), expected)


def test_holm_keeps_false_discoveries_at_the_level() -> None:
    rng = np.random.default_rng(0)
    p = np.array([holm(row) for row in rng.random((2000, 10))])
    assert 0.03 < (p < 0.05).any(1).mean() < 0.07


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 9), st.integers(1, 7), st.integers(0, 1000))
def test_medians_of_resamples_are_numpys(samples: int, draws: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, drawn = rng.integers(-3, 4, (2, 3, samples)) / 7, rng.integers(0, samples, (5, draws))
    np.testing.assert_allclose(statistics.medians(rows, drawn), np.median(rows[..., drawn], axis=-1), rtol=1e-15)
