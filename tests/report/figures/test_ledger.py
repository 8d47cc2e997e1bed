from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lrp_bench.report.figures import ledger
from lrp_bench.report.store.results import Results

Made = Callable[..., Results]
QUANTITIES = ["arrived", "passed", "bias", "stabilizer", "rule"]


def measured(results: Made) -> Results:
    """Two methods, two layers, scores of 4 and -2."""
    found = results({"b": ({}, {"error": [0.1, 0.2]}), "a": ({}, {"error": [0.1, 0.2]})})
    rows = [
        ("b", "head", 0, 4.0, 3.0, 1.0, 0.0, 0.0),
        ("b", "head", 1, -2.0, -3.0, 0.5, 0.5, 0.0),
        ("b", "body", 0, 3.0, 3.0, 0.0, 0.0, 0.0),
        ("b", "body", 1, -3.0, -2.0, 0.0, 0.0, -1.0),
        ("a", "head", 0, 4.0, 4.0, 0.0, 0.0, 0.0),
        ("a", "head", 1, -2.0, -2.0, 0.0, 0.0, 0.0),
    ]
    outputs = pd.DataFrame({"run": ["b", "b", "a", "a"], "sample": [0, 1] * 2, "score": [4.0, -2.0] * 2})
    layers = pd.DataFrame(rows, columns=["run", "layer", "sample", *QUANTITIES])
    return replace(found, layers=layers, outputs=outputs)


def test_shares_are_of_the_summed_scores_and_add_up(results: Made) -> None:
    shares = ledger.by_layer(measured(results))
    assert shares[["method", "layer"]].to_numpy().tolist() == [["b", "head"], ["b", "body"], ["a", "head"]]
    np.testing.assert_allclose(shares.loc[0, QUANTITIES].astype(float), [1.0, 1.0, 0.5 / 6, -0.5 / 6, 0.0])
    np.testing.assert_allclose(shares.loc[1, QUANTITIES].astype(float), [1.0, 5 / 6, 0.0, 0.0, 1 / 6])
    np.testing.assert_allclose(shares[QUANTITIES[1:]].sum(axis=1), shares["arrived"])
    assert ledger.by_layer(results({"a": ({}, {"error": [0.1]})})).empty


def test_bars_are_stacked_on_both_sides_of_zero() -> None:
    axis = Figure().subplots()
    ledger._stack(axis, pd.DataFrame([[1.0, 1.25, -0.5, 0.5, -0.25]], columns=QUANTITIES, index=["head"]))
    bars = {str(each.get_label()): each.get_paths()[0].vertices[:, 0] for each in axis.collections}
    spans = {part: (x.min(), x.max()) for part, x in bars.items()}
    expected = {"passed": (0.0, 1.25), "bias": (-0.5, 0.0), "stabilizer": (1.25, 1.75), "rule": (-0.75, -0.5)}
    assert spans == expected
    assert np.asarray(axis.lines[0].get_xdata()).tolist() == [1.0]  # what arrived


def test_of_many_layers_those_that_take_most_are_kept_in_their_order() -> None:
    count = ledger.MOST + 10
    shares = pd.DataFrame({"layer": [f"l{place}" for place in range(count)], "method": "a", "arrived": 1.0})
    shares = shares.assign(passed=1.0, bias=np.arange(count) / count, stabilizer=0.0, rule=0.0)
    assert ledger.most_eventful(shares) == [f"l{place}" for place in range(10, count)]
    assert ledger.most_eventful(shares.head(3)) == ["l0", "l1", "l2"]
