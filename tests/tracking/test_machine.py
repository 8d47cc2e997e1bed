"""What a run says of its machine, with a driver that has GPUs, and without one."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
from mlflow.system_metrics.metrics import gpu_monitor

from lrp_bench import sweep
from lrp_bench.cli import configure
from lrp_bench.tracking import machine, provenance
from lrp_bench.tracking.mlflow import MLflowTracker

H100, L4 = "NVIDIA H100 80GB HBM3", "NVIDIA L4"


class Driver:
    """pynvml's functions over some GPUs, given by their names."""

    def __init__(self, *names: str) -> None:
        self.names, self.open = names, 0

    def nvmlInit(self) -> None:  # noqa: N802
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, place: int) -> str:  # noqa: N802
        return self.names[place]

    def nvmlDeviceGetName(self, handle: str) -> str:  # noqa: N802
        return handle

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.159.04"

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:  # noqa: N802
        return SimpleNamespace(used=20e9, total=80e9)

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:  # noqa: N802
        return SimpleNamespace(gpu=61)

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:  # noqa: N802
        return 350_000

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: str) -> int:  # noqa: N802
        return 700_000


def install(monkeypatch: pytest.MonkeyPatch, *names: str) -> Driver:
    driver = Driver(*names)
    for name in (name for name in vars(Driver) if name.startswith("nvml")):
        monkeypatch.setattr(pynvml, name, getattr(driver, name))
    return driver


@pytest.fixture(autouse=True)
def visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_the_gpus_and_their_driver_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = install(monkeypatch, L4, H100, H100)
    told = machine.describe()
    assert (told["gpus"], told["version.driver"]) == (f"{H100}, {L4}", "580.159.04")
    assert driver.open == 0
    assert told.items() <= provenance.describe().items()
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert set(machine.describe()) == {"processor"}


@pytest.mark.parametrize("failing", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetName"])
def test_without_an_answer_there_are_none(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    driver = install(monkeypatch, H100)
    monkeypatch.setattr(pynvml, failing, fail)
    assert set(machine.describe()) == {"processor"}
    assert driver.open == 0


def test_a_processor_has_a_name_or_at_least_an_architecture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(platform, "processor", lambda: "")
    for text, expected in (("model name\t: Fast 9000\nmodel name : other", "Fast 9000"), ("x : y", platform.machine())):
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(machine, "Path", lambda _: tmp_path / "cpuinfo")
        assert machine.processor() == expected


def test_a_sweep_on_other_gpus_is_another_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    def fingerprints() -> list[str]:
        hydra = {"overrides": {"task": []}, "sweeper": {"params": None}}
        return [sweep.fingerprint(_composed(hydra, device)) for device in ("auto", "cuda", "cpu")]

    without = fingerprints()
    install(monkeypatch, H100)
    one = fingerprints()
    install(monkeypatch, H100, H100)
    assert fingerprints() == one
    install(monkeypatch, L4)
    other = fingerprints()
    for place in (0, 1):
        assert len({without[place], one[place], other[place]}) == 3
    assert without[2] == one[2] == other[2]


def _composed(hydra: dict[str, Any], device: str) -> Any:
    cfg = configure(f"device={device}")
    return sweep.OmegaConf.create({**sweep.OmegaConf.to_container(cfg, resolve=False), "hydra": hydra})  # type: ignore[dict-item]


def test_how_busy_the_gpus_are_is_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own monitor asks the driver."""
    assert gpu_monitor.pynvml is pynvml
    install(monkeypatch, H100, H100)
    tracker = MLflowTracker(f"sqlite:///{tmp_path}/mlflow.db", "gpus", tmp_path / "artifacts", system_metrics=0.01)
    run, client = tracker.start("run", kind="explanation"), tracker.store.client
    deadline = time.monotonic() + 60
    while not client.get_metric_history(run.id, "system/gpu_1_utilization_percentage") and time.monotonic() < deadline:
        time.sleep(0.01)
    tracker.end(run.id)
    data = client.get_run(run.id).data
    for place in (0, 1):
        assert data.metrics[f"system/gpu_{place}_utilization_percentage"] == 61
        assert data.metrics[f"system/gpu_{place}_memory_usage_percentage"] == 25
        assert data.metrics[f"system/gpu_{place}_power_usage_watts"] == 350
    assert (data.tags["gpus"], data.tags["version.driver"]) == (H100, "580.159.04")
