"""One contract, held by every tracker."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from lrp_bench.tracking.base import RunTracker
from lrp_bench.tracking.memory import MemoryTracker
from lrp_bench.tracking.mlflow import MLflowTracker


@dataclass
class Seen:
    """A stored run, however it is stored."""

    name: str
    status: str
    params: dict[str, str]
    metrics: dict[str, float]
    tags: dict[str, str]
    curve: Callable[[str], list[tuple[int, float]]]
    file: Callable[[str], bytes]
    data: set[tuple[str, str, str]]


def in_memory(tracker: MemoryTracker, run: str) -> Seen:
    kept = tracker.runs[run]
    curve, file = kept.curves.__getitem__, kept.files.__getitem__
    return Seen(kept.name, kept.status, kept.params, kept.metrics, kept.tags, curve, file, set(kept.data))


def in_mlflow(tracker: MLflowTracker, run: str) -> Seen:
    client = tracker.store.client
    kept = client.get_run(run)
    return Seen(
        kept.info.run_name,
        kept.info.status,
        kept.data.params,
        kept.data.metrics,
        kept.data.tags,
        lambda name: [(point.step, point.value) for point in client.get_metric_history(run, name)],
        lambda name: Path(client.download_artifacts(run, name)).read_bytes(),
        {(d.dataset.name, d.dataset.digest, d.tags[0].value) for d in kept.inputs.dataset_inputs},
    )


@pytest.fixture(params=["memory", "mlflow"])
def tracker(request: pytest.FixtureRequest) -> RunTracker:
    return MemoryTracker() if request.param == "memory" else request.getfixturevalue("mlflow_tracker")


@pytest.fixture
def see(tracker: RunTracker) -> Callable[[str], Seen]:
    if isinstance(tracker, MemoryTracker):
        return lambda run: in_memory(tracker, run)
    assert isinstance(tracker, MLflowTracker)
    return lambda run: in_mlflow(tracker, run)


def test_a_run_keeps_what_was_logged(tracker: RunTracker, see: Callable[[str], Seen], tmp_path: Path) -> None:
    picture = tmp_path / "picture.txt"
    picture.write_text("before")
    params = {"rule": {"epsilon": 1e-6, "layers": [1, 2]}, "a[0]=+b,c": None, "long": "x" * 7000, "empty": {}}
    with tracker.run("first", kind="explanation", params=params, tags={"method": "epsilon"}) as run:
        run.log_metrics({"srg": 0.5, "srg/n": 3, "bad": float("nan"), "worse": float("inf"), "iou[0]": 1.0})
        run.log_curve("curve/morf", [1.0, float("nan"), 0.25], [0, 50, 100])
        run.log_file(picture, "figures")
        for split in ("train", "test"):
            run.log_data("Digits", f"0123456789abcdef-{split}", split, {"samples": 3, "shape": [1, 2]})
        run.set_tags({"device": "cpu", "method": "gamma"})
        assert see(run.id).status == "RUNNING"
        picture.write_text("after")
    seen = see(run.id)
    assert (seen.name, seen.status) == ("first", "FINISHED")
    assert seen.params == {
        "rule.epsilon": "1e-06",
        "rule.layers": "[1, 2]",
        "a_0_b_c": "None",
        "long": "x" * 6000,
        "empty": "{}",
    }
    assert {name: seen.metrics[name] for name in ("srg", "srg/n", "iou_0", "curve/morf")} == {
        "srg": 0.5,
        "srg/n": 3.0,
        "iou_0": 1.0,
        "curve/morf": 0.25,
    }
    assert not {"bad", "worse"} & set(seen.metrics)
    assert 0 <= seen.metrics["seconds"] < 60
    assert seen.metrics["peak_memory_mib"] > 1
    assert 0 <= seen.metrics["cpu_utilization_percentage"] < 10000
    assert seen.curve("curve/morf") == [(0, 1.0), (100, 0.25)]
    assert seen.file("figures/picture.txt") == b"before"
    assert seen.data == {("Digits", f"0123456789abcdef-{split}", split) for split in ("train", "test")}
    assert (seen.tags["kind"], seen.tags["method"], seen.tags["device"]) == ("explanation", "gamma", "cpu")
    assert {"host", "pid", "command", "version.torch", "version.lrp_bench", "version.python"} <= set(seen.tags)


def test_more_values_than_a_batch_holds_are_all_kept(tracker: RunTracker, see: Callable[[str], Seen]) -> None:
    with tracker.run("many", kind="training", params={f"p{i}": i for i in range(230)}) as run:
        run.log_curve("loss", [float(i) for i in range(1234)], range(1234))
    assert len(see(run.id).params) == 230
    assert sorted(see(run.id).curve("loss")) == [(i, float(i)) for i in range(1234)]


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (ValueError("no " + "x" * 600), "FAILED", "ValueError: no " + "x" * 497),
        (KeyboardInterrupt(), "KILLED", "KeyboardInterrupt"),
        (SystemExit(3), "KILLED", "SystemExit: 3"),
    ],
)
def test_a_run_that_breaks_off_says_so_and_passes_the_error_on(
    tracker: RunTracker, see: Callable[[str], Seen], error: BaseException, status: str, told: str
) -> None:
    with pytest.raises(type(error)) as caught, tracker.run("broken", kind="training") as run:
        raise error
    assert caught.value is error
    assert see(run.id).status == status
    assert see(run.id).tags["error"] == told


def test_find_wants_everything_to_match(tracker: RunTracker) -> None:
    mark = uuid.uuid4().hex
    sweep = tracker.start("sweep", kind="sweep")
    with tracker.run("old", kind="training", tags={"fingerprint": mark}, parent=sweep.id) as old:
        assert tracker.find(kind="training", fingerprint=mark) is None
    assert tracker.find(kind="training", fingerprint=mark) == old.id
    assert tracker.find(kind="training", fingerprint=mark, parent=sweep.id) == old.id
    assert tracker.find(kind="training", fingerprint=mark, parent=old.id) is None
    assert tracker.find(kind="explanation", fingerprint=mark) is None
    with pytest.raises(OSError, match="full"), tracker.run("bad", kind="training", tags={"fingerprint": mark}):
        raise OSError("full")
    assert tracker.find(kind="training", fingerprint=mark) == old.id
    with tracker.run("new", kind="training", tags={"fingerprint": mark}) as new:
        pass
    assert tracker.find(kind="training", fingerprint=mark) == new.id


def test_a_sweep_opens_and_closes_in_different_places(tracker: RunTracker, see: Callable[[str], Seen]) -> None:
    sweep = tracker.start("sweep", kind="sweep", params={"rule": "epsilon,gamma"})
    with tracker.run("one", kind="explanation", parent=sweep.id) as one:
        pass
    with tracker.run("two", kind="explanation", parent=sweep.id) as two:
        pass
    assert tracker.children(sweep.id) == [one.id, two.id]
    assert not tracker.discard_if_empty(sweep.id)
    tracker.end(sweep.id)
    tracker.resume(sweep.id).log_metrics({"best": 1.0})
    assert see(sweep.id).status == "FINISHED"
    assert see(sweep.id).metrics["best"] == 1.0
    tracker.end(sweep.id, KeyboardInterrupt())
    assert see(sweep.id).status == "KILLED"


def test_a_run_that_is_gone_on_with_is_one_of_this_process(tracker: RunTracker, see: Callable[[str], Seen]) -> None:
    sweep = tracker.start("sweep", kind="sweep", tags={"pid": "1"})
    tracker.end(sweep.id, KeyboardInterrupt())
    first = see(sweep.id).metrics["seconds"]
    tracker.reopen(sweep.id)
    assert see(sweep.id).status == "RUNNING"
    assert "error" not in see(sweep.id).tags
    time.sleep(0.02)
    tracker.end(sweep.id)
    assert see(sweep.id).status == "FINISHED"
    assert first + 0.02 <= see(sweep.id).metrics["seconds"] < first + 10
    assert "error" not in see(sweep.id).tags


def test_no_password_is_stored(tracker: RunTracker, see: Callable[[str], Seen]) -> None:
    uri = "postgresql://me:s3cret@host:5432/runs"
    with tracker.run(
        "run", kind="training", params={"tracker": {"uri": uri}}, tags={"command": f"--uri={uri} -m"}
    ) as run:
        run.set_tags({"note": f"in {uri}, and http://me@host/x"})
    kept = see(run.id)
    assert kept.params == {"tracker.uri": "postgresql://host:5432/runs"}
    assert kept.tags["command"] == "--uri=postgresql://host:5432/runs -m"
    assert kept.tags["note"] == "in postgresql://host:5432/runs, and http://host/x"


def test_a_sweep_that_never_began_leaves_nothing(tracker: RunTracker) -> None:
    mark = uuid.uuid4().hex
    sweep = tracker.start("sweep", kind="sweep", tags={"fingerprint": mark})
    tracker.end(sweep.id)
    assert tracker.find(kind="sweep", fingerprint=mark) == sweep.id
    assert tracker.discard_if_empty(sweep.id)
    assert tracker.find(kind="sweep", fingerprint=mark) is None
