"""Weights that changed are read anew, and only what a capture depends on makes another: against fresh explainers."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.testing import assert_close

from lrp_bench.engine import LRP, propagate
from lrp_bench.engine.capture.structure import structure
from lrp_bench.engine.composites import Composite, EpsilonPlus
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Rule
from lrp_bench.metrics.randomisation import shuffle
from lrp_bench.models import LSTM, TextTransformer, ViT

pytestmark = pytest.mark.usefixtures("float64")


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch = nn.Conv2d(1, 4, 3), nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        return self.head(F.avg_pool2d(F.relu(x + self.branch(self.norm(x))), 2).flatten(1))


class Assorted(nn.Module):
    """Tied weights, buffers of both kinds, tensors that are neither, and constants made on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.second.weight = self.first.weight
        self.register_buffer("scale", torch.rand(4))
        self.register_buffer("shift", torch.rand(4), persistent=False)
        self.plain, self.listed, self.power = torch.rand(4), [torch.rand(4)], 0.5

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x) * self.scale + self.shift) * self.plain + torch.tensor([1.0, 2.0, 3.0, 4.0])
        return self.head(F.relu(x) * self.listed[0] * self.power + torch.ones(4))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def normed() -> nn.Module:
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 5)), nn.ReLU(), nn.Linear(5, 3))


def in_place(net: nn.Module) -> None:
    with torch.no_grad():
        for weight in net.parameters():
            weight.mul_(1 + 0.5 * torch.rand_like(weight))


def shuffled(net: nn.Module) -> None:
    generator, done = torch.Generator().manual_seed(0), set[int]()
    for layer in net.modules():
        shuffle(layer, generator, done)


def loaded(net: nn.Module) -> None:
    """Buffers, too."""
    net.load_state_dict({name: value * (1.3 if value.is_floating_point() else 1) for name, value in state(net).items()})


def replaced(net: nn.Module) -> None:
    for layer in net.modules():
        for name, weight in list(layer.named_parameters(recurse=False)):
            setattr(layer, name, nn.Parameter(weight.detach() * 1.5))


def moved(net: nn.Module) -> None:
    for weight in net.parameters():
        weight.data = weight.data.clone() * 0.7


def state(net: nn.Module) -> dict[str, Tensor]:
    return dict(net.state_dict())


