"""The speed comparison runs, and measures what it says."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

SPEED = Path(__file__).parents[2] / "experiments" / "speed"
MIB = torch.ones(2**18)


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SPEED))
    return importlib.import_module("speed")


def test_writes_its_tables(speed: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = speed.Network(lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), (2, 3, 2, 2), speed.RULES, True)
    monkeypatch.setattr(speed, "NETWORKS", {"tiny": network})
    speed.main(["--parts", "engine", "--repeats", "1", "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "engine.csv").set_index("contender")
    rules = {f"{who} {rule}" for who in ("lrp_bench", "zennit") for rule in speed.RULES}
    assert set(table.index) == {"gradient", "gradient, channels last", "captum epsilon", *rules}
    assert (table[["seconds", "MiB", "gradients", "memory ratio"]] > 0).all(axis=None)
    ours = [name for name in table.index if name.startswith("lrp_bench")]
    assert (table.loc[ours, ["times faster than zennit", "capture s"]] > 0).all(axis=None)
    assert len((tmp_path / "engine.md").read_text().splitlines()) == 6 + len(table)


def backward() -> Tensor:
    leaf = MIB.detach().requires_grad_()
    return torch.autograd.grad(leaf.sin().sin().sin().sum(), leaf)[0]


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda: MIB + 1, 1.0),
        (lambda: MIB + 1 + 1, 2.0),
        (lambda: (MIB + 1).mul_(2).view(2, -1).t(), 1.0),
        (lambda: MIB.view(2, -1).mul_(1), 0.0),
        (lambda: [torch.split(MIB + i, 2**17) for i in range(3)], 3.0),
        (backward, 4.0),  # two sines are kept for the last cosine, which is multiplied into a fourth
    ],
)
def test_peak_memory(speed: ModuleType, work: Callable[[], object], expected: float) -> None:
    assert speed.peak_memory(work, torch.device("cpu")) == pytest.approx(expected, abs=1e-3)
