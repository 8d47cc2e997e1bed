"""A sweep's parent ends, and the command with it, whatever its table meets."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from lrp_bench import sweep
from lrp_bench.contracts import BenchError, Measure
from lrp_bench.report.pages import summary
from lrp_bench.tracking import provenance
from lrp_bench.tracking.memory import MemoryTracker


class Table:
    comparison = SimpleNamespace(
        cells=pd.DataFrame({"measure": ["srg", "ties"], "setting": "digits", "method": "zplus", "shown": [0.5, 2.0]}),
        measures={"srg": Measure("SRG", "flipping", True), "ties": Measure("Ties", "flipping", None, headline=False)},
        settings=("digits",),
        failures=(),
    )

    def __init__(self, *files: Path) -> None:
        self.files = files

    def render(self, width: int) -> str:
        return f"THE TABLE, {width}"


@pytest.fixture
def opened(tmp_path: Path) -> sweep.Sweep:
    tracker: Any = MemoryTracker()
    tracker.uri = tracker.experiment = "memory"
    made = sweep.Sweep()
    made.tracker, made.folder = tracker, tmp_path
    made.parent = tracker.start("sweep", kind="sweep").id
    tracker.start("child", kind="explanation", parent=made.parent)
    sweep._open.append(made)
    return made


@pytest.mark.parametrize("error", [BenchError("Expected room."), ValueError("a bug")])
def test_a_sweep_without_table_fails(opened: sweep.Sweep, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(summary, "summarize", fails)
    with pytest.raises(SystemExit, match=str(error)):
        opened.on_multirun_end(None)
    assert opened.tracker.runs[opened.parent].status == "FAILED"
    assert sweep._open == []


def test_the_table_is_shown_also_where_it_cannot_be_logged(
    opened: sweep.Sweep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(summary, "summarize", lambda *_: Table(tmp_path / "is not there"))
    with pytest.raises(SystemExit, match="is not there"):
        opened.on_run_end(None)
    assert "THE TABLE" in capsys.readouterr().out
    assert opened.tracker.runs[opened.parent].status == "FAILED"


def test_an_interrupted_table_leaves_no_run_open(opened: sweep.Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(summary, "summarize", interrupted)
    with pytest.raises(KeyboardInterrupt):
        opened.on_run_end(None)
    assert opened.tracker.runs[opened.parent].status == "KILLED"


def test_a_finished_sweep_is_marked_so_and_told(
    opened: sweep.Sweep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "table.md").write_text("| SRG |")
    monkeypatch.setattr(summary, "summarize", lambda *_: Table(tmp_path / "table.md"))
    opened.command = "python -m lrp_bench"
    opened.on_run_end(None)
    run = opened.tracker.runs[opened.parent]
    assert run.status == "FINISHED"
    assert run.metrics["srg/zplus"] == 0.5
    assert "ties/zplus" not in run.metrics
    assert run.tags["mlflow.note.content"] == "    python -m lrp_bench\n\n| SRG |"
    last = capsys.readouterr().out.splitlines()[-1]
    assert str(tmp_path) in last
    assert opened.parent in last


def test_a_store_that_takes_no_run_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object, **__: object) -> None:
        raise BenchError("Expected the store to answer, got: it is locked.")

    from lrp_bench.tracking.mlflow import MLflowTracker

    monkeypatch.setattr(MLflowTracker, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(MLflowTracker, "start", locked)
    config: Any = sweep.OmegaConf.create(
        {
            "tracker": {"_target_": "lrp_bench.tracking.mlflow.MLflowTracker"},
            "sweep": {"resume": False},
            "hydra": {
                "overrides": {"task": ["samples=${nowhere}"]},
                "run": {"dir": str(tmp_path)},
                "runtime": {"choices": {}},
                "sweeper": {},
            },
        }
    )
    with pytest.raises(SystemExit, match="it is locked"):
        sweep.Sweep().on_run_start(config)


def test_a_traceback_that_cannot_be_kept_is_shown(tmp_path: Path) -> None:
    from lrp_bench.cli import _kept

    error = ValueError("a bug")
    assert _kept(error, tmp_path) == str(tmp_path / "traceback.txt")
    assert "a bug" in (tmp_path / "traceback.txt").read_text()
    assert "ValueError: a bug" in _kept(error, tmp_path / "missing")


def composed(*typed: str, **hydra: Any) -> Any:
    tracker = {"_target_": "lrp_bench.tracking.memory.MemoryTracker"}
    runtime = {"choices": {"experiment": hydra.pop("experiment", None)}}
    hydra = {"overrides": {"task": list(typed)}, "runtime": runtime, "sweeper": {"params": None}, **hydra}
    return sweep.OmegaConf.create({"tracker": tracker, "seed": 0, "sweep": {"resume": True}, "hydra": hydra})


def test_a_preset_is_told_from_one_with_changes() -> None:
    typed = ["experiment=iris", "paths.outputs=there", "tracker.uri=http://a", "sweep.resume=true", "device=cpu"]
    plain = composed(*typed, experiment="iris")
    assert sweep.experiment(plain, typed) == "iris"
    assert sweep.experiment(plain, [*typed, "samples=3"]) == "iris (samples=3)"


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("experiment=iris paths.outputs=there samples=3", "experiment=iris samples=3"),
        ("rule=zero,gamma hydra/launcher=joblib sweep.resume=true +tracker.timeout=3 ~names.model", "rule=zero,gamma"),
        ("device=cpu threads=1", "device=cpu threads=1"),  # these decide what a method costs
        ("paths.data=there tracker=memory", "defaults"),
        ("", "defaults"),
    ],
)
def test_a_sweep_is_called_after_what_decides_its_numbers(typed: str, name: str) -> None:
    assert sweep.name(typed.split()) == name


def test_a_fingerprint_is_of_what_decides_the_numbers() -> None:
    first = sweep.fingerprint(composed("experiment=iris"))
    assert first == sweep.fingerprint(composed("experiment=iris", "paths.outputs=elsewhere"))
    assert first != sweep.fingerprint(composed("rule=epsilon,gamma"))
    assert first != sweep.fingerprint(composed(sweeper={"params": {"rule": "zero"}}))
    for key, value in {"seed": 1, "device": "cpu", "threads": 1}.items():  # the last two: what a method costs
        other = composed("experiment=iris")
        sweep.OmegaConf.update(other, key, value)
        assert first != sweep.fingerprint(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("seed=range(2)", "seed=range(3)"),
        ("rule=glob(eps*)", "rule=glob(z*)"),
        ("rule=epsilon,gamma", "rule=epsilon,zplus"),
    ],
)
def test_sweeps_of_other_values_are_other_sweeps(one: str, other: str) -> None:
    assert sweep.fingerprint(composed(one)) != sweep.fingerprint(composed(other))


def test_other_content_of_a_model_file_other_data_and_another_torch_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.pt2").write_bytes(b"one")
    given = composed("model=pt2")
    sweep.OmegaConf.update(given, "model.path", f"{tmp_path}/model.pt2")
    first = sweep.fingerprint(given)
    assert sweep.fingerprint(given) == first
    (tmp_path / "model.pt2").write_bytes(b"two")
    second = sweep.fingerprint(given)
    assert second != first
    sweep.OmegaConf.update(given, "paths.data", "elsewhere")
    third = sweep.fingerprint(given)
    assert third != second
    monkeypatch.setattr(provenance, "versions", dict)
    assert sweep.fingerprint(given) != third


def test_a_sweep_goes_on_with_the_code_it_began_with_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "metrics").mkdir()
    measure, other = tmp_path / "metrics" / "flipping.py", tmp_path / "cli.py"
    digests = []
    for text in ("version = 1", "version = 2"):
        measure.write_text(text)
        digests.append(provenance.code(tmp_path))
        other.write_text(text)
        assert provenance.code(tmp_path) == digests[-1]
    assert digests[0] != digests[1]
    first = sweep.fingerprint(composed())
    monkeypatch.setattr(provenance, "code", lambda: digests[1])
    assert sweep.fingerprint(composed()) != first


def test_a_sweep_goes_on_where_it_was_broken_off_and_is_not_done_twice(caplog: pytest.LogCaptureFixture) -> None:
    made = sweep.Sweep()
    made.tracker = MemoryTracker()
    assert made._earlier("f") is None
    run = made.tracker.start("sweep", kind="sweep", tags={"fingerprint": "f"})
    made.tracker.end(run.id, KeyboardInterrupt())
    assert made._earlier("f") == run.id
    made.tracker.end(run.id)
    with pytest.raises(SystemExit) as end:
        made._earlier("f")
    assert end.value.code == 0
