from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from lrp_bench.contracts import Measure
from lrp_bench.report.figures.bars import feature_bars, feature_shares, table_maps
from lrp_bench.report.store.collect import collect
from lrp_bench.tracking.mlflow import MLflowRun, MLflowTracker

NAMES = ("relevance/cement", "relevance/age", "relevance/sum", "relevance/to_bias", "relevance/fc1/0")
MEASURES = {
    name: Measure(name, name.partition("/")[0], None)
    for name in (*NAMES, "permutation/cement", "permutation/age", "permutation/spearman")
}


def test_shares_are_of_mean_sizes_and_leave_out_what_is_no_feature(
    tracker: MLflowTracker, sweep: str, explain: Callable[..., MLflowRun], tmp_path: Path
) -> None:
    half = [1.0, -1.0] * 10
    values = {"relevance/cement": [3 * each for each in half], "relevance/age": half}
    values |= {"permutation/cement": [0.6] * 20, "permutation/age": [0.4] * 20}
    explain("zero", values, measures=MEASURES)
    explain("random", values, measures=MEASURES)
    shares = feature_shares(collect(tracker.uri, tracker.experiment, sweep))
    found = shares.set_index(["method", "feature"])["share"].to_dict()
    assert found == pytest.approx(
        {
            ("zero", "cement"): 0.75,
            ("zero", "age"): 0.25,
            ("permutation importance", "cement"): 0.6,
            ("permutation importance", "age"): 0.4,
        }
    )
    paths = feature_bars(shares, tmp_path, "features")
    assert [path.suffix for path in paths] == [".png", ".pdf"]
    assert all(path.stat().st_size > 1000 for path in paths)


def test_without_relevance_there_are_no_shares(
    tracker: MLflowTracker, sweep: str, explain: Callable[..., MLflowRun]
) -> None:
    explain("zero")
    assert feature_shares(collect(tracker.uri, tracker.experiment, sweep)).empty


def test_a_table_is_red_where_relevance_is_positive(tmp_path: Path) -> None:
    R = np.array([[1.0, -1.0], [0.0, 0.0]])
    path = table_maps(np.ones((2, 2)), R, ["a", "b"], ["x (cm)", "y"], tmp_path / "table.png", "MPa")
    pixels = pd.DataFrame(imread(path)[..., :3].reshape(-1, 3), columns=list("rgb"))
    assert ((pixels["r"] > 0.3) & (pixels["b"] < 0.2)).sum() > 500
    assert ((pixels["b"] > 0.3) & (pixels["r"] < 0.1)).sum() > 500
