from __future__ import annotations

import doctest
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lrp_bench.contracts import Measure
from lrp_bench.report.numbers import stability as module
from lrp_bench.report.numbers.stability import kendall_distances, stability
from lrp_bench.report.pages.stability import write_stability
from lrp_bench.report.store.results import Results

Made = Callable[..., Results]
SRG = {"srg": Measure("SRG", "flipping", True), "ties": Measure("Ties", "flipping", None)}
METHODS = "abcd"


def brute(one: np.ndarray, other: np.ndarray) -> float:
    """Pair by pair: 1 in another order, 1/2 tied in one ranking alone."""
    pairs = list(combinations(range(len(one)), 2))
    apart = 0.0
    for i, j in pairs:
        x, y = one[i] - one[j], other[i] - other[j]
        apart += 1.0 if x * y < 0 else 0.5 if (x == 0) != (y == 0) else 0.0
    return apart / len(pairs)


scores = st.lists(st.lists(st.integers(0, 4).map(float), min_size=5, max_size=5), min_size=2, max_size=4).map(np.array)


@settings(max_examples=60, deadline=None)
@given(scores, st.permutations(range(5)))
def test_the_distance_is_that_of_counting_pairs(table: np.ndarray, order: list[int]) -> None:
    found = kendall_distances(table)
    np.testing.assert_allclose(found, [brute(a, b) for a, b in combinations(table, 2)])
    np.testing.assert_allclose(found, kendall_distances(table[:, order]))  # whatever the methods are called
    np.testing.assert_allclose(found, kendall_distances(-np.exp(table)))  # and in whichever direction they are ranked


def test_without_ties_it_is_kendalls_tau() -> None:
    tables = np.array(list(permutations(range(4))), dtype=float)
    expected = [(1 - stats.kendalltau(a, b).statistic) / 2 for a, b in combinations(tables, 2)]
    np.testing.assert_allclose(kendall_distances(tables), expected, atol=1e-12)
    assert doctest.testmod(module, extraglobs={"np": np}).failed == 0


def sweep(results: Made, means: dict[str, list[float]], *, spread: float = 0.01, **changed: object) -> Results:
    """Condition -> the mean of each method, over 30 samples; `random` is there too."""
    rng = np.random.default_rng(0)
    runs = {
        f"{condition}{method}": (
            {"method": method, "settings": {"names.imputer": condition}} | changed,
            {"srg": rng.normal(mean, spread, 30).tolist(), "ties": [0.0] * 30},
        )
        for condition, row in means.items()
        for method, mean in [*zip(METHODS, row, strict=False), ("random", 9.0)]
    }
    return results(runs, SRG)


def test_plain_rankings_have_their_distances(results: Made) -> None:
    found = stability(sweep(results, {"x": [1, 2, 3, 4], "y": [4, 3, 2, 1], "z": [1, 2, 4, 3]}))
    assert found is not None
    assert (found.methods, found.conditions) == (tuple(METHODS), ("digits, x", "digits, y", "digits, z"))
    pairs = {frozenset((a, b)): d for _, a, b, _, d in found.distances.itertuples(index=False)}
    assert pairs[frozenset(("digits, x", "digits, y"))] == 1.0
    assert pairs[frozenset(("digits, x", "digits, z"))] == pytest.approx(1 / 6)
    (row,) = found.summary.to_dict("records")
    assert (row["measure"], row["over"], row["conditions"], row["pairs"]) == ("srg", "imputer", 3, 3)
    assert row["low"] == pytest.approx(row["distance"]) == pytest.approx(row["high"]) == pytest.approx(2 / 3)


def test_close_methods_have_a_wide_interval(results: Made) -> None:
    found = stability(sweep(results, {"x": [1, 1, 1, 1], "y": [1, 1, 1, 1]}, spread=1.0))
    assert found is not None
    (row,) = found.summary.to_dict("records")
    assert row["high"] - row["low"] > 0.3


def test_every_kind_of_condition_has_its_own_mean(results: Made) -> None:
    parts = [
        sweep(results, {"x": [1, 2, 3, 4], "y": [1, 2, 4, 3]}, dataset=dataset, seed=seed).runs
        for dataset in ("digits", "mnist")
        for seed in ("0", "1")
    ]
    runs = {
        f"{part}{run}": ({key: row[key] for key in ("method", "dataset", "seed", "settings")}, {"srg": srg})
        for part, frame in enumerate(parts)
        for run, row in frame.iterrows()
        for rng in [np.random.default_rng(0)]
        for srg in [rng.normal(" abcd".find(row["method"]) * (1 - 2 * (row["seed"] == "1")), 0.01, 30).tolist()]
    }
    found = stability(results(runs, SRG))
    assert found is not None
    by_kind = found.summary.set_index("over")[["distance", "conditions", "pairs"]].T.to_dict("list")
    assert by_kind == {
        "seed": [1.0, 8, 4],
        "imputer": [0.0, 8, 4],
        "dataset": [0.0, 8, 4],
        "all": [pytest.approx(16 / 28), 8, 28],
    }
    assert "mnist, y, seed=1" in found.conditions


def test_the_median_is_ranked_where_it_is_shown(results: Made) -> None:
    one = sweep(results, {"x": [1, 2, 3, 4], "y": [1, 2, 3, 4]})
    outlier = (one.frame["run"] == "xa") & (one.frame["measure"] == "srg") & (one.frame["sample"] == 3)
    one.frame.loc[outlier, "value"] = 1e6
    by_mean, by_median = (
        stability(replace(one, measures=SRG | {"srg": replace(SRG["srg"], summary=summary)}))
        for summary in ("mean", "median")
    )
    assert by_mean is not None
    assert by_median is not None
    assert by_mean.summary["distance"].tolist() == [0.5]
    assert by_median.summary["distance"].tolist() == [0.0]
    assert by_median.summary["high"].tolist() == [0.0]


def test_what_cannot_be_compared_is_left_out(results: Made) -> None:
    assert stability(sweep(results, {"x": [1, 2, 3, 4]})) is None
    assert stability(results({}, SRG)) is None
    short = stability(sweep(results, {"x": [1, 2, 3], "y": [3, 2]}))
    assert short is not None
    assert (short.methods, short.left_out) == (("a", "b"), ("c",))
    one = sweep(results, {"x": [1, 2, 3, 4], "y": [1, 2, 3, 4]})
    one.frame["value"] = one.frame.groupby(["measure", "sample"])["value"].transform("first")
    same = stability(one)
    assert same is not None
    assert same.summary.empty


def test_table_and_figure_are_written(results: Made, tmp_path: Path) -> None:
    layout, files = write_stability(sweep(results, {"x": [1, 2, 3, 4], "y": [4, 3, 2, 1]}), tmp_path)
    assert layout is not None
    assert [path.name for path in files] == [
        *("stability.csv", "stability_pairs.csv", "stability.md", "stability.tex"),
    ]
    assert all(path.stat().st_size > 50 for path in files)
    assert "| SRG | **1.000 \\[1.000, 1.000\\]** |" in (tmp_path / "stability.md").read_text()
    assert write_stability(sweep(results, {"x": [1, 2, 3, 4]}), tmp_path / "none") == (None, [])
