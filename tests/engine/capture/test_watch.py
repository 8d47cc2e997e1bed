"""Any change of a model is noticed at the next call, and what is none costs no capture: against fresh explainers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.engine import LRP, propagate
from lrp_bench.engine.capture.watch import Watch
from lrp_bench.engine.rules import Epsilon

pytestmark = pytest.mark.usefixtures("float64")
RULE = Epsilon(1e-3)


def scaled(x: Tensor, *, by: float) -> Tensor:
    return by * x


class Assorted(nn.Module):
    """Whatever forward may depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.act, self.head = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)
        self.factor, self.doubled, self.config = 0.5, False, SimpleNamespace(inner=SimpleNamespace(power=1))
        self.listed, self.tabled, self.plain = [1.0], OrderedDict(shift=0.5), torch.ones(4)
        self.given, self.outer = partial(scaled, by=1.5), self.enclosing([2.0])

    @staticmethod
    def enclosing(numbers: list[float]) -> Callable[[Tensor], Tensor]:
        return lambda x: x * numbers[0]

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.first(x))) * self.factor * self.listed[0] * self.plain + self.tabled["shift"]
        x = self.outer(self.given(x)) * (2 if self.doubled else 1)
        return self.head(x if self.config.inner.power == 1 else x * x)


def less(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    return output * 0.1


CHANGES: dict[str, Callable[[Assorted], object]] = {
    "a hook": lambda net: net.norm.register_forward_hook(less),
    "a hook before": lambda net: net.act.register_forward_pre_hook(lambda _module, inputs: (inputs[0] * 2,)),
    "another module": lambda net: setattr(net, "act", nn.Tanh()),
    "another layer of the same kind": lambda net: setattr(net, "head", nn.Linear(4, 3)),
    "another attribute": lambda net: setattr(net, "factor", 0.7),
    "a flag": lambda net: setattr(net, "doubled", True),
    "the norm's epsilon": lambda net: setattr(net.norm, "eps", 0.3),
    "a list": lambda net: net.listed.__setitem__(0, 3.0),
    "a mapping": lambda net: net.tabled.update(shift=2.0),
    "a tensor that is no weight": lambda net: net.plain.mul_(2),
    "a config": lambda net: setattr(net.config.inner, "power", 2),
    "what a function has enclosed": lambda net: net.outer.__closure__[0].cell_contents.__setitem__(0, 5.0),
    "a forward of its own": lambda net: setattr(net.act, "forward", torch.tanh),
    "another class": lambda net: setattr(net.act, "__class__", nn.Sigmoid),
    "a parametrization": lambda net: nn.utils.parametrizations.spectral_norm(net.first),
    "pruning": lambda net: net.head.register_buffer("mask", torch.zeros(3, 4)) or nn.init.zeros_(net.head.weight),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_is_noticed_at_the_next_call(change: str) -> None:
    net, x = Assorted().eval(), torch.randn(3, 4)
    lrp = LRP(net, RULE, example=x)
    before = lrp(x, target=1)
    CHANGES[change](net)
    net.eval()
    after = lrp(x, target=1)
    assert_close(after.logits, net(x))
    assert not torch.allclose(after.logits, before.logits)
    assert_close(after.relevance, LRP(net, RULE, example=x)(x, target=1).relevance)
    with pytest.raises(BenchError, match="Expected the weights that were explained, got others"):
        _ = before.ledger["head"]


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The models that were captured."""
    found: list[nn.Module] = []
    capture = propagate.capture
    monkeypatch.setattr(propagate, "capture", lambda model, *rest: found.append(model) or capture(model, *rest))
    return found


class Remembering(nn.Module):
    """Keeps what it saw, as models do whose features are looked at, and counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.calls, self.seen = nn.Linear(4, 5), nn.Linear(5, 3), 0, list[Tensor]()
        self.register_buffer("total", torch.zeros(()))
        self.features: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.features = F.relu(self.body(x))
        self.calls += 1
        self.total += 1
        self.seen = [x]
        return self.head(self.features)


def test_what_forward_itself_writes_is_no_change(captures: list[nn.Module]) -> None:
    net, x = Remembering(), torch.randn(3, 4)
    lrp = LRP(net, RULE, example=x)
    e = lrp(x)
    assert (net.calls, float(net.total), net.features, net.seen) == (0, 0.0, None, [])
    assert_close(e.logits, net(x))
    assert_close(e.ledger["head"].arrived, e.score)
    assert_close(lrp(x).relevance, e.relevance)
    net.train()(x)
    assert_close(lrp(x).relevance, e.relevance)
    nn.init.normal_(net.head.weight)
    assert_close(lrp(x).logits, net.eval()(x))
    assert len(captures) == 1


def test_modes_gradients_and_equal_numbers_are_no_change() -> None:
    net, x = Assorted().eval(), torch.randn(3, 4)
    watch = Watch(net)
    net(x).sum().backward()
    net.zero_grad()
    net.train().eval()
    net.factor, net.first.bias.grad = float("0.5"), torch.ones(4)
    net.first.register_forward_hook(less).remove()
    assert not watch.changed()


def test_a_network_that_a_hook_cuts_off_is_refused_rather_than_explained_as_it_was() -> None:
    net, x = Assorted().eval(), torch.randn(3, 4)
    lrp = LRP(net, RULE, example=x)
    net.first.register_forward_hook(lambda _module, _inputs, output: torch.zeros_like(output))
    with pytest.raises(BenchError, match="Expected logits that depend on the input"):
        lrp(x)


def test_what_torch_export_puts_back_as_it_was_is_no_change() -> None:
    """A module's tuples are others by then, and equal."""
    net, x = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).eval(), torch.randn(2, 1, 5, 5)
    watch, kernel = Watch(net), net[0].kernel_size
    torch.export.export(net, (x,))
    assert net[0].kernel_size is not kernel
    assert not watch.changed()


def test_changes_under_inference_mode_are_noticed() -> None:
    """Tensors made there count no versions."""
    with torch.inference_mode():
        net, x = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), torch.randn(3, 4)
        lrp = LRP(net, RULE, example=x)
        assert_close(lrp(x).logits, net(x))
        net[2].weight.mul_(-2.0)
        assert_close(lrp(x).logits, net(x))
