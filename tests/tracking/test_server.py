"""Real MLflow servers, on SQLite and on PostgreSQL: jobs that log over HTTP at once, and a server that goes away."""

from __future__ import annotations

import json
import multiprocessing
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lrp_bench.contracts import BenchError
from lrp_bench.tracking import __main__ as command
from lrp_bench.tracking.base import RunTracker
from lrp_bench.tracking.memory import MemoryTracker
from lrp_bench.tracking.mlflow import MLflowTracker
from lrp_bench.tracking.outbox import UNSENT, Outbox

JOBS, SAMPLES = 4, 60
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def server(store: str, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A lean `mlflow server`, in a group of its own so that its workers end with it."""
    options = ["--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts")]
    where = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "mlflow", "server", *options, *where],
            env={**os.environ, **quiet},
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=folder,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, folder / "server.log")
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(1200):
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
    raise AssertionError(log.read_text())


@contextmanager
def postgres() -> Iterator[str]:
    """A database cluster of its own on loopback; its server refuses to run as root."""
    if not PROGRAMS:
        pytest.skip("no PostgreSQL here: Debian has it in the package postgresql")
    pytest.importorskip("psycopg2")
    root = os.geteuid() == 0
    user, port = "postgres" if root else pwd.getpwuid(os.geteuid()).pw_name, free_port()

    def do(name: str, *arguments: str) -> None:
        become = ["runuser", "-u", user, "--"] if root else []
        subprocess.run([*become, PROGRAMS[-1] / name, *arguments], check=True, stdout=subprocess.DEVNULL, cwd="/")

    with TemporaryDirectory() as folder:  # not in pytest's own folders, which another user cannot enter
        if root:
            shutil.chown(folder, user)
        cluster = f"{folder}/cluster"
        do("initdb", "-D", cluster, "-U", user, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        settings = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        do("pg_ctl", "-D", cluster, "-w", "-l", f"{folder}/log", "-o", settings, "start")
        try:
            yield f"postgresql+psycopg2://{user}@127.0.0.1:{port}/postgres"
        finally:
            do("pg_ctl", "-D", cluster, "-m", "immediate", "stop")


def log_a_job(tracker: RunTracker, number: int, folder: Path, parent: str | None = None) -> str:
    """What a job of a sweep logs, in the same order."""
    params = {"rule": {f"p{i}": i * number for i in range(120)}, "number": number}
    with tracker.run(f"job {number}", kind="explanation", parent=parent, params=params) as run:
        run.log_data("Digits", f"digest-{number % 2}", "explained", {"samples": SAMPLES})
        for group in range(5):
            run.log_metrics({f"group{group}/{i}": number + i / 8 for i in range(60)})
        for i in range(8):
            run.log_curve(f"curve{i}", [number * step / 4 for step in range(SAMPLES)], range(SAMPLES))
        run.set_tags({"method": f"rule {number}", "samples": ",".join(map(str, range(SAMPLES)))})
        for i in range(4):
            path = folder / f"{number}-{i}.bin"
            path.write_bytes(bytes([number, i]) * 5000)
            run.log_file(path)
    return run.id


def log_over_http(uri: str, number: int, folder: Path, parent: str) -> str:
    return log_a_job(MLflowTracker(uri, "crowd", folder), number, folder, parent)


@pytest.fixture
def sqlite(mlflow_tracker: MLflowTracker, tmp_path: Path) -> str:
    """The address of a store that is made already, which takes seconds."""
    path = shutil.copy(mlflow_tracker.uri.removeprefix("sqlite:///"), tmp_path / "mlflow.db")
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path, sqlite: str) -> Iterator[str]:
    port = free_port()
    with nullcontext(sqlite) if request.param == "sqlite" else postgres() as store, server(store, tmp_path, port):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.server
def test_of_four_jobs_that_log_at_once_nothing_is_lost(address: str, tmp_path: Path) -> None:
    tracker, memory = MLflowTracker(address, "crowd", tmp_path), MemoryTracker()
    sweep = tracker.start("sweep", kind="sweep")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lrp_bench.tracking.mlflow"])
    with context.Pool(JOBS) as pool:
        work = [(address, number, tmp_path, sweep.id) for number in range(JOBS)]
        made = pool.starmap(log_over_http, work, chunksize=1)
    client = tracker.store.client
    assert sorted(tracker.children(sweep.id)) == sorted(made)
    for number, run in enumerate(made):
        kept, expected = client.get_run(run), memory.runs[log_a_job(memory, number, tmp_path)]
        assert (kept.info.status, kept.info.run_name) == (expected.status, expected.name)
        assert kept.data.params == expected.params
        ours, theirs = (
            {k: v for k, v in m.items() if k.startswith("group")} for m in (expected.metrics, kept.data.metrics)
        )
        assert theirs == ours
        assert set(kept.data.metrics) == set(expected.metrics)
        for name in ("curve0", "curve7"):
            points = client.get_metric_history(run, name)
            assert sorted((point.step, point.value) for point in points) == sorted(expected.curves[name])
        assert {key: kept.data.tags[key] for key in ("method", "samples", "kind")}.items() <= expected.tags.items()
        for name, content in expected.files.items():
            assert Path(client.download_artifacts(run, name, str(tmp_path))).read_bytes() == content
        inputs = {(d.dataset.name, d.dataset.digest, d.tags[0].value) for d in kept.inputs.dataset_inputs}
        assert inputs == set(expected.data)
    assert tracker.page(made[0]).startswith(f"{address}/#/experiments/")


@pytest.mark.server
def test_the_page_of_a_run_says_what_it_did(sqlite: str, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on PATH: apt-get install chromium")
    port = free_port()
    with server(sqlite, tmp_path, port), sync_api.sync_playwright() as playwright:
        tracker = MLflowTracker(f"http://127.0.0.1:{port}", "seen", tmp_path)
        made = log_a_job(tracker, 3, tmp_path)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(tracker.page(made))
        for words in ("job 3", "Digits", "Finished", "group0/0"):
            tab.get_by_text(words).first.wait_for(timeout=60_000)
        browser.close()


@pytest.mark.server
def test_what_a_server_that_went_away_has_missed_is_sent_when_it_is_back(
    sqlite: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    port = free_port()
    uri, folder = f"http://127.0.0.1:{port}", tmp_path / "job"
    folder.mkdir()
    outbox = Outbox(folder, {"_target_": "Any", "uri": uri, "experiment": "gone", "artifacts": str(tmp_path)})
    outbox.log_metrics({"srg": 0.5, "undefined": float("nan")})
    outbox.log_curve("curve", [1.0, 0.5], [0, 1])
    outbox.log_data("Digits", "digest", "explained", {"samples": 2})
    outbox.set_tags({"method": "zplus"})
    (folder / "table.md").write_text("the table")
    outbox.log_file(folder / "table.md")
    with server(sqlite, tmp_path, port) as process:
        tracker = MLflowTracker(uri, "gone", tmp_path, system_metrics=0.1)
        run = tracker.start("job", kind="explanation")
        run.log_metrics({"before": 1.0})
        stop(process)
        with pytest.raises(BenchError, match=f"lrp_bench.tracking send {folder}") as caught, outbox.kept():
            outbox.hand_over(run)
        tracker.end(run.id, caught.value)
    assert json.loads((folder / UNSENT).read_text())["run"] == run.id
    assert command.main(["send", str(tmp_path)]) == 1
    assert "refused" in caplog.text
    assert (folder / UNSENT).exists()
    with server(sqlite, tmp_path, port):
        assert command.main(["send", str(tmp_path)]) == 0
        kept = tracker.store.client.get_run(run.id)
        file = Path(tracker.store.client.download_artifacts(run.id, "table.md", str(tmp_path)))
    assert (kept.info.status, kept.data.tags["method"]) == ("FINISHED", "zplus")
    assert "error" not in kept.data.tags
    measured = {name for name in kept.data.metrics if not name.startswith("system/")}
    assert measured == {"before", "srg", "curve", "seconds", "peak_memory_mib"}
    assert 0 <= kept.data.metrics["seconds"] < 120
    assert kept.inputs.dataset_inputs[0].dataset.digest == "digest"
    assert file.read_text() == "the table"
    assert not (folder / UNSENT).exists()
    assert command.main(["send", str(tmp_path)]) == 1
