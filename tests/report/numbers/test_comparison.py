from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lrp_bench.contracts import Measure
from lrp_bench.report.numbers.comparison import Comparison, compare
from lrp_bench.report.numbers.curves import bands
from lrp_bench.report.numbers.findings import findings
from lrp_bench.report.numbers.statistics import interval
from lrp_bench.report.store.results import Results

Runs = Mapping[str, tuple[dict[str, object], Mapping[str, list[float]]]]
Made = Callable[..., Results]
HIGHER = {"x": Measure("X", "flipping", True)}


def cell(comparison: Comparison, method: str, measure: str, setting: str = "digits") -> pd.Series:
    cells = comparison.cells.set_index(["setting", "method", "measure"])
    return cells.loc[(setting, method, measure)]


def test_means_ranks_and_order(results: Made) -> None:
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
    assert all(math.isnan(cell(found, "random", measure)["rank"]) for measure in found.measures)
    assert all(math.isnan(cell(found, method, "ties")["rank"]) for method in found.methods)
    assert cell(found, "epsilon", "error")[["low", "high"]].tolist() == [1.0, 3.0]
    assert found.samples == {"digits": 2}
    assert found.notes == ()


def test_a_measure_may_be_shown_and_ranked_by_its_median(results: Made) -> None:
    explodes = {"error": replace(Measure("Error", "conservation", False), summary="median")}
    runs: Runs = {"a": ({}, {"error": [1.0, 2.0, 900.0]}), "b": ({}, {"error": [3.0, 4.0, 5.0]})}
    found = compare(results(runs, explodes))
    assert cell(found, "a", "error")[["q1", "median", "q3", "shown", "rank"]].tolist() == [1.5, 2.0, 451.0, 2.0, 1.0]
    assert found.pairs["difference"].tolist() == [-2.0]


@settings(max_examples=25, deadline=None)
@given(means=st.lists(st.floats(-10, 10) | st.just(math.nan), min_size=2, max_size=6), higher=st.booleans())
def test_the_best_is_the_extreme_mean(results: Made, means: list[float], higher: bool) -> None:
    runs: Runs = {f"m{i}": ({}, {"x": [mean, mean]}) for i, mean in enumerate(means)}
    cells = compare(results(runs, {"x": Measure("X", "f", higher)})).cells
    defined = [mean for mean in means if not math.isnan(mean)]
    best = set(cells["mean"][cells["rank"] == 1])
    assert best == ({max(defined) if higher else min(defined)} if len(defined) > 1 else set())


def test_seeds_are_averaged_sample_by_sample(results: Made) -> None:
    runs: Runs = {
        "a": ({"method": "epsilon", "seed": "0"}, {"error": [1.0, 2.0, math.nan, 1.0]}),
        "b": ({"method": "epsilon", "seed": "1"}, {"error": [3.0, 2.0, math.nan, math.nan]}),
    }
    found = compare(results(runs))
    assert found.methods == ("epsilon",)
    assert cell(found, "epsilon", "error")[["mean", "low", "high", "n"]].tolist() == [2.0, *(1.0, 3.0), 2]
    assert found.notes[0] == "Averaged, sample by sample, over the seeds 0, 1"
    assert "over seeds and samples leaves out 0" in found.notes[1]
    assert found.notes[2] == "Error is undefined for some samples, defined for: epsilon 2 of 4"


@pytest.mark.parametrize(
    ("count", "said"),
    [(2, "M0 and M1 are"), (4, "M0, M1, M2 and M3 are"), (5, "M0, M1, M2 and 2 more measures are")],
)
def test_what_is_the_same_of_several_measures_is_said_once(results: Made, count: int, said: str) -> None:
    values = {f"m{place}": [1.0, math.nan] for place in range(count)} | {"whole": [1.0, 2.0]}
    measures = {name: Measure(name.title(), "f", True) for name in values}
    notes = compare(results({"a": ({}, values)}, measures)).notes
    assert notes == (f"{said} undefined for some samples, defined for: a 1 of 2",)


