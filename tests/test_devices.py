"""Which device computes: a sentence for each that cannot, one name for those that are alike, data that do not wait.

There is no GPU here: torch is told to say and do what it does on a machine that has one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from lrp_bench import devices
from lrp_bench.cli import configure
from lrp_bench.contracts import BenchError
from lrp_bench.data import Synthetic
from lrp_bench.run import Method, Study
from lrp_bench.tracking.memory import MemoryTracker
from lrp_bench.training import Recipe

SMALL = ("dataset=synthetic", "samples=4", "trainer=fast", "baselines=none", "tracker=memory", "metric=[conservation]")
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by downloading "
    "and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx"
)
NO_DRIVER = "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver"
ORDINAL = "CUDA error: invalid device ordinal\nGPU device may be out of range, do you have enough GPUs?\nCUDA kernel"
FULL = "CUDA out of memory. Tried to allocate 2.00 MiB. GPU 0 has a total capacity of 79.10 GiB of which 1 MiB is free"
CONTEXT = "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported at some other API call"
NAME = "NVIDIA H100 80GB HBM3"
Refused = Callable[[Exception], None]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> Refused:
    """What torch raises when a first tensor is made on a GPU."""

    def by(error: Exception) -> None:
        def ones(*size: int, device: torch.device) -> Tensor:
            if device.type != "cuda":
                return torch.zeros(*size, device=device)
            raise error

        monkeypatch.setattr(torch, "ones", ones)

    return by


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """One GPU with so many bytes free."""

    def with_free(free: int) -> None:
        monkeypatch.setattr(torch, "ones", lambda *size, device: None)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80 * 2**30))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: NAME)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
        monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91900)

    return with_free


REASONS = [
    (RuntimeError(NO_DRIVER), "cuda", "Expected a GPU for {setting}, got '{name}' on a machine without one"),
    (RuntimeError("No CUDA GPUs are available"), "cuda", "without one that torch can use (No CUDA GPUs are available)"),
    (AssertionError("Torch not compiled with CUDA enabled"), "cuda", "(Torch not compiled with CUDA enabled)"),
    (RuntimeError(TOO_OLD), "cuda", "got one for version 11040 at most: update the driver"),
    (torch.AcceleratorError(ORDINAL), "cuda:7", "got 'cuda:7', where cuda:0 is the only GPU"),
    (torch.OutOfMemoryError(FULL), "cuda", "Expected a GPU with 512 MiB free, got '{name}' with too little"),
    (torch.AcceleratorError(CONTEXT), "cuda", "Expected a GPU with 512 MiB free, got '{name}' with too little"),
]


@pytest.mark.parametrize(("error", "name", "told"), REASONS)
def test_a_device_that_cannot_compute_is_told_in_a_sentence(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, error: Exception, name: str, told: str
) -> None:
    refused(error)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(BenchError, match=re.escape(told.format(setting="device", name=name))) as caught:
        devices.on_device(name)
    assert str(caught.value).startswith("Expected ")
    assert "\n" not in str(caught.value)
    assert re.search(r": (set|update|end|correct) ", str(caught.value))


@pytest.mark.parametrize(("error", "name", "told"), REASONS)
def test_nothing_is_trained_before_it_is_told(
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: Exception,
    name: str,
    told: str,
) -> None:
    refused(error)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(Recipe, "train", lambda *args, **kwargs: pytest.fail("it was trained"))
    outputs = f"paths.outputs={tmp_path}"
    with pytest.raises(BenchError, match=re.escape(told.format(setting="device", name=name))):
        Study(configure(*SMALL, outputs, f"device={name}"), parent=None)
    place = name.partition(":")[2]
    chosen = ["trainer.accelerator=gpu", f"trainer.devices=[{place}]" if place else "trainer.devices=1"]
    made = Study(configure(*SMALL, outputs, "device=cpu", *chosen), parent=None)
    full = f"cuda:{place or 0}"
    with pytest.raises(BenchError, match=re.escape(told.format(setting="trainer.accelerator", name=full))):
        Method(made, "method", made.cfg.explainer).score(tmp_path / "run")
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_gpu_that_others_fill_is_told_and_one_with_room_is_taken(gpu: Callable[[int], None]) -> None:
    gpu(100 * 2**20)
    for name in ("auto", "cuda", "cuda:1"):
        with pytest.raises(BenchError, match=r"512 MiB free, got 'cuda(:1)?' with 100 MiB.*nvidia-smi.*or to cpu"):
            devices.on_device(name)
    gpu(8 * 2**30)
    assert [str(devices.on_device(name)) for name in ("auto", "cuda", "cuda:1")] == ["cuda", "cuda", "cuda:1"]


def test_without_a_gpu_auto_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.on_device("auto") == torch.device("cpu")
    for wrong in ("tpu9", "", "gpu"):
        with pytest.raises(BenchError, match="auto, cpu or a GPU of this machine"):
            devices.on_device(wrong)


def test_gpus_of_one_name_are_one_kind_and_their_facts_are_told(gpu: Callable[[int], None]) -> None:
    gpu(8 * 2**30)
    assert {devices.kind(torch.device(name)) for name in ("cuda", "cuda:0", "cuda:1")} == {NAME}
    assert devices.kind(torch.device("cpu")) == "cpu"
    assert devices.describe(torch.device("cpu")) == {"device": "cpu"}
    told = devices.describe(torch.device("cuda"))
    assert told["device"] == NAME
    assert told["device.capability"] == "9.0"
    assert told["version.cuda"] == str(torch.version.cuda)
    assert told["version.cudnn"] == "91900"


def test_data_on_their_way_to_a_gpu_are_pinned_and_not_waited_for() -> None:
    calls: list[object] = []

    def moved(*where: object, **how: object) -> str:
        calls.append((where, how))
        return "there"

    x = SimpleNamespace(is_cuda=False, to=moved, pin_memory=lambda: calls.append("pinned") or x)
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    devices.sent(x, gpu)  # type: ignore[arg-type]
    assert calls == ["pinned", ((gpu,), {"non_blocking": True})]
    calls.clear()
    devices.sent(x, cpu)  # type: ignore[arg-type]
    x.is_cuda = True
    devices.sent(x, gpu)  # type: ignore[arg-type]
    assert calls == [((cpu,), {}), ((gpu,), {})]
    there = torch.randn(3)
    assert devices.sent(there, cpu) is there


def out_of_memory(*args: object, **kwargs: object) -> None:
    raise torch.OutOfMemoryError(f"{FULL}. Of the allocated memory ...\nSee documentation")


def test_a_gpu_that_runs_full_says_what_to_lower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Study(configure(*SMALL, f"paths.outputs={tmp_path}", "device=cpu"), parent=None)
    monkeypatch.setattr("lrp_bench.training.recipe.fit", out_of_memory)
    with pytest.raises(
        BenchError, match=r"Expected room on the GPU, got: CUDA out of.* lower trainer.batch_size, or end"
    ):
        Method(made, "method", made.cfg.explainer).score(tmp_path / "training")
    monkeypatch.setattr("lrp_bench.run.method.evaluate", out_of_memory)  # already in the rehearsal
    with pytest.raises(BenchError, match=r"lower batch_size, or a metric's max_batch, or end"):
        Method(made, "method", made.cfg.explainer).score(tmp_path / "explaining")


@pytest.mark.parametrize("pinned", [False, True])
def test_a_training_on_a_gpu_takes_its_batches_from_pinned_memory(
    pinned: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[bool] = []
    batches = Synthetic.batches

    def seen(self: Synthetic, part: str, size: int | None = None, *, pinned: bool = False) -> object:
        made.append(pinned)
        assert batches(self, part, size, pinned=pinned).pin_memory == pinned  # type: ignore[arg-type]
        raise InterruptedError

    monkeypatch.setattr(Synthetic, "batches", seen)
    recipe = Recipe(partial(torch.optim.Adam, lr=0.01), 8, 1, 1, accelerator="cpu")
    assert recipe.device == torch.device("cpu")
    monkeypatch.setattr(Recipe, "device", torch.device("cuda" if pinned else "cpu"))
    data = Synthetic(
        shape=[1, 4, 4], classes=2, mean=0, std=1, validation=0.5, train=8, test=8, batch_size=8, samples=4, seed=0
    )
    with pytest.raises(InterruptedError):
        recipe.train(torch.nn.Flatten(), data, work=tmp_path, seed=0, run=None)  # type: ignore[arg-type]
    assert made == [pinned]


def test_a_run_tells_its_device_and_another_kind_is_another_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = configure(*SMALL, f"paths.outputs={tmp_path}", "device=cpu")
    tracker = MemoryTracker()

    def method() -> Method:
        return Method(Study(cfg, "sweep", tracker), "method", cfg.explainer)

    assert method().score(tmp_path / "first") is not None
    assert method().score(tmp_path / "again") is None
    before = method().fingerprint
    monkeypatch.setattr(devices, "kind", lambda device: NAME)
    assert method().fingerprint != before
    assert method().score(tmp_path / "other") is not None
    explained = [run for run in tracker.runs.values() if run.kind == "explanation"]
    assert [(run.tags["device"], run.tags["trained_on"]) for run in explained] == [("cpu", "cpu"), (NAME, "cpu")]
    (trained,) = (run for run in tracker.runs.values() if run.kind == "training")
    assert trained.tags["device"] == "cpu"
    assert all(run.tags["processor"] for run in tracker.runs.values())
