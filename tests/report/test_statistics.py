from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lrp_bench.report import layout, statistics
from lrp_bench.report.statistics import interval, quartiles

values = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=2, max_size=30)


def test_the_examples_in_the_docstrings_hold() -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    for module in (statistics, layout):
        outcome = doctest.testmod(module, optionflags=flags)
        assert outcome.attempted > 0
        assert outcome.failed == 0


@settings(max_examples=60, deadline=None)
@given(values)
def test_the_interval_is_scipys(drawn: list[float]) -> None:
    found = interval(drawn)
    defined = [value for value in drawn if not math.isnan(value)]
    assert found.n == len(defined)
    if len(defined) < 2:
        assert math.isnan(found.half)
        return
    spread = stats.sem(defined)
    low, high = (
        stats.t.interval(0.95, len(defined) - 1, loc=np.mean(defined), scale=spread) if spread else (found.mean,) * 2
    )
    np.testing.assert_allclose([found.mean, found.low, found.high], [np.mean(defined), low, high], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("drawn", "mean", "n"), [([], math.nan, 0), ([math.nan] * 3, math.nan, 0), ([2.5], 2.5, 1)])
def test_too_few_values_have_no_interval(drawn: list[float], mean: float, n: int) -> None:
    found = interval(drawn)
    np.testing.assert_equal([found.mean, found.n, found.half], [mean, n, math.nan])


@settings(max_examples=60, deadline=None)
@given(values)
def test_the_quartiles_are_scipys(drawn: list[float]) -> None:
    defined = [value for value in drawn if not math.isnan(value)]
    expected = stats.mstats.mquantiles(defined, alphap=1, betap=1) if defined else [math.nan] * 3
    np.testing.assert_allclose(quartiles(drawn), expected, rtol=1e-9, atol=1e-9)


def test_an_infinite_value_is_not_hidden() -> None:
    found = interval([1.0, math.inf, 2.0])
    assert (found.mean, found.n, math.isnan(found.half)) == (math.inf, 3, True)
    assert quartiles([1.0, math.inf, 2.0]) == (1.5, 2.0, math.inf)


def test_a_run_logs_mean_count_interval_and_quartiles() -> None:
    logged = statistics.metrics({"srg": [1.0, 3.0, math.nan]})
    assert set(logged) == {"srg", "srg/n", "srg/low", "srg/high", "srg/q1", "srg/median", "srg/q3"}
    assert (logged["srg/q1"], logged["srg/median"], logged["srg/q3"]) == (1.5, 2.0, 2.5)
    assert (logged["srg"], logged["srg/n"]) == (2.0, 2)
    assert logged["srg/high"] - logged["srg"] == pytest.approx(12.706204736)  # t_1 = 12.706, s / sqrt(n) = 1