def test_runs_that_cannot_be_averaged_stay_apart(results: Made) -> None:
    runs: Runs = {
        "a": ({"method": "epsilon", "settings": {"rule.epsilon": "1", "seed": "0"}}, {"error": [1.0, 1.0]}),
        "b": ({"method": "epsilon", "settings": {"rule.epsilon": "2", "seed": "0"}}, {"error": [5.0, 5.0]}),
        "c0": ({"method": "gamma"}, {"error": [5.0, 5.0]}),
        "c1": ({"method": "gamma"}, {"error": [5.0, 5.0]}),
    }
    found = compare(results(runs))
    assert found.methods == ("epsilon (epsilon=1)", "epsilon (epsilon=2)", "gamma (c0)", "gamma (c1)")
    assert cell(found, "epsilon (epsilon=1)", "error")["mean"] == 1.0


def test_only_runs_that_differ_in_the_seed_alone_are_averaged(results: Made) -> None:
    def of(seed: str, bias: str, **changed: str) -> dict[str, Any]:
        seeded = {"seed": seed, "dataset.seed": seed, "trainer.random_state": seed, "tracker.uri": bias}
        settings = {**seeded, "dataset.root": bias, "rule.epsilon": bias, "explainer.bias": bias}
        return {"method": "epsilon", "seed": seed, "settings": {**settings, **changed}}

    runs: dict[str, tuple[dict[str, Any], dict[str, list[float]]]] = {
        "a": (of("0", "absorb"), {"error": [1.0, 1.0]}),
        "b": (of("1", "absorb"), {"error": [3.0, 3.0]}),
        "c": (of("2", "exclude"), {"error": [11.0, 11.0]}),
        "d": (of("0", "x", **{"explainer.bias": "absorb"}) | {"method": "ig"}, {"error": [1.0, 1.0]}),
        "e": (of("1", "y", **{"explainer.bias": "absorb"}) | {"method": "ig"}, {"error": [5.0, 5.0]}),
        "f": (of("0", "absorb") | {"method": "random"}, {"error": [1.0, 1.0]}),
        "g": (of("1", "exclude") | {"method": "random"}, {"error": [2.0, 2.0]}),
    }
    found = compare(results(runs))
    assert found.methods == ("epsilon (bias=absorb)", "epsilon (bias=exclude)", "ig", "random")
    assert [cell(found, method, "error")["mean"] for method in found.methods] == [2.0, 11.0, 3.0, 1.5]
    for tags, _ in runs.values():
        tags["settings"]["explainer.bias"] *= 9
    assert compare(results(runs)).methods == ("epsilon (a)", "epsilon (c)", "ig", "random")


def test_different_samples_are_never_averaged_and_always_told(results: Made) -> None:
    shifted = compare(
        results({"a": ({}, {"error": [1.0, 2.0]}), "b": ({}, {"error": [1.0, 2.0]})}, samples={"b": [5, 6]})
    )
    assert "different samples (a 2, b 2)" in shifted.notes[0]
    assert shifted.cells["rank"].isna().all()
    assert shifted.pairs.empty
    assert findings(shifted) == ()


def test_seeds_that_explained_different_samples_are_columns(results: Made) -> None:
    runs: Runs = {
        "a": ({"method": "epsilon", "seed": "0"}, {"error": [1.0, 2.0]}),
        "b": ({"method": "epsilon", "seed": "1"}, {"error": [3.0, 4.0, 5.0]}),
        "c": ({"method": "random", "seed": "0"}, {"error": [3.0, 4.0]}),
        "d": ({"method": "random", "seed": "1"}, {"error": [3.0, 4.0, 5.0]}),
    }
    found = compare(results(runs))
    assert (found.methods, found.settings) == (("epsilon", "random"), ("digits, seed=0", "digits, seed=1"))
    assert cell(found, "epsilon", "error", "digits, seed=1")["mean"] == 4.0
    assert found.notes[0].startswith("The seeds explained different samples")


