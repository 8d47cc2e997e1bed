"""The user's command, typed as the user types it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest

from lrp_bench.tracking.store import open_store

QUICK = ("samples=20", "trainer=fast", "baselines=gradient", "pictures=3")


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    command = [sys.executable, "-m", "lrp_bench", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def runs(folder: Path, kind: str) -> list[Mapping[str, object]]:
    store = open_store(f"sqlite:///{folder / 'outputs' / 'mlflow.db'}", "lrp_bench")
    return [
        {
            "status": r.info.status,
            "id": r.info.run_id,
            "tags": r.data.tags,
            "metrics": r.data.metrics,
            "params": r.data.params,
        }
        for r in store.search({"kind": kind})
    ]


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("bench")
    return folder, bench(folder, "rule=epsilon,alphabeta", "--multirun", *QUICK)


def newest(folder: Path, name: str) -> Path:
    return max((folder / "outputs" / "sweeps").glob(f"*/{name}"), key=lambda path: path.stat().st_mtime)


def test_the_table_names_both_rules_the_random_row_and_all_three_families(swept) -> None:
    folder, done = swept
    assert done.returncode == 0, done.stderr
    for word in ("epsilon", "alphabeta", "random", "Conservation error", "SRG", "AOPC", "saliency"):
        assert word in done.stdout
    assert str(newest(folder, "table.md").parent) in done.stdout.replace("\n", "")


def test_the_store_holds_one_parent_its_children_and_one_training_all_finished(swept) -> None:
    folder, _ = swept
    (parent,) = runs(folder, "sweep")
    (training,) = runs(folder, "training")
    children = runs(folder, "explanation")
    assert [run["status"] for run in (parent, training, *children)] == ["FINISHED"] * 5
    assert {run["tags"]["method"] for run in children} == {"epsilon", "alphabeta", "random"}
    assert {run["tags"]["mlflow.parentRunId"] for run in children} == {parent["id"]}
    assert {run["tags"]["training_run"] for run in children} == {training["id"]}


def test_a_run_keeps_numbers_with_intervals_versions_and_its_config(swept) -> None:
    folder, _ = swept
    run = next(r for r in runs(folder, "explanation") if r["tags"]["method"] == "alphabeta")
    mean, low, high = (run["metrics"][f"flipping/srg_probability{end}"] for end in ("", "/low", "/high"))
    assert low < mean < high
    assert run["metrics"]["flipping/srg_probability/n"] == 20
    assert run["params"]["rule.alpha"] == "2.0"
    assert len(run["tags"]["samples"].split(",")) == 20


def test_every_sample_is_kept(swept) -> None:
    folder, _ = swept
    table = pd.read_parquet(newest(folder, "0/scores.parquet"))
    assert len(table) == 20
    assert table["sample"].is_unique
    measures = json.loads(newest(folder, "0/measures.json").read_text())
    assert set(measures) <= set(table.columns)


def test_the_files_of_the_table_and_the_heatmaps_are_there(swept) -> None:
    folder, _ = swept
    for name in ("table.md", "table.csv", "table.tex", "0/heatmaps.png", "1/config.yaml", "1/coverage.csv"):
        assert newest(folder, name).stat().st_size > 0
    assert "\\toprule" in newest(folder, "table.tex").read_text()


def test_a_second_sweep_reuses_the_training_and_joblib_runs_the_jobs(swept) -> None:
    folder, _ = swept
    done = bench(
        folder, "--multirun", "rule=epsilon,alphabeta", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *QUICK
    )
    assert done.returncode == 0, done.stderr
    assert len(runs(folder, "training")) == 1
    assert (
        sorted(r["tags"]["method"] for r in runs(folder, "explanation"))
        == ["alphabeta"] * 2 + ["epsilon"] * 2 + ["random"] * 2
    )


def test_a_failing_job_is_named_in_the_table_and_the_others_still_run(swept) -> None:
    folder, _ = swept
    done = bench(folder, "--multirun", "rule.bias=absorb,nonsense", *QUICK)
    assert done.returncode == 1
    assert "gave no numbers" in done.stdout
    assert done.stderr.count("Traceback") == 0
    statuses = [r["status"] for r in runs(folder, "explanation")]
    assert "RUNNING" not in statuses
    assert "FAILED" in statuses


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["rule=epsilonn"], "epsilonn"),
        (["rule.epsilom=1"], "epsilom"),
        (["tracker.uri=http://127.0.0.1:9"], "127.0.0.1:9"),
    ],
)
def test_what_fails_before_the_first_job_leaves_no_run_behind(swept, overrides: Sequence[str], expected: str) -> None:
    folder, _ = swept
    before = len(runs(folder, "sweep"))
    began = time.monotonic()
    done = bench(folder, "--multirun", *overrides)
    assert done.returncode == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) < 40  # an unknown option is answered with the list of all
    assert time.monotonic() - began < 30
    assert len(runs(folder, "sweep")) == before


def test_ctrl_c_marks_the_run_killed_and_the_next_start_goes_on(swept) -> None:
    folder, _ = swept
    arguments = (
        "rule=epsilon",
        "--multirun",
        "dataset=synthetic",
        "dataset.train=20000",
        "trainer.max_epochs=500",
        *QUICK[2:],
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "lrp_bench", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background inherits it ignored
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Training"):
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    for kind in ("sweep", "training", "explanation"):
        assert "RUNNING" not in [run["status"] for run in runs(folder, kind)]
    assert "KILLED" in [run["status"] for run in runs(folder, "sweep")]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on PATH")
def test_the_shell_completes_the_names_of_rules() -> None:
    line = "lrp-bench rule=epsilon_p"
    script = f"""
        eval "$(lrp-bench -sc install=bash)"
        COMP_LINE="{line}" COMP_POINT={len(line)} COMP_CWORD=1
        hydra_bash_completion
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["rule=epsilon_plus", "rule=epsilon_plus_flat"], done.stderr
