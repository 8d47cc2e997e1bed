"""The speed comparison runs, and measures what it says."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from torch import nn

SPEED = Path(__file__).parents[2] / "experiments" / "speed"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SPEED))
    return importlib.import_module("engine")


def test_writes_its_tables(engine: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = engine.Network(lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), (2, 3, 2, 2), engine.RULES, True)
    monkeypatch.setattr(engine, "NETWORKS", {"tiny": network})
    engine.main(["--repeats", "1", "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "engine.csv").set_index("contender")
    rules = {f"{who} {rule}" for who in ("lrp_bench", "zennit") for rule in engine.RULES}
    assert set(table.index) == {"gradient", "gradient, channels last", "captum epsilon", *rules}
    assert (table[["seconds", "MiB", "gradients", "memory ratio"]] > 0).all(axis=None)
    ours = [name for name in table.index if name.startswith("lrp_bench")]
    assert (table.loc[ours, ["times faster than zennit", "capture s", "noticing %"]] > 0).all(axis=None)
    assert len((tmp_path / "engine.md").read_text().splitlines()) == 6 + len(table)
