"""The files an explanation run keeps, written and read in one place.

scores.parquet: a row per sample, columns sample, label, prediction, score and one per measure; measures.json: measure
name -> contracts.Measure; curves.parquet: a row per point, columns curve, sample, fraction, value; layers.parquet, of
methods that look into the model: a row per layer and sample, from the output down, columns layer, sample and one per
quantity; maps.npz: the relevance of some samples (see maps.Maps).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from pyarrow.parquet import ParquetFile

from lrp_bench.contracts import BenchError, Measure
from lrp_bench.report.store import maps
from lrp_bench.report.store.maps import Maps

SCORES = "scores.parquet"
MEASURES = "measures.json"
CURVES = "curves.parquet"
LAYERS = "layers.parquet"
MAPS = maps.FILE
FILES = (SCORES, MEASURES, CURVES, LAYERS, MAPS)
UNAVAILABLE = "unavailable."  # tag prefix: why a metric or a baseline has no numbers
SAMPLE_COLUMNS = ("sample", "label", "prediction", "score")
CURVE_COLUMNS = ("curve", "sample", "fraction", "value")
LAYER_COLUMNS = ("layer", "sample")  # and the quantities


@dataclass(frozen=True)
class Artifacts:
    """What was read back from one run; the frames have the columns that the module names."""

    scores: pd.DataFrame
    measures: dict[str, Measure]
    curves: pd.DataFrame
    layers: pd.DataFrame
    maps: Maps | None = None


def write(
    folder: Path,
    *,
    samples: Mapping[str, ArrayLike],
    values: Mapping[str, ArrayLike],
    measures: Mapping[str, Measure],
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    layers: Mapping[str, Mapping[str, ArrayLike]] | None = None,
) -> list[Path]:
    """Write a run's files and return their paths.

    samples: sample, label, prediction and score, each (samples,); values: measure name -> (samples,), NaN where
    undefined; curves: curve name -> (fractions (steps + 1,), scores (samples, steps + 1)), in the order of `samples`;
    layers: layer -> quantity -> (samples,).
    """
    columns = {name: np.asarray(samples[name]) for name in SAMPLE_COLUMNS}
    columns |= {name: np.asarray(each, dtype=np.float64) for name, each in values.items()}
    _check(columns, values, measures)
    points = [_curve(name, columns["sample"], *each) for name, each in (curves or {}).items()] or [_no_curves()]
    pd.DataFrame(columns).to_parquet(folder / SCORES, index=False)
    (folder / MEASURES).write_text(json.dumps({name: _plain(each) for name, each in measures.items()}, indent=2))
    pd.concat(points).to_parquet(folder / CURVES, index=False)
    written = [folder / SCORES, folder / MEASURES, folder / CURVES]
    if not layers:
        return written
    table = pd.concat({name: pd.DataFrame({"sample": columns["sample"], **each}) for name, each in layers.items()})
    table.rename_axis(["layer", None]).reset_index("layer").to_parquet(folder / LAYERS, index=False)
    return [*written, folder / LAYERS]


def read(folder: Path) -> Artifacts:
    """Read a run's files back. Raises OSError or ValueError, which says what is missing or damaged."""
    for name in (MEASURES, SCORES):
        if not (folder / name).exists():
            raise ValueError(f"{name} is missing")
    measures = _measures(json.loads((folder / MEASURES).read_text()))
    scores = _columns(folder / SCORES, {*SAMPLE_COLUMNS, *measures})
    if scores["sample"].duplicated().any():
        raise ValueError(f"{SCORES} has a sample twice")
    has_curves = (folder / CURVES).exists()
    curves = _columns(folder / CURVES, set(CURVE_COLUMNS)) if has_curves else _no_curves()
    has_layers = (folder / LAYERS).exists()
    layers = _columns(folder / LAYERS, set(LAYER_COLUMNS)) if has_layers else pd.DataFrame(columns=[*LAYER_COLUMNS])
    return Artifacts(scores, measures, curves, layers, maps.read(folder))


def _check(
    columns: Mapping[str, NDArray[Any]], values: Mapping[str, ArrayLike], measures: Mapping[str, Measure]
) -> None:
    if set(values) != set(measures) or set(values) & set(SAMPLE_COLUMNS):
        raise BenchError(
            f"Expected one Measure for each measured name, none called {', '.join(SAMPLE_COLUMNS)}, got values "
            f"{sorted(values)} and measures {sorted(measures)}: mend the evaluator that returned them."
        )
    shapes = {name: each.shape for name, each in columns.items()}
    if any(shape != shapes["sample"] for shape in shapes.values()):
        raise BenchError(f"Expected one value per sample, {shapes['sample']}, got {shapes}: mend the evaluator.")


def _curve(name: str, sample: ArrayLike, fractions: ArrayLike, scores: ArrayLike) -> pd.DataFrame:
    fraction, value = np.broadcast_arrays(np.asarray(fractions, dtype=np.float64), np.asarray(scores, dtype=np.float64))
    steps = value.shape[1]
    return pd.DataFrame(
        {
            "curve": name,
            "sample": np.repeat(np.asarray(sample), steps),
            "fraction": fraction.ravel(),
            "value": value.ravel(),
        }
    )


def _no_curves() -> pd.DataFrame:
    return pd.DataFrame({"curve": [], "sample": [], "fraction": [], "value": []}).astype({"curve": str})


def _plain(measure: Measure) -> dict[str, object]:
    """JSON has no infinity: a missing bound is null."""
    return {key: None if value in (math.inf, -math.inf) else value for key, value in asdict(measure).items()}


def _measures(plain: Any) -> dict[str, Measure]:
    bounds = ("lower", "upper")
    try:
        return {
            name: Measure(**{key: value for key, value in each.items() if value is not None or key not in bounds})
            for name, each in plain.items()
        }
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{MEASURES} does not describe measures: {error}") from error


def _columns(path: Path, wanted: set[str]) -> pd.DataFrame:
    frame: pd.DataFrame = ParquetFile(path).read(use_threads=False).to_pandas()  # half the time of pandas.read_parquet
    if missing := sorted(wanted - set(frame.columns)):
        raise ValueError(f"{path.name} has no column {', '.join(missing)}")
    return frame
