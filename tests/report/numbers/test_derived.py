"""Numbers that follow from the order of means, against SciPy."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, kendalltau, spearmanr

from lrp_bench.contracts import BenchError, Measure
from lrp_bench.report.claims.evidence import COLUMNS, Evidence
from lrp_bench.report.claims.study import Claim, Study, read_study
from lrp_bench.report.claims.verdicts import judge, measure, place
from lrp_bench.report.numbers.derived import WHOLE, derive, spearman
from lrp_bench.report.numbers.statistics import RESAMPLES, SEED

SAMPLES, METHODS, IMPUTERS = 12, ["a", "b", "c", "d", "e"], ["blur", "noise", "road"]
CUBE = np.random.default_rng(3).normal(size=(SAMPLES, len(IMPUTERS), len(METHODS))) + np.linspace(0, 0.4, len(METHODS))
MEANS = CUBE.mean(0)
TABLE = pd.DataFrame(CUBE.reshape(SAMPLES, -1), columns=pd.MultiIndex.from_product([IMPUTERS, METHODS]))
ONE, OTHER = TABLE["blur"], TABLE["road"]


def expected_distance(means: np.ndarray) -> float:
    return float(np.mean([(1 - kendalltau(a, b).statistic) / 2 for a, b in combinations(means, 2)]))


def test_kendall_distance_is_that_of_scipy() -> None:
    found = derive("kendall_distance", [[TABLE]])
    assert (found.mean, found.n) == (pytest.approx(expected_distance(MEANS)), SAMPLES)
    assert found.low <= found.mean <= found.high


def test_rank_correlation_and_its_interval_are_those_of_scipy() -> None:
    def statistic(drawn: np.ndarray) -> float:
        return float(spearmanr(ONE.to_numpy()[drawn].mean(0), OTHER.to_numpy()[drawn].mean(0)).statistic)

    found = derive("rank_correlation", [[ONE, OTHER]])
    assert found.mean == pytest.approx(spearmanr(MEANS[0], MEANS[2]).statistic)
    theirs = bootstrap(
        [np.arange(SAMPLES)],
        statistic,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(SEED),
        vectorized=False,
    ).confidence_interval
    assert found[1:3] == pytest.approx((theirs.low, theirs.high))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=3, max_size=7))
def test_spearman_has_the_ties_of_scipy(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, dtype=float).T
    constant = np.ptp(a) == 0 or np.ptp(b) == 0
    expected = np.nan if constant else spearmanr(a, b).statistic
    np.testing.assert_allclose(spearman(a, b), expected, atol=1e-12)


def test_a_number_less_itself_is_nothing() -> None:
    assert derive("kendall_distance", [[TABLE], [TABLE]])[:3] == (0, 0, 0)
    less = derive("rank_correlation", [[ONE, OTHER], [ONE, TABLE["noise"]]])
    whole, part = (spearmanr(MEANS[0], MEANS[place]).statistic for place in (2, 1))
    assert less.mean == pytest.approx(whole - part)


def test_a_number_of_the_model_is_the_same_for_every_sample() -> None:
    accuracy = pd.DataFrame([[0.5, 0.6, 0.7, 0.7, 0.9]], index=[WHOLE], columns=METHODS)
    found = derive("rank_correlation", [[ONE, accuracy]])
    assert found.mean == pytest.approx(spearmanr(MEANS[0], accuracy.iloc[0]).statistic)
    assert found.n == SAMPLES


def test_nothing_to_compare_is_undefined() -> None:
    for statistic, tables in (
        ("kendall_distance", [TABLE[["blur"]]]),
        ("kendall_distance", [TABLE.loc[:, [("blur", "a"), ("road", "b")]]]),
        ("rank_correlation", [ONE[["a", "b"]], OTHER]),
        ("rank_correlation", [ONE * np.nan, OTHER]),
    ):
        assert np.isnan(derive(statistic, [tables]).mean)


def evidence() -> Evidence:
    """Each imputer and method is a run; `falls` is better where it is lower."""
    rows = []
    for (sample, imputer, method), value in np.ndenumerate(CUBE):
        run, name = f"{imputer}{method}", METHODS[method]
        rows += [(run, name, "d", "m", "0", column, sample, value) for column in ("falls", "rises")]
        rows.append((f"random{imputer}", "random", "d", "m", "0", "falls", sample, -value))
        if method == sample == 0:
            rows.append((run, name, "d", "m", "0", "test_accuracy", np.nan, (0.1, 0.3, 0.2)[imputer]))
    names = [(f"{i}{m}", imputer) for i, imputer in enumerate(IMPUTERS) for m in range(len(METHODS))]
    names += [(f"random{i}", imputer) for i, imputer in enumerate(IMPUTERS)]
    measures = {name: Measure(name, "x", better) for name, better in (("falls", False), ("rises", True))}
    made = {run: {"names.imputer": imputer, "trainer.lr": "1"} for run, imputer in names}
    return Evidence(pd.DataFrame(rows, columns=list(COLUMNS)), "today", made, measures)


def ours(**claim: object) -> float:
    made = Claim(**{"what": "it", "source": "here", "published": 0.0, **claim})
    study = Study("x", "X", "about", "x", (made,))
    return float(judge(study, measure(study, evidence()))["ours"].iloc[0])


def test_claims_of_rankings() -> None:
    over = {"column": "falls", "statistic": "kendall_distance", "over": "imputer"}
    assert ours(**over) == pytest.approx(expected_distance(MEANS))  # without the random row
    assert ours(**over, minus={"column": "rises"}) == 0
    assert np.isnan(ours(**over, where={"imputer": "blur"}))

    ranked = {"column": "falls", "versus": "rises", "statistic": "rank_correlation", "over": "method"}
    assert ours(**ranked, where={"imputer": "blur"}) == pytest.approx(-1)  # best first: one falls, the other rises
    along = {"row": "a", "column": "rises", "versus": "test_accuracy", "statistic": "rank_correlation"}
    assert ours(**along, over="imputer") == pytest.approx(spearmanr(MEANS[:, 0], (0.1, 0.3, 0.2)).statistic)


def test_a_mean_under_one_setting_and_the_difference_of_two() -> None:
    assert ours(row="b", column="rises", where={"imputer": "road"}) == pytest.approx(MEANS[2, 1])
    less = ours(row="b", column="rises", where={"imputer": "road"}, minus={"where": {"imputer": "blur"}, "row": "c"})
    assert less == pytest.approx(MEANS[2, 1] - MEANS[0, 2])


def test_where_a_derived_number_stands() -> None:
    where = {"imputer": "road"}
    claim = Claim("it", "falls", 0.0, "here", statistic="rank_correlation", over="method", versus="rises", where=where)
    study = Study("x", "X", "about", "x", (claim,))
    told = place(judge(study, None).iloc[0].to_dict())
    assert told == "all methods, falls, rank correlation, with rises, over method, imputer=road"
    assert hash(study)


@pytest.mark.parametrize(
    "change",
    [
        "over: imputer",
        "versus: b",
        "statistic: kendall_distance",
        "statistic: rank_correlation, over: method",
        "minus: {sample: 3}",
        "over: method, statistic: median",
    ],
)
def test_what_cannot_be_meant_is_refused(change: str, tmp_path: Path) -> None:
    claim = f"{{what: w, column: c, published: 1, {change}}}"
    text = f"{{title: t, about: a, source: s, experiment: e, claims: [{claim}]}}"
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(BenchError, match=r"mine\.yaml"):
        read_study(tmp_path / "mine.yaml")
