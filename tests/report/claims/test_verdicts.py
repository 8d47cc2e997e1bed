"""Published numbers beside ours: what is measured for a claim, and the verdict."""

from __future__ import annotations

import pandas as pd
import pytest

from lrp_bench.contracts import BenchError
from lrp_bench.report.claims.evidence import COLUMNS, Evidence
from lrp_bench.report.claims.study import Claim, Study
from lrp_bench.report.claims.verdicts import judge, measure, sentences

ROWS = [
    ("zero", "0", "m", 0, 1.0),
    ("zero", "0", "m", 1, 3.0),
    ("zero", "1", "m", 0, 2.0),
    ("zero", "1", "m", 1, 4.0),
    ("zero", "1", "m", 2, 9.0),  # seed 0 has no such sample
    ("random", "0", "m", 0, 1.0),
    ("random", "0", "m", 1, 0.0),
    ("zero", "0", "test_accuracy", float("nan"), 0.9),
    ("zero", "1", "test_accuracy", float("nan"), 0.7),
    ("random", "0", "test_accuracy", float("nan"), 0.9),
]
FRAME = pd.DataFrame(
    [
        (f"{method}{seed}", method, "iris", "mlp", seed, column, sample, value)
        for method, seed, column, sample, value in ROWS
    ],
    columns=list(COLUMNS),
)


def study(**claim: object) -> Study:
    made = Claim(**{"what": "it", "source": "here", "published": 0.0, "row": "zero", "column": "m", **claim})
    return Study("x", "X", "about", "x", (made,), says=("It is {it:.1f}, at most {it_high:.0f}.",))


def judged(**claim: object) -> pd.Series:
    made = study(**claim)
    return judge(made, measure(made, Evidence(FRAME, "today"))).iloc[0]


@pytest.mark.parametrize(
    ("claim", "ours", "n"),
    [
        ({}, 2.5, 2),  # a sample is averaged over its seeds first
        ({"sample": 1}, 3.5, 1),
        ({"statistic": "median"}, 2.5, 2),
        ({"minus": "random"}, 1.5, 2),  # of the seeds that both have
        ({"column": "test_accuracy", "row": None}, 0.8, 2),
        ({"dataset": "iris", "model": "mlp"}, 2.5, 2),
    ],
)
def test_our_number(claim: dict[str, object], ours: float, n: int) -> None:
    row = judged(**claim)
    assert (row["ours"], row["n"]) == (pytest.approx(ours), n)


@pytest.mark.parametrize(
    ("claim", "verdict"),
    [
        ({"published": 2.5}, "reached"),
        ({"published": 2.4, "tolerance": 0.11}, "reached"),
        ({"published": 2.4, "tolerance": 0.09}, "not reached"),
        ({"published": 2.4, "tolerance": 0.09, "relative": True}, "reached"),
        ({"published": 2.4, "relation": ">="}, "reached"),
        ({"published": 2.4, "relation": "<="}, "not reached"),
        ({"row": "gamma"}, "not run"),
        ({"column": "n"}, "not run"),
        ({"model": "cnn"}, "not run"),
    ],
)
def test_verdicts(claim: dict[str, object], verdict: str) -> None:
    assert judged(**claim)["verdict"] == verdict


@pytest.mark.parametrize("relation", ["=", "<="])
def test_what_is_as_far_off_as_is_allowed_is_reached(relation: str) -> None:
    claim = Claim("it", "m", 0.96, "here", tolerance=0.01, relation=relation)
    assert 0.97 - 0.96 > 0.01  # in floating point
    assert claim.holds(0.97)
    assert not claim.holds(0.97001)


def test_words_are_of_measured_numbers_only() -> None:
    made = study(id="it")
    assert sentences(made, judge(made, measure(made, Evidence(FRAME, "today")))) == ["It is 2.5, at most 4."]
    assert sentences(made, judge(made, None)) == []


@pytest.fixture
def two_places() -> Evidence:
    """Two samples of one data set, three of another, under three methods."""
    values = {"iris": [0.0, 2.0], "digits": [10.0, 10.0, 10.0]}
    rows = [
        (f"{method}{dataset}", method, dataset, "mlp", "0", "m", sample, value + place)
        for place, method in enumerate(("zero", "gamma", "flat"))
        for dataset, each in values.items()
        for sample, value in enumerate(each)
    ]
    rows += [(f"zero{dataset}", "zero", dataset, "mlp", "0", "r2", float("nan"), len(dataset)) for dataset in values]
    return Evidence(pd.DataFrame(rows, columns=list(COLUMNS)), "today")


@pytest.mark.parametrize(
    ("claim", "ours", "n"),
    [
        ({}, 32 / 5, 5),
        ({"dataset": "iris"}, 1.0, 2),
        ({"minus": "gamma"}, -1.0, 5),
        ({"dataset": "iris", "minus": {"dataset": "digits"}}, -9.0, 2),  # the same samples of both
        ({"column": "r2"}, 5.0, 1),
    ],
)
def test_samples_of_several_data_sets_are_samples_each(
    claim: dict[str, object], ours: float, n: int, two_places: Evidence
) -> None:
    row = measure(study(**claim), two_places).iloc[0]
    assert (row["ours"], row["n"]) == (pytest.approx(ours), n)


@pytest.mark.parametrize(
    "claim",
    [
        {"minus": {"row": "gamma", "dataset": "iris"}},
        {"row": None, "statistic": "rank_correlation", "over": "method", "versus": "m"},
    ],
)
def test_a_claim_that_mixes_data_sets_without_sense_is_named(claim: dict[str, object], two_places: Evidence) -> None:
    with pytest.raises(BenchError, match="got several for it: name them as dataset and model in the claim"):
        measure(study(**claim), two_places)
