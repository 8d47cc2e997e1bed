"""A sweep that was broken off and started again ends with the table of one that was not."""

from __future__ import annotations

from pathlib import Path

import pytest

from lrp_bench.cli import configure
from lrp_bench.report.numbers.comparison import compare
from lrp_bench.report.store.collect import collect
from lrp_bench.report.tables import formats
from lrp_bench.run import method, run
from lrp_bench.tracking.mlflow import MLflowTracker

SMALL = ("dataset=synthetic", "samples=12", "trainer=fast", "baselines=none", "metric=[flipping]", "pictures=0")


def explain(tracker: MLflowTracker, folder: Path, parent: str, rule: str) -> None:
    cfg = configure(*SMALL, f"rule={rule}", f"paths.outputs={folder}")
    cfg.tracker.uri, cfg.tracker.experiment, cfg.tracker.artifacts = tracker.uri, tracker.experiment, str(folder)
    run(cfg, folder=folder / parent / rule, parent=parent)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def table(tracker: MLflowTracker, sweep: str) -> str:
    return formats.csv(compare(collect(tracker.uri, tracker.experiment, sweep)))


def test_the_table_of_a_resumed_sweep_is_that_of_one_at_a_stretch(
    mlflow_tracker: MLflowTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, broken = (mlflow_tracker.start(name, kind="sweep").id for name in ("whole", "broken"))
    explain(mlflow_tracker, tmp_path, broken, "epsilon")
    with monkeypatch.context() as patch:
        patch.setattr(method, "keep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            explain(mlflow_tracker, tmp_path, broken, "zplus")
    mlflow_tracker.end(broken, KeyboardInterrupt())
    done = len(mlflow_tracker.children(broken))
    for rule in ("epsilon", "zplus"):
        explain(mlflow_tracker, tmp_path, broken, rule)
        explain(mlflow_tracker, tmp_path, whole, rule)
    assert done == 3
    assert len(mlflow_tracker.children(broken)) == 4
    assert table(mlflow_tracker, broken) == table(mlflow_tracker, whole)
