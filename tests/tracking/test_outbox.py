"""What cannot be logged stays beside the files, and is sent later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lrp_bench.contracts import BenchError, Log, Run
from lrp_bench.tracking.memory import MemoryTracker
from lrp_bench.tracking.mlflow import MLflowRun, MLflowTracker
from lrp_bench.tracking.outbox import UNSENT, Outbox, send


def tell(run: Log, folder: Path) -> None:
    run.log_metrics({"srg": 0.5, "undefined": float("nan")})
    run.log_metrics({"srg": 0.75}, step=1)
    run.log_curve("curve", [1.0, 0.5], [0, 10])
    run.log_data("Digits", "digest", "explained", {"samples": 2})
    run.set_tags({"method": "zplus"})
    run.log_file(folder / "table.md")
    run.log_file(folder / "table.md", "figures")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "table.md").write_text("the table")
    return tmp_path


def test_a_tracker_gets_what_it_would_have_got_at_once(folder: Path) -> None:
    tracker, outbox = MemoryTracker(), Outbox(folder, {})
    direct, handed = (tracker.start("run", kind="explanation") for _ in "12")
    tell(direct, folder)
    tell(outbox, folder)
    with outbox.kept():
        outbox.hand_over(handed)
        assert (folder / UNSENT).exists()
    assert handed.metrics.pop("peak_memory_mib") > 1
    handed.curves.pop("peak_memory_mib")
    for kept in ("metrics", "curves", "tags", "files", "data"):
        assert getattr(handed, kept) == getattr(direct, kept)
    assert outbox.metrics["srg"] == 0.75
    assert not (folder / UNSENT).exists()


def test_what_a_store_did_not_take_is_sent_from_wherever_it_lies_now(
    mlflow_tracker: MLflowTracker,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    def full(*_: object) -> None:
        raise BenchError("Expected room, got none.")

    where = {"uri": "http://127.0.0.1:9", "experiment": mlflow_tracker.experiment}
    outbox = Outbox(folder, {"_target_": "any", "artifacts": str(mlflow_tracker.artifacts), **where})
    tell(outbox, folder)
    run = mlflow_tracker.start("run", kind="explanation")
    with monkeypatch.context() as patch:
        patch.setattr(MLflowRun, "log_file", full)
        with pytest.raises(BenchError, match=rf"room.* send {folder}") as caught, outbox.kept():
            outbox.hand_over(run)
    mlflow_tracker.end(run.id, caught.value)
    moved = folder.rename(tmp_path_factory.mktemp("else") / "where")
    assert send(moved.parent, mlflow_tracker.uri) == [run.id]
    stored = mlflow_tracker.store.client.get_run(run.id)
    assert (stored.info.status, stored.data.tags["method"], stored.data.metrics["srg"]) == ("FINISHED", "zplus", 0.75)
    assert "error" not in stored.data.tags
    assert stored.data.metrics["curve"] == 0.5
    points = mlflow_tracker.store.client.get_metric_history(run.id, "curve")
    assert sorted((point.step, point.value) for point in points) == [(0, 1.0), (10, 0.5)]  # logged twice, there once
    assert stored.inputs.dataset_inputs[0].dataset.digest == "digest"
    with pytest.raises(BenchError, match="nothing was left unsent"):
        send(moved)


def test_a_run_that_could_not_be_ended_is_kept_and_sent(
    mlflow_tracker: MLflowTracker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = {"uri": mlflow_tracker.uri, "experiment": mlflow_tracker.experiment, "artifacts": str(folder)}
    outbox = Outbox(folder, where)
    tell(outbox, folder)

    def gone(*_: object) -> None:
        raise BenchError("Expected a store, got none.")

    def work() -> None:
        with monkeypatch.context() as patch, outbox.kept(), mlflow_tracker.run("run", kind="explanation") as run:
            made.append(run)
            outbox.hand_over(run)
            patch.setattr(mlflow_tracker, "end", gone)

    made: list[Run] = []
    with pytest.raises(BenchError, match=f"got none. .* send {folder}"):
        work()
    (run,) = made
    assert mlflow_tracker.store.client.get_run(run.id).info.status == "RUNNING"
    assert send(folder) == [run.id]
    assert mlflow_tracker.store.client.get_run(run.id).info.status == "FINISHED"


def test_what_failed_before_it_was_handed_over_leaves_what_lies_there(folder: Path) -> None:
    (folder / UNSENT).write_text("of an earlier run")
    with pytest.raises(BenchError, match=r"^Expected a model, got none\.$"), Outbox(folder, {}).kept():
        raise BenchError("Expected a model, got none.")
    assert (folder / UNSENT).read_text() == "of an earlier run"


def test_one_that_cannot_be_sent_does_not_hold_up_the_others(mlflow_tracker: MLflowTracker, folder: Path) -> None:
    where = {"uri": mlflow_tracker.uri, "experiment": mlflow_tracker.experiment, "artifacts": str(folder)}
    run = mlflow_tracker.start("run", kind="explanation")
    for name, text in {
        "a": '{"run": ',
        "b": json.dumps({"run": run.id, "tracker": where, "ended": 1e9, "calls": []}),
    }.items():
        (folder / name).mkdir()
        (folder / name / UNSENT).write_text(text)
    with pytest.raises(BenchError, match=f"{folder}/a/{UNSENT}: "):
        send(folder)
    assert mlflow_tracker.store.client.get_run(run.id).info.status == "FINISHED"
    assert [path.parent.name for path in folder.rglob(UNSENT)] == ["a"]


def test_a_store_that_does_not_know_the_run_leaves_it_unsent(mlflow_tracker: MLflowTracker, folder: Path) -> None:
    where = {"uri": mlflow_tracker.uri, "experiment": mlflow_tracker.experiment, "artifacts": str(folder)}
    unknown = {"run": "0" * 32, "tracker": where, "ended": 0.0, "calls": [["set_tags", [{"a": "b"}]]]}
    (folder / UNSENT).write_text(json.dumps(unknown))
    with pytest.raises(BenchError, match="0" * 32):
        send(folder)
    assert (folder / UNSENT).exists()
