"""What `import lrp_bench` offers, and that it costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import lrp_bench
from lrp_bench.contracts import BenchError
from lrp_bench.engine.rules import Epsilon
from lrp_bench.metrics import Conservation, Context, Flipping, Robustness
from lrp_bench.run import run


def test_the_package_imports_nothing_heavy_and_hands_on_what_is_asked_for() -> None:
    asked = "lrp_bench.LRP, lrp_bench.score, lrp_bench.run, lrp_bench.configure"
    code = f"""
import sys, lrp_bench
assert not {{"torch", "hydra", "mlflow"}} & set(sys.modules)
assert set(lrp_bench.__all__) <= set(dir(lrp_bench))
print(all(map(callable, ({asked}))))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["True"]
    with pytest.raises(AttributeError, match="no attribute 'rnu'"):
        lrp_bench.rnu  # noqa: B018


def test_run_is_the_function_also_where_its_module_has_been_imported() -> None:
    assert callable(lrp_bench.run)
    assert run.__module__ == "lrp_bench.run"
    with pytest.raises(TypeError, match="folder"):
        lrp_bench.run(None)  # type: ignore[call-arg,arg-type]


def network() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).double().eval(), torch.rand(5, 4).double()


def test_maps_from_elsewhere_are_measured_as_the_methods_own_are() -> None:
    model, x = network()
    explained = lrp_bench.LRP(model, Epsilon(), example=x)(x)
    found = lrp_bench.score(model, x, explained.relevance, [Conservation(), Flipping(steps=4), Robustness()])
    assert_close(found.score, model(x).amax(1).detach())
    error = (explained.relevance.sum(1) - found.score).abs() / (found.score.abs() + 1e-9)
    assert_close(found.values["conservation/error"], error)
    own = Flipping(steps=4)
    own.update(explained, Context(model))
    for name, values in own.compute().values.items():
        assert_close(found.values[name], values)
    assert "computed elsewhere" in found.unavailable["Robustness"]


def test_the_label_is_what_the_maps_explain_where_it_is_given() -> None:
    model, x = network()
    label = torch.tensor([0, 1, 2, 0, 1])
    found = lrp_bench.score(model, x, torch.zeros_like(x), [Conservation()], label=label)
    assert_close(found.score, model(x).gather(1, label[:, None])[:, 0].detach())
    assert_close(found.values["conservation/delta"], found.score)


@pytest.mark.parametrize("relevance", [torch.zeros(5, 3), torch.zeros(5, 4, dtype=torch.int64)])
def test_maps_of_another_shape_or_type_are_refused(relevance: torch.Tensor) -> None:
    model, x = network()
    with pytest.raises(BenchError, match="one number for each input value"):
        lrp_bench.score(model, x, relevance, [Conservation()])
