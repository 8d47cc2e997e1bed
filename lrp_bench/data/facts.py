"""Which data a run used, as a tracker records it."""

from __future__ import annotations

from lrp_bench.contracts import Log
from lrp_bench.data.protocol import DataSet


def log_training_data(run: Log, data: DataSet) -> None:
    """Record the three parts of a data set, with their sizes."""
    for split, count in data.counts.items():
        _log(run, data, split, count)


def log_explained_data(run: Log, data: DataSet) -> None:
    """Record the explained subset of the test split, which the seed draws."""
    _log(run, data, "explained", len(data.indices), data.seed)


def _log(run: Log, data: DataSet, split: str, count: int, *more: int) -> None:
    facts = {"samples": count, "shape": list(data.shape), "classes": data.classes, "fingerprint": data.fingerprint()}
    digest = "-".join([data.fingerprint()[:12], split[:10], *map(str, (count, *more))])
    run.log_data(type(data).__name__, digest[:36], split, facts)
