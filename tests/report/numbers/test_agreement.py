from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from lrp_bench.contracts import Measure
from lrp_bench.report.figures import matrices
from lrp_bench.report.figures.matrices import Matrix
from lrp_bench.report.numbers import agreement
from lrp_bench.report.numbers.comparison import compare
from lrp_bench.report.store.maps import Maps, filled
from lrp_bench.report.store.results import Results

Made = Callable[..., Results]


def made(R: Any, **changed: Any) -> Maps:
    R = np.asarray(R, dtype=np.float32)
    each = np.arange(len(R))
    given = {"sample": each, "label": each, "prediction": each, "score": each, "titles": each.astype(str)}
    return Maps(**{**given, "inputs": R, "relevance": R, **changed})


def test_the_likeness_of_maps_is_spearmans_correlation_averaged_over_samples() -> None:
    rng = np.random.default_rng(0)
    maps = [made(rng.integers(-3, 4, size=(5, 3, 4))) for _ in range(3)]
    values, n = agreement.likeness(maps)
    flat = [each.relevance.reshape(5, -1) for each in maps]
    expected = [[np.mean([spearmanr(a[i], b[i]).statistic for i in range(5)]) for b in flat] for a in flat]
    np.testing.assert_allclose(values, expected, atol=1e-12)
    assert n == 5


def test_only_shared_samples_and_real_words_count_and_a_constant_map_has_no_order() -> None:
    words = filled([("a", "b"), ("c", "d", "e")])
    one = made([[1.0, 2.0, 9.0], [1.0, 2.0, 3.0]], words=words)
    other = made([[1.0, 2.0, -9.0], [3.0, 2.0, 1.0]], words=words)
    values, n = agreement.likeness([one, other])
    assert n == 2
    assert values[0, 1] == pytest.approx(0.0)  # 1 in the first, whose third number is no word, and -1 in the second
    values, n = agreement.likeness([made([[1.0, 2.0, 9.0]], words=filled([("a", "b")])), other])
    assert (n, values[0, 1]) == (1, pytest.approx(1.0))
    values, _ = agreement.likeness([made(np.ones((1, 2, 2))), made([[[1, 2], [3, 4]]])])
    assert np.isnan(values).tolist() == [[True, True], [True, False]]


MEASURES = {
    "agreement/ig/top_k": Measure("Top k", "agreement", True, headline=False),
    "agreement/ig/spearman": Measure("Spearman", "agreement", True),
    "agreement/saliency/spearman": Measure("Spearman", "agreement", True),
    "agreement/zeros": Measure("Zeros", "agreement", None, headline=False),
}


def test_a_table_of_methods_and_baselines_for_each_way_to_compare(results: Made) -> None:
    def values(start: float) -> dict[str, list[float]]:
        return {name: [start + place, start + place] for place, name in enumerate(MEASURES)}

    runs = {"random": ({}, values(7.0)), "b": ({}, values(1.0)), "a": ({}, values(4.0))}
    compared = compare(results(runs, measures=MEASURES))
    found = agreement.with_baselines(compared, "digits")
    assert list(found) == ["spearman", "top_k"]
    assert found["spearman"].index.tolist() == ["b", "a", "random"]
    assert found["spearman"].columns.tolist() == ["ig", "saliency"]
    assert found["spearman"].to_numpy().tolist() == [[2, 3], [5, 6], [8, 9]]
    assert found["top_k"].to_numpy().tolist() == [[1], [4], [7]]
    assert agreement.with_baselines(compared, "mnist") == {}


def test_fields_have_their_numbers_and_colours_of_one_scale() -> None:
    names = [f"a_long_name_{place}" for place in range(3)]
    fields = np.array([[1.0, -0.001, np.nan], [0.5, 1.0, -1.0], [0.0, 0.25, 1.0]])
    figure = matrices._figure([Matrix("one", names, names, fields), Matrix("other", names, names, fields)], "r", -1.0)
    first = figure.axes[0]
    assert [text.get_text() for text in first.texts[:4]] == ["1.00", "0.00", "n.a.", "0.50"]
    assert first.images[0].get_clim() == (-1, 1)
    assert [label.get_text() for label in first.get_yticklabels()] == names
    assert [text.get_color() for text in first.texts[:2]] == ["white", "black"]
