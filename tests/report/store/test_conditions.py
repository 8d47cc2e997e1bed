"""Numbers of different kinds of device stand apart in every table."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lrp_bench.contracts import Measure
from lrp_bench.report.numbers.comparison import compare
from lrp_bench.report.store.collect import _settings, collect
from lrp_bench.tracking.mlflow import MLflowRun, MLflowTracker

SRG = {"srg": Measure("SRG", "flipping", True, -1.0, 1.0)}
NAME = "NVIDIA H100 80GB HBM3"
HERE, THERE = {"trained_on": "cpu"}, {"trained_on": NAME}
CPU, GPU = {"device": "cpu"}, {"device": NAME}
Explain = Callable[..., MLflowRun]


def told(tracker: MLflowTracker, sweep: str, explain: Explain, *runs: dict[str, str]) -> tuple[str, ...]:
    """The columns of a sweep whose runs have these tags, beside what `explain` takes."""
    for place, tags in enumerate(runs):
        named = {key: tags.get(key, usual) for key, usual in (("method", "epsilon"), ("dataset", "digits"))}
        values = {"srg": [0.1 * place, 0.5]}
        run = explain(named["method"], values, samples=[0, 1], measures=SRG, dataset=named["dataset"])
        run.set_tags({key: value for key, value in tags.items() if key not in named})
    return compare(collect(tracker.uri, tracker.experiment, sweep)).settings


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([CPU, {**CPU, "method": "gamma"}], ("digits",)),
        ([CPU, GPU, {**GPU, "method": "gamma"}], ("digits, device=cpu", f"digits, device={NAME}")),
        ([CPU, {**GPU, "method": "gamma"}], ("digits, device=cpu", f"digits, device={NAME}")),
        ([CPU, {**GPU, "dataset": "iris"}], ("digits, device=cpu", f"iris, device={NAME}")),
        ([GPU | HERE, GPU | THERE], ("digits, trained_on=cpu", f"digits, trained_on={NAME}")),
        ([{}, {"method": "gamma"}], ("digits",)),
        ([{}, {**GPU, "method": "gamma"}], ("digits", f"digits, device={NAME}")),
    ],
)
def test_each_kind_of_device_is_a_column(
    tracker: MLflowTracker,
    sweep: str,
    explain: Explain,
    runs: list[dict[str, str]],
    expected: tuple[str, ...],
) -> None:
    assert told(tracker, sweep, explain, *runs) == expected


def test_what_was_found_counts_and_not_what_was_typed(tracker: MLflowTracker, sweep: str) -> None:
    tags = {"dataset": "digits", "model": "mlp", "method": "epsilon", "seed": "0", "device": NAME, "trained_on": "cpu"}
    with tracker.run("one", kind="explanation", parent=sweep, tags=tags, params={"device": "auto"}):
        pass
    (run,) = tracker.store.search({"kind": "explanation", "device": NAME})[-1:]
    assert _settings(run) == {"device": NAME, "trainer.trained_on": "cpu"}
