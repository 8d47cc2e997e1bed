"""Every data set keeps the promise of `DataSet`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.utils import get_class
from omegaconf import OmegaConf

from lrp_bench.data import DataSet, Iris, TensorData

CONF = Path(__file__).parents[2] / "conf" / "dataset"
PROMISED = {name for name in {*vars(DataSet), *DataSet.__annotations__} if not name.startswith("_")}


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_is_promised_is_not_the_protocols_own_empty_body(path: Path) -> None:
    kind = get_class(OmegaConf.load(path)._target_)
    assert issubclass(kind, TensorData)
    for name in PROMISED & {*vars(DataSet)}:
        assert getattr(kind, name) is not getattr(DataSet, name)


def test_every_fact_that_is_promised_is_there() -> None:
    data = Iris(shape=[4], classes=3, mean=0.0, std=1.0, validation=0.1, batch_size=8, samples=9, seed=2)
    data.setup()
    assert len(PROMISED) > 15
    assert all(getattr(data, name) is not None for name in PROMISED)
    assert (data.task, data.scale, data.unit, data.features, data.seed) == ("classification", 1.0, "", {}, 2)
    assert data.counts == {"train": 108, "validation": 12, "test": 30}
