from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlparse

import numpy as np
import pandas as pd
import pytest

from lrp_bench.contracts import BenchError, Measure
from lrp_bench.report.claims.evidence import gather
from lrp_bench.report.store.collect import collect, sweeps
from lrp_bench.report.store.results import Results
from lrp_bench.tracking.mlflow import MLflowRun, MLflowTracker

SRG = {"srg": Measure("SRG", "flipping", True, -1.0, 1.0)}
Explain = Callable[..., MLflowRun]


def read(tracker: MLflowTracker, sweep: str | None) -> Results:
    return collect(tracker.uri, tracker.experiment, sweep)


def folder(tracker: MLflowTracker, run: MLflowRun) -> Path:
    return Path(unquote(urlparse(tracker.store.client.get_run(run.id).info.artifact_uri).path))


def test_one_row_is_run_times_measure_times_sample(tracker: MLflowTracker, sweep: str, explain: Explain) -> None:
    first = explain("epsilon", {"srg": [0.5, np.nan]}, samples=[4, 9], measures=SRG)
    second = explain(
        "gamma", {"srg": [0.25, 1.0]}, samples=[4, 9], measures=SRG, dataset="mnist", model="lenet", seed=3
    )
    found = read(tracker, sweep)
    expected = pd.DataFrame(
        {
            "run": [first.id, first.id, second.id, second.id],
            "dataset": ["digits", "digits", "mnist", "mnist"],
            "model": ["mlp", "mlp", "lenet", "lenet"],
            "method": ["epsilon", "epsilon", "gamma", "gamma"],
            "seed": ["0", "0", "3", "3"],
            "measure": "srg",
            "sample": [4, 9, 4, 9],
            "value": [0.5, np.nan, 0.25, 1.0],
        }
    )
    pd.testing.assert_frame_equal(found.frame, expected, check_dtype=False, check_categorical=False)
    assert found.measures == SRG
    assert (found.failures, found.notes, found.sweep) == ((), (), sweep)
    assert found.curves.groupby("run", observed=True).size().tolist() == [36, 36]


def test_the_latest_sweep_is_one_that_explained_something(tracker: MLflowTracker, sweep: str, explain: Explain) -> None:
    explain("epsilon", samples=[1, 2], measures=SRG)
    empty = tracker.start("empty", kind="sweep")
    with tracker.run("training", kind="training", parent=empty.id):
        pass
    assert read(tracker, None).sweep == sweep
    assert read(tracker, sweep[:12]).sweep == sweep
    name = "test_the_latest_sweep_is_one_that_explained_something"
    assert read(tracker, name).sweep == sweep
    listed = sweeps(tracker.uri, tracker.experiment).set_index("sweep")
    assert listed.loc[sweep, ["name", "finished", "failed", "status"]].tolist() == [name, 1, 0, "FINISHED"]
    assert listed.loc[empty.id, ["finished", "failed"]].tolist() == [0, 0]
    tracker.end(empty.id)
    with pytest.raises(BenchError, match=r"no such sweep.*none.*--list"):
        read(tracker, "no such sweep")


def test_two_sweeps_of_one_name_are_told_apart_by_their_ids(tracker: MLflowTracker) -> None:
    ids = [tracker.start("experiment=iris", kind="sweep").id for _ in range(2)]
    with pytest.raises(BenchError, match=rf"got experiment=iris \({ids[0]}\), experiment=iris \({ids[1]}\)"):
        read(tracker, "experiment=iris")
    assert read(tracker, ids[1][:12]).sweep == ids[1]


def test_a_single_explanation_can_be_read_alone(tracker: MLflowTracker, sweep: str, explain: Explain) -> None:
    run = explain("epsilon", samples=[1, 2], measures=SRG)
    explain("gamma", samples=[1, 2], measures=SRG)
    assert read(tracker, run.id).runs.index.tolist() == [run.id]