def test_models_and_data_sets_are_columns(results: Made) -> None:
    runs: Runs = {
        "a": ({"method": "epsilon"}, {"error": [1.0]}),
        "b": ({"method": "epsilon", "dataset": "mnist", "model": "lenet"}, {"error": [2.0]}),
    }
    assert compare(results(runs)).settings == ("digits, mlp", "mnist, lenet")
    alone = compare(results({"a": runs["a"]}))
    assert alone.settings == ("digits",)
    assert math.isnan(cell(alone, "epsilon", "error")["rank"])


IMPUTERS = {
    "constant": {"imputer._target_": "x.Constant", "imputer.value": "0", "names.imputer": "constant"},
    "blur": {"imputer._target_": "x.Blur", "imputer.sigma": "3", "names.imputer": "blur"},
}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ([*IMPUTERS.values()], ("digits, constant", "digits, blur")),
        (
            [{**each, "metric.flipping.imputer._target_": each["imputer._target_"]} for each in IMPUTERS.values()],
            ("digits, constant", "digits, blur"),
        ),
        ([{"metric.flipping.imputer._target_": f"x.{name}"} for name in "AB"], ("digits, A", "digits, B")),
        ([{"batch_size": size} for size in ("1", "100")], ("digits, batch_size=1", "digits, batch_size=100")),
        ([{"metric.flipping.steps": steps} for steps in "89"], ("digits, steps=8", "digits, steps=9")),
        (
            [{"target": "label", "metric.a.seed": "1"}, {"target": "predicted"}],
            ("digits, target=label", "digits, target=predicted"),
        ),
        ([{"metric.flipping.unit": word * 50} for word in "ab"], ("digits, condition 1", "digits, condition 2")),
    ],
)
def test_conditions_are_columns_and_methods_rows(
    results: Made, settings: list[dict[str, str]], expected: tuple[str, ...]
) -> None:
    runs: Runs = {
        f"{method}{place}": ({"method": method, "settings": each}, {"error": [float(place), 3.0]})
        for place, each in enumerate(settings)
        for method in ("epsilon", "gamma", "random")
    }
    found = compare(results(runs))
    assert (found.methods, found.settings) == (("epsilon", "gamma", "random"), expected)
    assert len(found.notes) == 2 * ("condition" in expected[0])
    assert found.mean_ranks.to_numpy().tolist() == [["error", "epsilon", 1.5, 2], ["error", "gamma", 1.5, 2]]


def test_a_setting_that_differs_with_the_data_set_alone_is_no_condition(results: Made) -> None:
    runs: Runs = {
        name: ({"method": "epsilon", "dataset": name, "settings": {"imputer.mean": name}}, {"error": [1.0, 2.0]})
        for name in ("digits", "mnist")
    }
    assert compare(results(runs)).settings == ("digits", "mnist")


def test_the_order_of_runs_changes_no_number(results: Made) -> None:
    rng = np.random.default_rng(0)
    runs = {name: ({}, {"error": rng.normal(size=9).tolist()}) for name in ("a", "b", "c", "random")}
    one, other = (compare(results(dict(items))) for items in (list(runs.items()), list(runs.items())[::-1]))
    keys = ["setting", "method", "measure"]
    pd.testing.assert_frame_equal(one.cells.set_index(keys).sort_index(), other.cells.set_index(keys).sort_index())
    for frame in (one.pairs, other.pairs):
        frame["pair"] = [frozenset(each) for each in zip(frame["a"], frame["b"], strict=True)]
    ours, theirs = (frame.set_index("pair")["p_holm"].to_dict() for frame in (one.pairs, other.pairs))
    assert ours == pytest.approx(theirs)


def test_a_sweep_in_which_everything_failed_has_only_failures(results: Made) -> None:
    found = compare(results({}))
    assert (found.methods, found.settings, found.cells.empty, found.pairs.empty) == ((), (), True, True)
    assert found.failures[0].reason == "no box"


