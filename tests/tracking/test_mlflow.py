from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from lrp_bench.contracts import BenchError
from lrp_bench.tracking.mlflow import MLflowTracker
from lrp_bench.tracking.store import open_store


def log_a_job(tracker: MLflowTracker, parent: str, number: int) -> str:
    with tracker.run(f"job {number}", kind="explanation", parent=parent) as run:
        run.log_metrics({"number": number})
    return run.id


def start_a_store(folder: Path, number: int) -> str:
    tracker = MLflowTracker(f"sqlite:///{folder}/mlflow.db", "race", folder / "artifacts")
    return log_a_job(tracker, "none", number)


def test_processes_may_start_together_on_a_fresh_store(tmp_path: Path) -> None:
    (tmp_path / ".mlflow.db.new").write_text("left by a process that was killed while it made the store")
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        made = pool.starmap(start_a_store, [(tmp_path, number) for number in range(3)], chunksize=1)
    store = open_store(f"sqlite:///{tmp_path}/mlflow.db", "race")
    runs = store.search({"kind": "explanation"}, "FINISHED")
    assert sorted(run.info.run_id for run in runs) == sorted(made)
    assert sorted(run.data.metrics["number"] for run in runs) == [0, 1, 2]
    assert {run.info.artifact_uri.startswith((tmp_path / "artifacts").as_uri()) for run in runs} == {True}


def test_a_tracker_travels_to_other_processes_and_threads(mlflow_tracker: MLflowTracker) -> None:
    sweep = mlflow_tracker.start("sweep", kind="sweep")
    sent = pickle.loads(pickle.dumps(mlflow_tracker))
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda number: log_a_job(sent, sweep.id, number), range(8)))
    runs = [mlflow_tracker.store.client.get_run(run) for run in made]
    assert sorted(mlflow_tracker.children(sweep.id)) == sorted(made)
    assert [run.data.metrics["number"] for run in runs] == list(range(8))


def test_a_run_of_a_killed_process_does_not_run_for_ever(mlflow_tracker: MLflowTracker) -> None:
    code = (
        "import sys, time; from lrp_bench.tracking.mlflow import MLflowTracker\n"
        "run = MLflowTracker(*sys.argv[1:4]).start('long', kind='training')\n"
        "print(run.id, flush=True); time.sleep(60)"
    )
    where = [mlflow_tracker.uri, mlflow_tracker.experiment, str(mlflow_tracker.artifacts)]
    with subprocess.Popen([sys.executable, "-c", code, *where], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        run = process.stdout.readline().strip()
        assert run not in mlflow_tracker.mend()
        os.kill(process.pid, signal.SIGKILL)
    own = mlflow_tracker.start("mine", kind="training")
    assert run in mlflow_tracker.mend()
    kept = mlflow_tracker.store.client.get_run(run)
    assert (kept.info.status, kept.data.tags["error"]) == ("KILLED", f"process {process.pid} ended within the run")
    assert kept.info.end_time is not None
    assert mlflow_tracker.store.client.get_run(own.id).info.status == "RUNNING"
    mlflow_tracker.end(own.id)


def monitors() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "SystemMetricsMonitor"]


def test_the_machine_is_watched_while_a_run_is_open_and_no_longer(tmp_path: Path) -> None:
    where = f"sqlite:///{tmp_path}/mlflow.db", "watched", tmp_path / "artifacts"
    tracker = pickle.loads(pickle.dumps(MLflowTracker(*where, system_metrics=0.01)))
    sweep = tracker.start("sweep", kind="sweep")
    assert not monitors()
    run = tracker.start("run", kind="training")
    client, name, deadline = tracker.store.client, "system/system_memory_usage_percentage", time.monotonic() + 60
    while len(client.get_metric_history(run.id, name)) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(monitors()) == 1
    tracker.end(run.id)
    assert not monitors()
    samples = client.get_metric_history(run.id, name)
    assert sorted(sample.step for sample in samples) == list(range(len(samples)))
    assert all(0 < sample.value <= 100 for sample in samples)
    assert len(samples) > 1
    tracker.end(sweep.id)
    assert not [name for name in client.get_run(sweep.id).data.metrics if name.startswith("system/")]
    with pytest.raises(BenchError, match="0 or more, got -1"):
        MLflowTracker(*where, system_metrics=-1)