def test_failed_and_damaged_runs_are_listed_with_their_reason(
    tracker: MLflowTracker, sweep: str, explain: Explain
) -> None:
    explain("epsilon", error=BenchError("Expected alpha - beta = 1, got 2."))
    explain("gamma", error=ValueError("odd"))
    damaged, missing = explain("zplus"), explain("flat")
    with (folder(tracker, damaged) / "scores.parquet").open("r+b") as file:
        file.truncate(100)
    (folder(tracker, missing) / "measures.json").unlink()
    reasons = {failure.method: failure.reason for failure in read(tracker, sweep).failures}
    assert reasons["epsilon"] == "Expected alpha - beta = 1, got 2."
    assert reasons["gamma"] == "ValueError: odd"
    assert "cannot be read" in reasons["zplus"]
    assert "measures.json is missing" in reasons["flat"]
    assert read(tracker, sweep).frame.empty


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("SCHEDULED", "not started"),
        ("RUNNING", "still running, or its process ended without a word on another machine"),
        ("KILLED", "interrupted"),
        ("FAILED", "failed without a reason"),
    ],
)
def test_a_run_that_did_not_finish_is_told_in_words(
    tracker: MLflowTracker, sweep: str, explain: Explain, status: str, reason: str
) -> None:
    run = explain("epsilon", samples=[1, 2], measures=SRG)
    tracker.store.client.update_run(run.id, status=status)
    (failure,) = read(tracker, sweep).failures
    assert reason in failure.reason
    assert status not in failure.reason
    tracker.end(run.id, KeyboardInterrupt())
    (failure,) = read(tracker, sweep).failures
    assert failure.reason == "interrupted (KeyboardInterrupt)"


def test_the_same_work_counts_once(tracker: MLflowTracker, sweep: str, explain: Explain) -> None:
    explain("random", fingerprint="a", error=ValueError("first try"))
    explain("random", fingerprint="a", samples=[1, 2], measures=SRG)
    last = explain("random", fingerprint="a", samples=[1, 2], measures=SRG)
    explain("random", fingerprint="a", error=ValueError("a later try"))
    found = read(tracker, sweep)
    assert found.runs.index.tolist() == [last.id]
    assert found.failures == ()


def test_definitions_of_a_measure_are_not_mixed(tracker: MLflowTracker, sweep: str, explain: Explain) -> None:
    explain("old", samples=[1, 2], measures=SRG)
    explain("new", samples=[1, 2], measures={"srg": replace(SRG["srg"], version=2)})
    found = read(tracker, sweep)
    assert set(found.frame["method"]) == {"new"}
    assert found.measures["srg"].version == 2
    assert found.notes == ("old on digits was measured by an older definition, left out, of srg",)


def test_claims_take_what_the_report_takes(
    tracker: MLflowTracker, sweep: str, explain: Explain, caplog: pytest.LogCaptureFixture
) -> None:
    tracker.resume(sweep).set_tags({"experiment": sweep})
    explain("old", samples=[1, 2], measures=SRG)
    explain("new", samples=[1, 2], measures={"srg": replace(SRG["srg"], version=2)})
    damaged = explain("zplus", samples=[1, 2], measures=SRG)
    with (folder(tracker, damaged) / "scores.parquet").open("r+b") as file:
        file.truncate(100)
    found = gather(tracker.uri, tracker.experiment, sweep)
    assert found is not None
    assert set(found.frame.loc[found.frame["column"] == "srg", "method"]) == {"new"}
    assert set(found.frame["method"]) == {"old", "new"}
    assert found.measures["srg"].version == 2
    assert "zplus on digits (mlp) is left out: its numbers cannot be read" in caplog.text
    assert "old on digits was measured by an older definition, left out, of srg" in caplog.text


def test_what_has_not_ended_or_was_done_again_has_not_failed(
    tracker: MLflowTracker, sweep: str, explain: Explain
) -> None:
    explain("random", fingerprint="a", error=ValueError("first try"))
    explain("random", fingerprint="a", samples=[1, 2], measures=SRG)
    explain("gamma", error=ValueError("odd"))
    explain("flat", error=KeyboardInterrupt())
    running = explain("epsilon", samples=[1, 2], measures=SRG)
    tracker.store.client.update_run(running.id, status="RUNNING")
    listed = sweeps(tracker.uri, tracker.experiment).set_index("sweep")
    assert listed.loc[sweep, ["finished", "failed"]].tolist() == [1, 2]
    tracker.end(running.id)


def test_a_baseline_that_could_not_explain_is_told_once(tracker: MLflowTracker, sweep: str, explain: Explain) -> None:
    for method in ("epsilon", "gamma"):
        explain(method, samples=[1, 2], measures=SRG).set_tags(
            {"unavailable.agreement/captum_lrp": "it knows no Flatten."}
        )
    assert read(tracker, sweep).notes == ("no agreement with captum_lrp on digits, mlp: it knows no Flatten",)


def test_a_job_that_failed_before_its_fingerprint_was_known_is_healed_by_its_config_alone(
    tracker: MLflowTracker, sweep: str, explain: Explain
) -> None:
    explain("zplus", job="a", error=BenchError("no room for locks"))
    explain("zplus", job="b", error=BenchError("another config"))
    explain("zplus", job="b", error=BenchError("another config, tried again"))
    explain("zplus", job="a", fingerprint="1")
    results = read(tracker, sweep)
    assert len(results.runs) == 1
    assert [each.reason for each in results.failures] == ["another config, tried again"]
