from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lrp_bench.contracts import BenchError, Measure
from lrp_bench.report.store import artifacts

MEASURES = {
    "srg": Measure("SRG", "flipping", True, -1.0, 1.0),
    "delta": Measure("Delta", "conservation", None, version=3),
}
SAMPLES = {"sample": [7, 3], "label": [0, 1], "prediction": [0, 2], "score": [1.5, 0.25]}
VALUES = {"srg": [0.5, math.nan], "delta": [-1.0, 2.0]}
CURVES = {"flipping/morf_logit": ([0.0, 0.5, 1.0], [[3.0, 2.0, 1.0], [6.0, 5.0, 4.0]])}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    artifacts.write(tmp_path, samples=SAMPLES, values=VALUES, measures=MEASURES, curves=CURVES)
    found = artifacts.read(tmp_path)
    assert found.measures == MEASURES
    pd.testing.assert_frame_equal(found.scores, pd.DataFrame({**SAMPLES, **VALUES}))
    expected = {"curve": ["flipping/morf_logit"] * 6, "sample": [7, 7, 7, 3, 3, 3]}
    expected |= {"fraction": [0.0, 0.5, 1.0] * 2, "value": [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]}
    pd.testing.assert_frame_equal(found.curves, pd.DataFrame(expected))


def test_the_measures_are_json_that_any_program_reads(tmp_path: Path) -> None:
    artifacts.write(tmp_path, samples=SAMPLES, values=VALUES, measures=MEASURES)
    plain = json.loads((tmp_path / "measures.json").read_text(), parse_constant=pytest.fail)
    assert plain["delta"]["lower"] is None
    assert artifacts.read(tmp_path).curves.empty


@pytest.mark.parametrize(
    ("values", "measures"),
    [
        ({"srg": [1.0]}, {"srg": MEASURES["srg"]}),
        ({"srg": [[1.0, 2.0]] * 2}, {"srg": MEASURES["srg"]}),
        ({"srg": [1.0, 2.0]}, MEASURES),
        ({"label": [1.0, 2.0]}, {"label": MEASURES["srg"]}),
    ],
)
def test_values_that_do_not_fit_are_refused(
    tmp_path: Path, values: dict[str, list[float]], measures: dict[str, Measure]
) -> None:
    with pytest.raises(BenchError, match="Expected one"):
        artifacts.write(tmp_path, samples=SAMPLES, values=values, measures=measures)
    assert list(tmp_path.iterdir()) == []


def test_damage_is_said_in_words(tmp_path: Path) -> None:
    def write() -> None:
        artifacts.write(tmp_path, samples=SAMPLES, values=VALUES, measures=MEASURES)

    write()
    (tmp_path / "scores.parquet").unlink()
    with pytest.raises(ValueError, match=r"scores\.parquet is missing"):
        artifacts.read(tmp_path)
    write()
    (tmp_path / "measures.json").write_text('{"srg": {"titel": "SRG"}}')
    with pytest.raises(ValueError, match=r"measures\.json.*titel"):
        artifacts.read(tmp_path)
    write()
    (tmp_path / "measures.json").write_text('["srg"]')
    with pytest.raises(ValueError, match=r"measures\.json"):
        artifacts.read(tmp_path)
    write()
    pd.DataFrame({**SAMPLES, "srg": [1.0, 2.0]}).to_parquet(tmp_path / "scores.parquet")
    with pytest.raises(ValueError, match="no column delta"):
        artifacts.read(tmp_path)
    twice = {**SAMPLES, "sample": [7, 7]}
    artifacts.write(
        tmp_path, samples={key: np.array(each) for key, each in twice.items()}, values=VALUES, measures=MEASURES
    )
    with pytest.raises(ValueError, match="twice"):
        artifacts.read(tmp_path)


def test_what_was_found_in_the_layers_is_read_back(tmp_path: Path) -> None:
    layers = {"head": {"bias": [0.5, -0.5], "amplification": [1.0, math.nan]}, "body": {"bias": [1.0, 2.0]}}
    layers["body"]["amplification"] = [3.0, 4.0]
    artifacts.write(tmp_path, samples=SAMPLES, values=VALUES, measures=MEASURES, layers=layers)
    expected = {"layer": ["head"] * 2 + ["body"] * 2, "sample": [7, 3] * 2}
    expected |= {"bias": [0.5, -0.5, 1.0, 2.0], "amplification": [1.0, math.nan, 3.0, 4.0]}
    pd.testing.assert_frame_equal(artifacts.read(tmp_path).layers, pd.DataFrame(expected))