def test_a_relative_address_stays_where_it_was(
    mlflow_tracker: MLflowTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    shutil.copy(mlflow_tracker.uri.removeprefix("sqlite:///"), tmp_path / "out" / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    tracker = MLflowTracker("sqlite:///out/mlflow.db", "relative", "out/artifacts")
    monkeypatch.chdir(tmp_path / "elsewhere")
    with tracker.run("run", kind="training"):
        pass
    assert tracker.uri == f"sqlite:///{tmp_path}/out/mlflow.db"
    experiment = tracker.store.client.get_experiment_by_name("relative")
    assert experiment.artifact_location == (tmp_path / "out" / "artifacts").as_uri()
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_reading_makes_no_store_and_no_experiment(mlflow_tracker: MLflowTracker, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no such file"):
        open_store(f"sqlite:///{tmp_path}/mlflow.db", "tests")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BenchError, match="'unheard of'"):
        open_store(mlflow_tracker.uri, "unheard of")


@pytest.mark.parametrize("uri", ["outputs/mlruns", "file:///tmp/mlruns", "sqlite://", "sqlite:///a?b.db"])
def test_addresses_mlflow_cannot_use_are_refused(uri: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="Expected"):
        MLflowTracker(uri, "tests", tmp_path)


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, and long enough to be looked at" * 9)
    with pytest.raises(BenchError, match="not a database"):
        MLflowTracker(f"sqlite:///{tmp_path}/mlflow.db", "tests", tmp_path / "artifacts")


def test_a_store_of_another_mlflow_is_not_touched(mlflow_tracker: MLflowTracker, tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    shutil.copy(mlflow_tracker.uri.removeprefix("sqlite:///"), path)
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'from another time'")
    before = path.read_bytes()
    with pytest.raises(BenchError, match="schema"):
        MLflowTracker(f"sqlite:///{path}", "tests", tmp_path / "artifacts")
    assert path.read_bytes() == before


def test_a_store_that_was_left_half_made_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        database.execute("INSERT INTO alembic_version VALUES ('half way')")
    with pytest.raises(BenchError, match=str(path)):
        MLflowTracker(f"sqlite:///{path}", "tests", tmp_path / "artifacts")


def test_a_file_in_the_way_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("")
    with pytest.raises(BenchError, match="outputs"):
        MLflowTracker(f"sqlite:///{tmp_path}/outputs/mlflow.db", "tests", tmp_path / "artifacts")


def test_a_file_that_cannot_be_stored_is_a_plain_error(mlflow_tracker: MLflowTracker, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    run = mlflow_tracker.start("full", kind="training")
    mlflow_tracker.artifacts.mkdir(exist_ok=True)
    (mlflow_tracker.artifacts / run.id).write_text("a file where the run's folder should be")
    with pytest.raises(BenchError, match="disk") as caught:
        run.log_file(tmp_path / "a.txt")
    mlflow_tracker.end(run.id, caught.value)


def test_a_server_that_is_not_there_is_told_soon(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(BenchError, match="refused"):
            MLflowTracker(uri, "tests", tmp_path)


def test_a_server_that_never_answers_is_told_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        with pytest.raises(BenchError, match=r"(?s)http://127.*(timed out|no answer)"):
            MLflowTracker(f"http://127.0.0.1:{silent.getsockname()[1]}", "tests", tmp_path, timeout=0.5)
    assert time.monotonic() - began < 5


def test_a_deleted_experiment_is_not_written_to(mlflow_tracker: MLflowTracker) -> None:
    where = mlflow_tracker.uri, "gone", mlflow_tracker.artifacts
    other = MLflowTracker(*where)
    other.store.client.delete_experiment(other.store.experiment_id)
    with pytest.raises(BenchError, match="restore"):
        MLflowTracker(*where)
