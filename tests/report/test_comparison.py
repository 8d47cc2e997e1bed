from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrp_bench.contracts import Measure
from lrp_bench.report.comparison import Comparison, compare
from lrp_bench.report.curves import bands
from lrp_bench.report.results import Failure, Results

MEASURES = {
    "agreement": Measure("Agreement", "agreement", True),
    "error": Measure("Error", "conservation", False),
    "ties": Measure("Ties", "flipping", None),
}
RUN_COLUMNS = ["name", "dataset", "model", "method", "seed", "settings", "samples"]
Runs = Mapping[str, tuple[dict[str, object], Mapping[str, list[float]]]]


def results(
    runs: Runs, measures: Mapping[str, Measure] = MEASURES, samples: Mapping[str, list[int]] | None = None
) -> Results:
    """runs: id -> (what differs from digits, mlp, seed 0; measure -> values)."""
    described, rows, points = {}, [], []
    for run, (tags, values) in runs.items():
        named = {"name": run, "dataset": "digits", "model": "mlp", "method": run, "seed": "0", "settings": {}, **tags}
        count = max((len(each) for each in values.values()), default=0)
        ids = (samples or {}).get(run, list(range(count)))
        described[run] = {**named, "samples": frozenset(ids)}
        for measure, each in values.items():
            rows += [{"run": run, "measure": measure, "sample": s, "value": v} for s, v in zip(ids, each, strict=True)]
            points += [
                ("flipping/lerf_logit", run, s, f, v + f) for s, v in zip(ids, each, strict=True) for f in (0.0, 1.0)
            ]
    return Results(
        sweep="id",
        name="sweep",
        runs=pd.DataFrame.from_dict(described, orient="index", columns=None if described else RUN_COLUMNS),
        frame=pd.DataFrame(rows, columns=["run", "measure", "sample", "value"]),
        curves=pd.DataFrame(points, columns=["curve", "run", "sample", "fraction", "value"]),
        measures=measures,
        failures=(Failure("digits", "mlp", "zbox", "no box"),),
        notes=(),
    )


def cell(comparison: Comparison, method: str, measure: str, setting: str = "digits") -> pd.Series:
    cells = comparison.cells.set_index(["setting", "method", "measure"])
    return cells.loc[(setting, method, measure)]


def test_means_ranks_and_order() -> None:
    found = compare(
        results(
            {
                "random": ({}, {"error": [0.0, 0.0], "agreement": [9.0, 9.0], "ties": [1.0, 1.0]}),
                "epsilon": ({}, {"error": [1.0, 3.0], "agreement": [0.0, 1.0], "ties": [0.0, 0.0]}),
                "gamma": ({}, {"error": [1.0, 2.0], "agreement": [0.5, 0.5], "ties": [1.0, 1.0]}),
            }
        )
    )
    assert found.methods == ("epsilon", "gamma", "random")
    assert list(found.measures) == ["error", "ties", "agreement"]
    assert cell(found, "epsilon", "error")[["mean", "n", "rank"]].tolist() == [2.0, 2, 2.0]
    assert cell(found, "gamma", "error")["rank"] == 1.0
    assert [cell(found, method, "agreement")["rank"] for method in ("epsilon", "gamma")] == [1.0, 1.0]
    assert all(math.isnan(cell(found, "random", measure)["rank"]) for measure in MEASURES)
    assert all(math.isnan(cell(found, method, "ties")["rank"]) for method in found.methods)
    np.testing.assert_allclose(cell(found, "epsilon", "error")["half"], 12.7062047, rtol=1e-6)
    assert found.samples == {"digits": 2}
    assert found.notes == ()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-10, 10) | st.just(math.nan), min_size=2, max_size=6), st.booleans())
def test_the_best_is_the_extreme_mean(means: list[float], higher: bool) -> None:
    runs: Runs = {f"m{i}": ({}, {"x": [mean, mean]}) for i, mean in enumerate(means)}
    cells = compare(results(runs, {"x": Measure("X", "f", higher)})).cells
    defined = [mean for mean in means if not math.isnan(mean)]
    best = set(cells["mean"][cells["rank"] == 1])
    assert best == ({max(defined) if higher else min(defined)} if len(defined) > 1 else set())


