from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest

from lrp_bench.report.store import artifacts, maps
from lrp_bench.report.store.maps import Maps


def made(**changed: object) -> Maps:
    given = {
        "sample": np.array([3, 7]),
        "label": np.array([0, 1]),
        "prediction": np.array([0, 0]),
        "score": np.array([1.5, -2.0]),
        "titles": np.array(["true a\npredicted a", "true <b>\npredicted a"]),
        "inputs": np.linspace(0, 1, 24).reshape(2, 3, 2, 2),
        "relevance": np.arange(8, dtype=np.float32).reshape(2, 2, 2),
    }
    return Maps(**{**given, **changed})  # type: ignore[arg-type]


TABLE = {
    "inputs": np.ones((2, 2)),
    "relevance": np.array([[1, -2], [0, 3]], dtype=np.float32),
    "features": ("age (day)", "water"),
    "unit": "MPa",
}
TEXT = {
    "inputs": np.ones((2, 4), dtype=np.int64),
    "relevance": np.ones((2, 4), dtype=np.float32),
    "words": maps.filled([("an", "open", "end"), ("n\N{LATIN SMALL LETTER O WITH DIAERESIS}",)]),
}


@pytest.mark.parametrize(("changed", "kind"), [({}, "image"), (TABLE, "table"), (TEXT, "text")])
def test_maps_are_read_back_as_they_were(tmp_path: Path, changed: dict[str, object], kind: str) -> None:
    kept = made(**changed)
    assert maps.write(kept, tmp_path) == tmp_path / artifacts.MAPS
    found = maps.read(tmp_path)
    assert found is not None
    assert found.kind == kind
    for name, value in vars(kept).items():
        np.testing.assert_array_equal(getattr(found, name), value)
    assert found.relevance.dtype == np.float32


def test_words_of_a_sentence_have_no_filling() -> None:
    assert made(**TEXT).sentence(1) == ("n\N{LATIN SMALL LETTER O WITH DIAERESIS}",)
    assert made(**TEXT).sentence(0) == ("an", "open", "end")
    assert doctest.testmod(maps).failed == 0


def test_runs_without_maps_stay_readable_and_damage_is_told(tmp_path: Path) -> None:
    assert maps.read(tmp_path) is None
    path = maps.write(made(), tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"maps\.npz"):
        maps.read(tmp_path)
    maps.write(made(score=np.zeros(1)), tmp_path)
    with pytest.raises(ValueError, match=r"maps\.npz.*2 samples"):
        maps.read(tmp_path)
    np.savez(path, sample=np.array([None]))
    with pytest.raises(ValueError, match=r"allow_pickle"):
        maps.read(tmp_path)
