from __future__ import annotations

import doctest
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lrp_bench.contracts import Measure
from lrp_bench.report.figures import differences as module
from lrp_bench.report.figures.differences import Differences, critical_difference, differences
from lrp_bench.report.store.results import Results

Made = Callable[..., Results]
MEASURES = {
    "srg": Measure("SRG", "flipping", True),
    "error": Measure("Error", "conservation", False),
    "ties": Measure("Ties", "flipping", None),
    "cost": Measure("Cost", "cost", False),
    "small": Measure("Small", "flipping", True, headline=False),
}
# Demsar 2006, table 5 (a): q of the two-tailed Nemenyi test at 5 %, for 2 to 10 classifiers
PUBLISHED = dict(enumerate([1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164], start=2))


@pytest.mark.parametrize("methods", PUBLISHED)
def test_the_critical_difference_is_that_of_the_published_table(methods: int) -> None:
    expected = PUBLISHED[methods] * np.sqrt(methods * (methods + 1) / (6 * 30))
    assert critical_difference(methods, 30) == pytest.approx(expected, abs=6e-4)  # q has three decimals


def test_ranks_and_p_are_scipys_over_the_samples_that_all_define(results: Made) -> None:
    rng = np.random.default_rng(0)
    values = {name: rng.normal(place, 1.0, 12) for place, name in enumerate("abcd")}
    values["b"][3] = np.nan
    runs = {name: ({}, dict.fromkeys(MEASURES, each.tolist())) for name, each in values.items()}
    runs["random"] = ({}, dict.fromkeys(MEASURES, [9.0] * 12))
    found = {each.title: each for each in differences(results(runs, measures=MEASURES))}
    assert set(found) == {"SRG ↑", "Error ↓"}
    block = np.delete(np.stack(list(values.values())), 3, axis=1)
    srg = found["SRG ↑"]
    assert srg.p == pytest.approx(stats.friedmanchisquare(*block).pvalue)
    assert (srg.n, srg.setting, srg.methods) == (11, "digits", ("d", "c", "b", "a"))
    np.testing.assert_allclose(srg.ranks, np.sort(stats.rankdata(-block, axis=0).mean(1)))
    assert found["Error ↓"].methods == ("a", "b", "c", "d")
    assert doctest.testmod(module).failed == 0


def test_two_methods_or_one_sample_make_no_plot_and_equal_ones_are_joined(results: Made) -> None:
    two = {name: ({}, {"srg": [1.0, 2.0]}) for name in "ab"}
    assert list(differences(results(two, measures=MEASURES))) == []
    one = {name: ({}, {"srg": [1.0]}) for name in "abc"}
    assert list(differences(results(one, measures=MEASURES))) == []
    same = {name: ({}, {"srg": [1.0, 2.0]}) for name in "abc"}
    (alike,) = differences(results(same, measures=MEASURES))
    assert (alike.p, alike.groups) == (1.0, [(0, 2)])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.floats(1, 8), min_size=3, max_size=8), st.floats(0.05, 5))
def test_bars_join_exactly_the_pairs_that_cannot_be_told_apart(ranks: list[float], critical: float) -> None:
    found = Differences("s", "t", tuple("abcdefgh"[: len(ranks)]), np.sort(ranks), critical, 0.01, 10)
    joined = {pair for first, last in found.groups for pair in combinations(range(first, last + 1), 2)}
    close = {(i, j) for i, j in combinations(range(len(ranks)), 2) if found.ranks[j] - found.ranks[i] <= critical}
    assert joined == close
    assert all(not (a <= c and d <= b) for (a, b), (c, d) in combinations(found.groups, 2))  # none within another


def test_methods_stand_at_their_ranks() -> None:
    found = Differences("s", "SRG ↑", ("a", "b", "c"), np.array([1.2, 1.9, 2.9]), 0.8, 0.001, 10)
    axis = module._figure([found, found]).axes[0]
    lines = [(np.asarray(line.get_xdata()).tolist(), line.get_linewidth()) for line in axis.lines]
    assert [x[0] for x, _ in lines if len(x) == 3] == [1.2, 1.9, 2.9]
    ((start, end),) = [x for x, width in lines if width == 2.5]
    assert start < 1.2 < 1.9 < end < 2.9
    assert "CD = 0.80" in {text.get_text().strip() for text in axis.texts}
