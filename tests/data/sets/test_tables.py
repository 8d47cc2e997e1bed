"""Tables: a regression, samples given in a config, a shuffled split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lrp_bench.cli import configure
from lrp_bench.contracts import BenchError
from lrp_bench.data import TensorData
from lrp_bench.run import build


def load(*overrides: str) -> TensorData:
    data: TensorData = build(configure(*overrides).dataset)
    return data


@pytest.fixture
def concrete(tmp_path: Path) -> Path:
    rows = np.random.default_rng(0).uniform(0, 100, (200, 9)).round(1)
    rows[100:150, :8] = rows[:50, :8]  # the same mixtures, measured again
    (tmp_path / "concrete").mkdir()
    np.savetxt(tmp_path / "concrete" / "Concrete_Data.csv", rows, delimiter=",", header="a,b", comments="")
    return tmp_path


def test_a_mixture_is_on_one_side_of_the_split(concrete: Path) -> None:
    data = load("dataset=concrete", f"paths.data={concrete}", "samples=10")
    train, test = ({tuple(row) for row in split.inputs.tolist()} for split in (data.contents.train, data.contents.test))
    assert not train & test
    assert len(data.contents.train.labels) + len(data.contents.test.labels) == 200
    again = load("dataset=concrete", f"paths.data={concrete}", "seed=5", "samples=10")
    assert_close(again.contents.test.inputs, data.contents.test.inputs)
    assert len(data.indices) == 10


def test_a_target_is_shown_in_its_unit(concrete: Path) -> None:
    data = load("dataset=concrete", f"paths.data={concrete}")
    raw = np.loadtxt(concrete / "concrete" / "Concrete_Data.csv", delimiter=",", skiprows=1)[:, -1]
    labels = torch.cat([data.contents.train.labels, data.contents.test.labels]) * data.scale + 35.8
    assert_close(labels.sort().values.double(), torch.from_numpy(np.sort(raw)), rtol=0, atol=1e-3)
    assert data.title(0.0, 1.0) == "true 35.8 MPa\npredicted 52.5 MPa"
    assert data.features["age"] == "days"


def test_a_missing_or_damaged_table_says_where_and_how(concrete: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"Concrete_Data\.csv in .*nowhere.*archive\.ics\.uci\.edu.*paths\.data"):
        load("dataset=concrete", f"paths.data={tmp_path / 'nowhere'}").setup()
    (concrete / "concrete" / "Concrete_Data.csv").write_text("a\n1,2\nx,3\n")
    with pytest.raises(BenchError, match="separated by commas"):
        load("dataset=concrete", f"paths.data={concrete}").setup()


def test_given_samples_are_every_split() -> None:
    data = load("dataset=given", "dataset.inputs=[[1,2,3],[4,5,6]]", "samples=2")
    data.setup()
    (batch,) = data.explained_batches(2)
    assert_close(batch.inputs, torch.tensor([[1.0, 2, 3], [4, 5, 6]], dtype=torch.float64))
    assert data.title(float("nan"), 0.78) == "predicted 0.78"
    assert_close(data.background(2)[0], batch.inputs)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["dataset=given", "dataset.inputs=[[1,2],[3]]"], "list numbers"),
        (["dataset=given", "dataset.dtype=float16"], "float32 or float64"),
        (["dataset=iris", "++dataset.features={a:cm}"], "to name"),
        (["dataset=concrete", "dataset.target_std=0"], "target_std above 0"),
        (["dataset=iris_shuffled", "dataset.split_seed=-1"], "split_seed"),
    ],
)
def test_what_cannot_be_meant_is_told(overrides: list[str], expected: str) -> None:
    with pytest.raises(BenchError, match=expected):
        load(*overrides, "samples=1").setup()


def test_halves_say_which_half_is_larger() -> None:
    split = load("dataset=halves", "samples=5").contents.train
    larger = split.inputs[:, :5].sum(1) > split.inputs[:, 5:].sum(1)
    assert_close(split.labels, larger.double())
    assert 0.4 < split.labels.mean() < 0.6