def test_curves_have_bands_over_samples(results: Made) -> None:
    values = [1.0, 3.0, 4.0, 8.0]
    found = bands(results({"a": ({}, {"error": values})}))
    assert found[["setting", "score", "method", "order"]].drop_duplicates().to_numpy().tolist() == [
        ["digits", "logit", "a", "lerf"]
    ]
    assert found["fraction"].tolist() == [0.0, 1.0]
    assert found["mean"].tolist() == [4.0, 5.0]
    expected = interval(values)
    np.testing.assert_allclose(found["low"], [expected.low, expected.low + 1])
    np.testing.assert_allclose(found["high"], [expected.high, expected.high + 1])
    assert bands(results({})).empty


def test_curves_of_several_seeds_are_one(results: Made) -> None:
    runs: Runs = {str(seed): ({"method": "a", "seed": str(seed)}, {"error": [seed, 2.0]}) for seed in (0, 4)}
    assert bands(results(runs))["mean"].tolist() == [2.0, 3.0]


@pytest.mark.parametrize(("curve", "kept"), [("flipping/random", True), ("insertion", False), ("morf_log_odds", True)])
def test_only_curves_with_an_order_are_flip_curves(results: Made, curve: str, kept: bool) -> None:
    one = results({"a": ({}, {"error": [1.0, 3.0]})})
    one.curves["curve"] = curve
    found = bands(one)
    assert len(found) == 2 * kept
    assert curve != "morf_log_odds" or set(found["score"]) == {"log_odds"}


def test_what_does_not_depend_on_a_condition_is_shown_once(results: Made) -> None:
    runs: Runs = {
        f"{method}{imputer}": (
            {"method": method, "settings": {"names.imputer": imputer}},
            {"error": [1.0, worse], "agreement": [float(place), worse]},
        )
        for place, imputer in enumerate(("constant", "blur"))
        for method, worse in (("epsilon", 2.0), ("gamma", 3.0))
    }
    found = compare(results(runs))
    by_measure = found.cells.groupby("measure", sort=False)["setting"].agg(lambda each: list(dict.fromkeys(each)))
    assert by_measure.to_dict() == {"error": ["digits"], "agreement": ["digits, constant", "digits, blur"]}
    assert set(found.mean_ranks["measure"]) == {"agreement"}
    assert set(found.samples) == {"digits", "digits, constant", "digits, blur"}


def test_every_pair_is_tested_and_what_is_close_to_the_best_is_marked(results: Made) -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=30)
    runs: Runs = {
        "best": ({}, {"error": base.tolist()}),
        "close": ({}, {"error": (base + rng.normal(0.001, 0.1, 30)).tolist()}),
        "far": ({}, {"error": (base + 1 + rng.normal(0, 0.1, 30)).tolist()}),
        "random": ({}, {"error": base.tolist()}),
    }
    found = compare(results(runs))
    assert found.pairs[["a", "b"]].to_numpy().tolist() == [["best", "close"], ["best", "far"], ["close", "far"]]
    assert found.pairs["n"].tolist() == [30, 30, 30]
    p = [
        stats.wilcoxon(*(runs[name][1]["error"] for name in pair)).pvalue for pair in found.pairs[["a", "b"]].to_numpy()
    ]
    np.testing.assert_allclose(found.pairs["p"], p)
    np.testing.assert_allclose(found.pairs["p_holm"], [p[0], min(3 * p[1], 1), max(3 * p[1], 2 * p[2])])
    assert found.cells["tied"].tolist() == [False, found.pairs["p_holm"][0] >= 0.05, False, False]
    (sentence,) = findings(found)
    assert sentence.startswith("Error: ")
    assert "leads with" in sentence


