from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from lrp_bench.contracts import Measure
from lrp_bench.report.figures import sweep
from lrp_bench.report.figures.sweep import draw_all
from lrp_bench.report.numbers.comparison import compare
from lrp_bench.report.store.maps import Maps
from lrp_bench.report.store.results import Results

Made = Callable[..., Results]
MEASURES = {
    "flipping/srg_logit": Measure("SRG", "flipping", True),
    "conservation/error": Measure("Conservation error", "conservation", False, summary="median"),
    "agreement/ig/spearman": Measure("Spearman with ig", "agreement", True),
    "relevance/wid$h": Measure("Relevance of wid$h", "relevance", None, headline=False),
}
EVIL = ("<script>alert(1)</script>", "a_b%&$ x$", r"\frac{1", "random")


def maps_of(R: np.ndarray) -> Maps:
    each = np.arange(len(R))
    titles = np.array([f"true ${place}" for place in each])
    return Maps(each, each, each, each.astype(float), titles, R[:, None], R.astype(np.float32))


def measured(results: Made) -> Results:
    """Everything there can be, of methods with names that no text format takes as they are."""
    rng = np.random.default_rng(0)
    runs = {
        f"{name}{imputer}": (
            {"method": name, "settings": {"names.imputer": imputer}},
            {measure: rng.normal(place, 1, 12).tolist() for measure in MEASURES},
        )
        for place, name in enumerate(EVIL)
        for imputer in ("blur", "mean")
    }
    found = results(runs, measures=MEASURES)
    parts = {"layer": "head", "sample": 0, "arrived": 1.0, "passed": 0.5, "bias": 0.5, "stabilizer": 0.0, "rule": 0.0}
    return replace(
        found,
        layers=pd.DataFrame([{"run": run, **parts} for run in runs]),
        outputs=pd.DataFrame([{"run": run, "sample": 0, "label": 0, "prediction": 0, "score": 1.0} for run in runs]),
        maps={run: maps_of(rng.normal(size=(2, 4, 4))) for run in runs},
    )


def test_every_figure_is_drawn_where_its_numbers_are(results: Made, tmp_path: Path) -> None:
    found = measured(results)
    drawn = draw_all(found, compare(found), tmp_path / "new")
    assert [each.name for each in drawn] == [
        *("heatmaps", "flip_curves", "ranks_1", "ranks_2", "cost", "layers_1", "layers_2"),
        *("agreement_1", "agreement_2", "likeness", "features", "stability"),
    ]
    assert all(each.title and each.caption.endswith(".") for each in drawn)
    files = [path for each in drawn for path in each.files]
    assert sorted(files) == sorted((tmp_path / "new").iterdir())
    assert [path.name for path in drawn[0].files] == ["heatmaps.png", "heatmaps.pdf"]
    widths = {imread(path).shape[1] / 200 for path in files if path.suffix == ".png"}
    assert max(widths) <= 6.9  # inches: both columns of a paper
    assert "n = " not in drawn[0].caption
    assert "12 samples" in next(each.caption for each in drawn if each.name == "agreement_1")
    assert "the 2 samples" in next(each.caption for each in drawn if each.name == "likeness")


def test_nothing_is_drawn_without_numbers(results: Made, tmp_path: Path) -> None:
    for runs in ({}, {"a": ({}, {"ties": [1.0]})}):
        found = replace(results(runs), curves=pd.DataFrame(columns=["run", "curve", "sample", "fraction", "value"]))
        assert draw_all(found, compare(found), tmp_path) == []


def test_of_many_settings_the_first_are_drawn_and_the_caption_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "MOST", 2)
    found = list(sweep._named("ranks", ["a", "b", "c"]))
    assert [(name, each) for name, _, each in found] == [("ranks_1", "a"), ("ranks_2", "b")]
    assert all("Of 3 such figures the first 2 are drawn." in left for _, left, _ in found)
    assert list(sweep._named("ranks", ["a"])) == [("ranks", "", "a")]