def test_seeds_are_averaged_sample_by_sample() -> None:
    runs: Runs = {
        "a": ({"method": "epsilon", "seed": "0"}, {"error": [1.0, 2.0, math.nan]}),
        "b": ({"method": "epsilon", "seed": "1"}, {"error": [3.0, 2.0, math.nan]}),
    }
    found = compare(results(runs))
    assert found.methods == ("epsilon",)
    assert cell(found, "epsilon", "error")[["mean", "half", "n"]].tolist() == [2.0, 0.0, 2]
    assert found.notes[0] == "averaged, sample by sample, over the seeds 0, 1"
    assert found.notes[1] == "Error is undefined for some samples, defined for: epsilon 2 of 3"


def test_runs_that_cannot_be_averaged_stay_apart() -> None:
    runs: Runs = {
        "a": ({"method": "epsilon", "settings": {"rule.epsilon": "1", "seed": "0"}}, {"error": [1.0, 1.0]}),
        "b": ({"method": "epsilon", "settings": {"rule.epsilon": "2", "seed": "0"}}, {"error": [5.0, 5.0]}),
        "c0": ({"method": "gamma"}, {"error": [5.0, 5.0]}),
        "c1": ({"method": "gamma"}, {"error": [5.0, 5.0]}),
    }
    found = compare(results(runs))
    assert found.methods == ("epsilon (epsilon=1)", "epsilon (epsilon=2)", "gamma (c0)", "gamma (c1)")
    assert cell(found, "epsilon (epsilon=1)", "error")["mean"] == 1.0


def test_different_samples_are_never_averaged_and_always_told() -> None:
    runs: Runs = {
        "a": ({"method": "epsilon", "seed": "0", "settings": {"seed": "0"}}, {"error": [1.0, 2.0]}),
        "b": ({"method": "epsilon", "seed": "1", "settings": {"seed": "1"}}, {"error": [3.0, 4.0, 5.0]}),
    }
    found = compare(results(runs))
    assert found.methods == ("epsilon (seed=0)", "epsilon (seed=1)")
    assert "different samples (epsilon (seed=0) 2, epsilon (seed=1) 3)" in found.notes[0]
    shifted = compare(
        results({"a": ({}, {"error": [1.0, 2.0]}), "b": ({}, {"error": [1.0, 2.0]})}, samples={"b": [5, 6]})
    )
    assert "different samples" in shifted.notes[0]


def test_models_and_data_sets_are_columns() -> None:
    runs: Runs = {
        "a": ({"method": "epsilon"}, {"error": [1.0]}),
        "b": ({"method": "epsilon", "dataset": "mnist", "model": "lenet"}, {"error": [2.0]}),
    }
    assert compare(results(runs)).settings == ("digits, mlp", "mnist, lenet")
    alone = compare(results({"a": runs["a"]}))
    assert alone.settings == ("digits",)
    assert math.isnan(cell(alone, "epsilon", "error")["rank"])


def test_a_sweep_in_which_everything_failed_has_only_failures() -> None:
    found = compare(results({}))
    assert (found.methods, found.settings, found.cells.empty) == ((), (), True)
    assert found.failures[0].reason == "no box"


def test_curves_have_bands_over_samples() -> None:
    found = bands(results({"a": ({}, {"error": [1.0, 3.0]})}))
    assert found[["setting", "score", "method", "order"]].drop_duplicates().to_numpy().tolist() == [
        ["digits", "logit", "a", "lerf"]
    ]
    assert found["fraction"].tolist() == [0.0, 1.0]
    assert found["mean"].tolist() == [2.0, 3.0]
    np.testing.assert_allclose(found["high"] - found["mean"], 12.7062047, rtol=1e-6)
    assert bands(results({})).empty


@pytest.mark.parametrize(("curve", "kept"), [("flipping/random", True), ("insertion", False), ("morf_log_odds", True)])
def test_only_curves_with_an_order_are_flip_curves(curve: str, kept: bool) -> None:
    one = results({"a": ({}, {"error": [1.0, 3.0]})})
    one.curves["curve"] = curve
    found = bands(one)
    assert len(found) == 2 * kept
    assert curve != "morf_log_odds" or set(found["score"]) == {"log_odds"}
