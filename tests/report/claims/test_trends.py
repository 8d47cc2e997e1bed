"""A measure over the quality of the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from lrp_bench.contracts import Measure
from lrp_bench.report.claims.evidence import COLUMNS, Evidence
from lrp_bench.report.claims.trends import draw_trends, trends
from lrp_bench.report.figures.style import COLUMN, SHARP
from lrp_bench.report.numbers.statistics import interval

ACCURACY = {"1": 0.4, "4": 0.7, "16": 0.6}
VALUES = np.random.default_rng(0).normal(size=(3, 2, 8))  # trainings, methods, samples


@pytest.fixture
def evidence() -> Evidence:
    rows, settings = [], {}
    for place, (epochs, accuracy) in enumerate(ACCURACY.items()):
        for row, method in enumerate(("lrp", "random")):
            run = method + epochs
            settings[run] = {"trainer.max_epochs": epochs, "rule.epsilon": method}
            rows.append((run, method, "d", "m", "0", "test_accuracy", np.nan, accuracy))
            rows += [(run, method, "d", "m", "0", "aopc", n, value) for n, value in enumerate(VALUES[place, row])]
    measures = {"aopc": Measure("AOPC", "x", True), "ties": Measure("Ties", "x", None, headline=False)}
    return Evidence(pd.DataFrame(rows, columns=list(COLUMNS)), "today", settings, measures)


def test_means_and_intervals_in_the_order_of_the_accuracy(evidence: Evidence) -> None:
    found = trends(evidence)
    assert list(found.loc[found["method"] == "lrp", "reached"]) == [0.4, 0.6, 0.7]
    best = found[(found["method"] == "lrp") & (found["reached"] == 0.7)].iloc[0]
    assert (best["mean"], best["low"], best["high"]) == pytest.approx(interval(VALUES[1, 0])[:3])


def test_the_figure(evidence: Evidence, tmp_path: Path) -> None:
    files = draw_trends(evidence, tmp_path / "mine")
    assert [path.suffix for path in files] == [".png", ".pdf"]
    picture = imread(files[0])
    assert np.ptp(picture) > 0.5
    assert picture.shape[1] == round(COLUMN * SHARP)  # one panel is as wide as a column of a paper


def test_seeds_are_no_trend(evidence: Evidence, tmp_path: Path) -> None:
    alike = replace(evidence, settings={run: {"trainer.max_epochs": "1", "seed": run} for run in evidence.settings})
    assert draw_trends(alike, tmp_path) == ()