def test_findings_over_settings_count_the_sure_ones(results: Made) -> None:
    runs: Runs = {
        f"{method}{steps}": (
            {"method": method, "settings": {"metric.flipping.steps": steps}},
            {"error": [value + 0.001 * i * (steps == "8") for i in range(20)]},
        )
        for steps in ("8", "9")
        for method, value in (("epsilon", 0.0), ("gamma", 0.5 if steps == "8" else 0.0))
    }
    assert findings(compare(results(runs))) == (
        "Error, 2 settings: epsilon is first in 2, significantly in 1; mean rank epsilon 1.2, gamma 1.8.",
    )


def test_a_mean_rank_says_of_how_many_settings_it_is(results: Made) -> None:
    runs: Runs = {
        f"{method}{dataset}": ({"dataset": dataset, "method": method}, {"error": [value, value + 1.0]})
        for dataset, values in {"A": (1.0, 2.0, 3.0), "B": (1.0, 2.0, 3.0), "C": (4.0, 1.0)}.items()
        for method, value in zip("abc", values, strict=False)
    }
    (sentence,) = findings(compare(results(runs)))
    assert sentence.startswith("Error, 3 settings: a is first in 2")
    assert sentence.endswith("; mean rank over the 2 that rank every method: a 1.0, b 2.0.")


def test_either_is_said_of_a_second_that_is_tied_too(results: Made) -> None:
    rng = np.random.default_rng(0)
    base, noise = rng.normal(size=20), rng.normal(0, 3, 20)
    noise -= noise.mean()
    for spread, words in ((0.0, "t cannot be told from it."), (0.1, "t cannot be told from it either.")):
        values = {"b": base, "s": base + 0.01 + spread * noise, "t": base + 0.5 + noise}
        runs: Runs = {name: ({}, {"error": each.tolist()}) for name, each in values.items()}
        (sentence,) = findings(compare(results(runs)))
        assert " ahead of s, " in sentence
        assert sentence.endswith(words)


def test_means_that_differ_by_rounding_alone_are_equal(results: Made) -> None:
    values = [0.1, 0.2, 0.3]
    turned = sorted(values, reverse=True)
    assert np.mean(values) != np.mean(turned)
    runs: Runs = {"a": ({}, {"x": values}), "b": ({}, {"x": turned}), "c": ({}, {"x": [0.1, 0.2, 0.3001]})}
    found = compare(results(runs, HIGHER))
    assert found.cells["rank"].tolist() == [2, 2, 1]
    huge = {"x": Measure("X", "flipping", False, summary="median")}  # of which the mean, not the median, rounds
    runs = {"a": ({}, {"x": [1e30, 0.1, 0.0]}), "b": ({}, {"x": [1e30, 0.2, 0.0]}), "c": ({}, {"x": [math.inf] * 3})}
    assert compare(results(runs, huge)).cells["rank"].tolist() == [1, 2, 3]


def test_two_that_share_the_lead_are_both_named(results: Made) -> None:
    runs: Runs = {name: ({}, {"error": [1.0, 2.0]}) for name in ("a", "b")}
    assert findings(compare(results(runs))) == ("Error: a, b share the lead with 1.5.",)
    assert findings(compare(results({"a": runs["a"]}))) == ()


def test_where_mean_and_ranks_disagree_nobody_is_called_better(results: Made) -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(0, 0.01, 100)
    b = a - 0.02 - 0.01 * rng.random(100)  # below a on 94 samples
    b[:6] += 3  # and above it by the mean
    found = compare(results({"a": ({}, {"x": a.tolist()}), "b": ({}, {"x": b.tolist()})}, HIGHER))
    (pair,) = found.pairs.to_dict("records")
    assert (pair["difference"] < 0, pair["p_holm"] < 0.001) == (True, True)
    assert pair["rank_biserial"] > 0.7
    assert found.cells.set_index("method")[["rank", "tied"]].to_dict("index") == {
        "a": {"rank": 2.0, "tied": True},
        "b": {"rank": 1.0, "tied": False},
    }
    (sentence,) = findings(found)
    assert "a significant difference" not in sentence
    assert "names the other as better" in sentence
    assert found.notes == (
        "X, digits: a and b count as tied, since the mean and the test, sample by sample, name opposite winners",
    )


