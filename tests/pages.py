"""A report's page with all there can be on it, and names that must be escaped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from lrp_bench.report.figures.picture import Picture
from lrp_bench.report.pages.report import write_page
from lrp_bench.report.pages.summary import write_tables
from lrp_bench.report.store.maps import Maps
from lrp_bench.report.store.origin import Origin
from lrp_bench.report.store.results import Results

EVIL = "<script>alert(1)</script>"
ORIGIN = Origin(
    sweep="0123456789abcdef",
    command="python -m lrp_bench rule=epsilon,gamma --multirun",
    preset="",
    status="FINISHED",
    started=pd.Timestamp("2026-01-02 03:04"),
    seconds=65.4,
    commit="0123456789ab",
    versions={"lrp_bench": "1.0", "torch": "2.11"},
    quality={("digits", "mlp"): {"test_accuracy": [0.9, 0.95]}},
    uri="http://host:5000",
    pages="http://host:5000/#/experiments/1/runs/",
)


def maps(samples: int, shape: tuple[int, ...], seed: int = 0, **changed: object) -> Maps:
    """Random relevance of this shape for samples 0, 1, ...; inputs of its shape, pictures with three channels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(samples) % 10
    given = {
        "sample": np.arange(samples),
        "label": labels,
        "prediction": labels,
        "score": rng.normal(size=samples),
        "titles": np.array([f"true {EVIL}\npredicted {label}" for label in labels]),
        "inputs": rng.uniform(size=(samples, 3, *shape) if len(shape) == 2 else (samples, *shape)),
        "relevance": rng.normal(size=(samples, *shape)).astype(np.float32),
    }
    return Maps(**{**given, **changed})  # type: ignore[arg-type]


def with_maps(made: Results, shape: tuple[int, ...] = (8, 8), **changed: object) -> Results:
    """Results whose runs kept maps of all their samples."""
    samples = made.frame["sample"].nunique()
    return replace(made, maps={run: maps(samples, shape, seed, **changed) for seed, run in enumerate(made.runs.index)})


def page(made: Results, folder: Path, origin: Origin = ORIGIN, pictures: tuple[Picture, ...] = ()) -> Path:
    """Write the page of some results."""
    return write_page(made, write_tables(made, folder), pictures, folder, origin=origin)


def three(results: Callable[..., Results]) -> Results:
    """Three methods, one of a name that would run if it were not escaped, as the sweep's, and random; ten samples."""
    rng = np.random.default_rng(0)
    levels = {"epsilon": (0.8, 0.2), EVIL: (0.6, 0.3), "gamma": (0.7, 0.1), "random": (0.1, 0.9)}
    runs = {
        f"run{place}": (
            {"method": method, "settings": {"rule._target_": method, "samples": "10"}},
            {"agreement": [a + x for x in rng.normal(0, 0.01, 10)], "error": [e + x for x in rng.normal(0, 0.01, 10)]},
        )
        for place, (method, (a, e)) in enumerate(levels.items())
    }
    return with_maps(replace(results(runs), name=EVIL))
