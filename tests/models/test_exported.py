"""A trained network without its source code."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.export import Dim, export
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.data import Synthetic
from lrp_bench.engine import LRP
from lrp_bench.engine.rules import Epsilon
from lrp_bench.explainers.captum import InputXGradient
from lrp_bench.models import LeNet, check_fits, exported_model
from lrp_bench.tracking.memory import MemoryTracker
from lrp_bench.training import Recipe, fit_or_load

CONF = Path(__file__).parents[2] / "conf" / "model" / "pt2.yaml"
SHAPE, CLASSES = [1, 8, 8], 3
PLAIN: dict[str, Any] = {"shape": SHAPE, "classes": CLASSES, "mean": 0.0, "std": 1.0, "batch_size": 16, "seed": 0}


@pytest.fixture(scope="module", autouse=True)
def quiet_trace() -> None:
    logging.getLogger("torch.__trace").propagate = False


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return LeNet(SHAPE, CLASSES).eval()


def save(model: nn.Module, path: Path, *, dynamic: bool = True) -> Path:
    sizes = ({0: Dim.DYNAMIC},) if dynamic else None
    torch.export.save(export(model, (torch.randn(2, *SHAPE),), dynamic_shapes=sizes, strict=False), path)
    return path


@pytest.fixture(scope="module")
def file(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(network, tmp_path_factory.mktemp("models") / "lenet.pt2")


def test_the_config_reads_the_network(network: nn.Module, file: Path) -> None:
    root = OmegaConf.create({"dataset": {"shape": SHAPE, "classes": CLASSES}, "model": OmegaConf.load(CONF)})
    root.model.path = str(file)
    model, x = instantiate(root.model), torch.randn(5, *SHAPE)
    check_fits(model, SHAPE, CLASSES)
    assert_close(model(x), network(x))
    assert {name: w.shape for name, w in model.state_dict().items()} == {
        name: w.shape for name, w in network.state_dict().items()
    }
    assert not any(w.requires_grad for w in model.parameters())


def test_it_is_explained_as_the_network_it_came_from(network: nn.Module, file: Path) -> None:
    x = torch.randn(3, *SHAPE)
    model = exported_model(file, SHAPE, CLASSES)
    torch.set_warn_always(True)  # of a FakeTensor's place in memory, which torch says once in a process
    LRP(model, Epsilon(), example=x)
    torch.set_warn_always(False)
    ours, theirs = (LRP(m, Epsilon(), example=x)(x) for m in (model, network))
    assert_close(ours.relevance, theirs.relevance)
    assert_close(dict(ours.layers), dict(theirs.layers))
    products = [InputXGradient(model=m, example=x).explain(x).relevance for m in (model, network)]
    assert_close(*products)


def test_a_copy_is_a_model_of_its_own(file: Path) -> None:
    model, x = exported_model(file, SHAPE, CLASSES), torch.randn(2, *SHAPE)
    twin = copy.deepcopy(model)
    before = model(x)
    for w in twin.parameters():
        w.zero_()
    assert_close(model(x), before)
    assert_close(twin(x), torch.zeros(2, CLASSES))


def test_another_file_is_another_model(network: nn.Module, file: Path, tmp_path: Path) -> None:
    other = copy.deepcopy(network)
    other.load_state_dict({name: w + 1 for name, w in network.state_dict().items()})
    models = [exported_model(path, SHAPE, CLASSES) for path in (file, save(other, tmp_path / "other.pt2"))]
    assert repr(models[0]) != repr(models[1])


def test_it_is_tested_and_not_trained(file: Path, tmp_path: Path) -> None:
    data = Synthetic(**{**PLAIN, "train": 60, "test": 30, "validation": 0.2, "samples": 6})
    tracker, recipe = MemoryTracker(), Recipe(torch.optim.Adam, 32, 3, 3, accelerator="cpu", progress=False)
    settings: dict[str, Any] = {"identity": {}, "store": tmp_path, "seed": 0, "tracker": tracker}
    first, again = (fit_or_load(lambda: exported_model(file, SHAPE, CLASSES), data, recipe, **settings) for _ in "12")
    weights = exported_model(file, SHAPE, CLASSES).state_dict()
    assert_close(dict(first.model.state_dict()), dict(weights), rtol=0, atol=0)
    assert first.metrics["epochs"] == 0
    assert 0 <= first.metrics["test_accuracy"] <= 1
    assert again.reused
    assert again.metrics == first.metrics


class TwoHeads(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.body(x)
        return {"logits": logits, "doubled": 2 * logits}


def test_the_logits_are_chosen_by_name(network: nn.Module, tmp_path: Path) -> None:
    path, x = save(TwoHeads(network), tmp_path / "two.pt2"), torch.randn(2, *SHAPE)
    assert_close(exported_model(path, SHAPE, CLASSES, output="doubled")(x), 2 * network(x))
    with pytest.raises(BenchError, match=r"'logits' .*'doubled' .*output="):
        exported_model(path, SHAPE, CLASSES)


def test_what_cannot_be_used_is_said(network: nn.Module, file: Path, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"set model\.path"):
        exported_model(None, SHAPE, CLASSES)
    with pytest.raises(BenchError, match="does not exist"):
        exported_model(tmp_path / "none.pt2", SHAPE, CLASSES)
    (tmp_path / "half.pt2").write_bytes(file.read_bytes()[:1000])
    with pytest.raises(BenchError, match="cannot be read"):
        exported_model(tmp_path / "half.pt2", SHAPE, CLASSES)
    with pytest.raises(BenchError, match=r"batches of 2.*dynamic_shapes"):
        exported_model(save(network, tmp_path / "fixed.pt2", dynamic=False), SHAPE, CLASSES)
    with pytest.raises(BenchError, match=r"shape \(any, 1, 8, 8\).*got \(2, 1, 9, 9\)"):
        exported_model(file, [1, 9, 9], CLASSES)
    with pytest.raises(BenchError, match="does not fit the data's shape"):
        exported_model(file, SHAPE, CLASSES + 1)