@pytest.mark.parametrize("summary", ["mean", "median"])
def test_methods_are_ranked_by_the_samples_that_all_define(results: Made, summary: str) -> None:
    rng = np.random.default_rng(0)
    hard = np.repeat([0.1, 0.9], 50) + rng.normal(0, 0.02, 100)
    worse = np.where(np.arange(100) < 50, np.nan, hard - 0.1)  # defined where all do well
    runs: Runs = {
        "a": ({}, {"x": hard.tolist()}),
        "b": ({}, {"x": worse.tolist()}),
        "none": ({}, {"x": [np.nan] * 100}),
    }
    found = compare(results(runs, {"x": replace(HIGHER["x"], summary=summary)}))
    cells = found.cells.set_index("method")
    assert cells["shown"]["a"] < cells["shown"]["b"]  # each by its own samples
    assert cells["rank"].tolist()[:2] == [1.0, 2.0]
    assert math.isnan(cells["rank"]["none"])
    (pair,) = found.pairs.to_dict("records")
    assert (pair["n"], pair["verdict"]) == (50, "significant")
    assert pair["difference"] == pytest.approx(0.1)
    assert found.notes[-1] == "X is ranked and tested by the samples that all define: digits 50 of 100"
    (sentence,) = findings(found)
    assert "a leads with 0.9" in sentence
    assert "on the 50 samples that all define, 0.1 ahead of b" in sentence


def seeded(offsets: list[float], samples: int = 60) -> Runs:
    """b does not depend on the seed, a is above it by an offset in each, nearly the same on every sample."""
    rng = np.random.default_rng(0)
    base = rng.normal(0, 0.05, (len(offsets), samples))
    a = base + np.array(offsets)[:, None] + rng.normal(0, 0.01, base.shape)
    return {
        f"{method}{seed}": ({"method": method, "seed": str(seed)}, {"x": values[seed].tolist()})
        for method, values in (("a", a), ("b", base))
        for seed in range(len(offsets))
    }


@pytest.mark.parametrize("summary", ["mean", "median"])
@pytest.mark.parametrize(
    ("offsets", "verdict"), [([0.3, -0.1, -0.1], "not over the seeds"), ([0.03, 0.04, 0.05], "significant")]
)
def test_what_does_not_hold_over_the_seeds_is_not_significant(
    results: Made, offsets: list[float], verdict: str, summary: str
) -> None:
    runs = seeded(offsets)
    found = compare(results(runs, {"x": replace(HIGHER["x"], summary=summary)}))
    (pair,) = found.pairs.to_dict("records")
    assert pair["p_holm"] < 0.001  # averaged over seeds every sample says the same
    assert pair["verdict"] == verdict
    assert found.cells["tied"].any() == (verdict != "significant")
    assert ("does not hold over the seeds" in findings(found)[0]) == (verdict != "significant")
    a, b = (np.array([runs[f"{method}{seed}"][1]["x"] for seed in range(3)]) for method in "ab")

    def slow(samples: np.ndarray, seeds: np.ndarray) -> float:
        one, other = (each[seeds][:, samples].mean(0) for each in (a, b))
        return float(np.median(one) - np.median(other)) if summary == "median" else float((one - other).mean())

    theirs = stats.bootstrap(
        (np.arange(60), np.arange(3)),
        slow,
        n_resamples=2000,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    np.testing.assert_allclose([pair["low"], pair["high"]], theirs.confidence_interval, atol=1e-12)


def test_methods_of_other_seeds_are_not_told_apart(results: Made) -> None:
    runs = {name: run for name, run in seeded([0.3, 0.4]).items() if name != "b1"}
    found = compare(results(runs, HIGHER))
    assert found.pairs["verdict"].tolist() == ["other seeds"]
    assert "digits: methods of other seeds (0 and 0, 1) are never told apart" in found.notes