Change = Callable[[nn.Module], None]
MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor], Rule | Composite, list[Change]]] = {
    "mlp": (mlp, lambda: torch.randn(3, 4), AlphaBeta(), [replaced, moved, in_place]),
    "residual": (Residual, lambda: torch.randn(3, 1, 6, 6), EpsilonPlus(), [loaded]),
    "assorted": (Assorted, lambda: torch.randn(3, 4), Epsilon(1e-3), [shuffled, loaded]),
    "normed": (normed, lambda: torch.randn(3, 4), Epsilon(1e-3), [shuffled]),
    "lstm": (lambda: LSTM([4], 3, 9, 4, 4), lambda: torch.randint(1, 9, (3, 4)), Epsilon(1e-3), [shuffled]),
    "vit": (lambda: ViT([1, 4, 4], 3, 2, 8, 2, 1, 8), lambda: torch.randn(3, 1, 4, 4), Epsilon(1e-3), [shuffled]),
    "text": (
        lambda: TextTransformer([4], 3, 9, 8, 2, 1, 8),
        lambda: torch.randint(1, 9, (3, 4)),
        Epsilon(1e-3),
        [loaded],
    ),
}


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The models that were captured."""
    found: list[nn.Module] = []
    capture = propagate.capture
    monkeypatch.setattr(propagate, "capture", lambda model, *rest: found.append(model) or capture(model, *rest))
    return found


def agree(lrp: LRP, net: nn.Module, rule: Rule | Composite, x: Tensor) -> None:
    """With an explainer that has never seen other weights: relevance, logits, layers and ledger."""
    one, other = lrp(x), LRP(copy.deepcopy(net), rule, example=x)(x)
    assert_close(one.logits, net(x))
    for name in ("relevance", "logits", "score"):
        assert_close(getattr(one, name), getattr(other, name))
    assert_close(dict(one.layers), dict(other.layers))
    assert_close({n: vars(e) for n, e in one.ledger.items()}, {n: vars(e) for n, e in other.ledger.items()})


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_read_anew_without_a_capture(name: str, captures: list[nn.Module]) -> None:
    make, inputs, rule, changes = MODELS[name]
    net, x = make().eval(), inputs()
    net(x)
    lrp = LRP(net, rule, example=x)
    before = lrp(x)
    for change in changes:
        change(net)
        agree(lrp, net, rule, x)
        assert not torch.allclose(lrp(x).relevance, before.relevance)
    assert captures.count(net) == 1


def test_every_shape_that_was_captured_is_kept(captures: list[nn.Module]) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)).eval()
    small, large = torch.randn(2, 1, 5, 5), torch.randn(2, 1, 7, 7)
    lrp = LRP(net, Epsilon(), example=small)
    lrp(large)
    in_place(net)
    assert_close(lrp(small).logits, net(small))
    agree(lrp, net, Epsilon(), large)
    assert captures.count(net) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda net: setattr(net.second, "weight", nn.Parameter(net.first.weight.detach())),  # no longer tied
        lambda net: setattr(net.head, "weight", nn.Parameter(torch.ones(4, 3).t())),  # transposed in memory
        lambda net: setattr(net.head, "weight", nn.Parameter(torch.ones(5, 4))),
        lambda net: net.head.weight.requires_grad_(False),
        lambda net: net.head.register_buffer("another", torch.ones(1)),
        lambda net: net.float(),
        lambda net: net.plain.mul_(2),
        lambda net: net.listed.__setitem__(0, torch.rand(4)),
        lambda net: setattr(net, "power", 2.0),
        lambda net: setattr(net, "settings", {"of": [1, 2]}),
        lambda net: setattr(net, "first", nn.Sequential(net.first, nn.Tanh())),
        lambda net: setattr(net.head, "__class__", Outside),
        lambda net: setattr(net, "forward", net.head.forward),
        lambda net: net.head.register_forward_hook(double),
        lambda net: torch.set_default_dtype(torch.float32),
    ],
)
def test_a_structure_is_that_of_one_program(change: Change) -> None:
    net = Assorted()
    before = structure(net)
    in_place(net)
    assert before is not None
    assert structure(net.eval()) == before
    change(net)
    assert structure(net) != before


def double(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
    return output * 2


def test_a_model_of_another_structure_is_captured_anew(captures: list[nn.Module]) -> None:
    net, x = Assorted().eval(), torch.randn(2, 4)
    lrp = LRP(net, Epsilon(1e-3), example=x)
    in_place(net)
    net.power, net.first = 0.6, nn.Sequential(net.first, nn.Tanh())
    agree(lrp, net, Epsilon(1e-3), x)
    assert captures.count(net) == 2


def test_what_cannot_be_written_down_has_no_structure() -> None:
    """What surrounds a function may change unseen, so the model is captured anew."""
    net, x, factor = mlp(), torch.randn(2, 4), [1.0]
    net[0].register_forward_hook(lambda _module, _inputs, output: output * factor[0])
    assert structure(net) is None
    lrp = LRP(net, Epsilon(), example=x)
    in_place(net)
    factor[0] = 1.001
    assert_close(lrp(x).logits, net(x))


FACTOR = [1.0]


class Outside(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * FACTOR[0]


def test_a_program_that_no_longer_gives_the_models_own_logits_is_captured_anew(
    monkeypatch: pytest.MonkeyPatch, captures: list[nn.Module]
) -> None:
    """A number that lies outside of the model changes with the weights."""
    net, x = Outside(4, 3), torch.randn(2, 4)
    lrp = LRP(net, Epsilon(), example=x)
    in_place(net)
    monkeypatch.setattr(f"{__name__}.FACTOR", [1.001])
    agree(lrp, net, Epsilon(), x)
    assert captures.count(net) == 2
