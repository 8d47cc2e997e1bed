"""The user's network, tensors and settings come back as they were; the engine notices when they change."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.engine import LRP
from lrp_bench.engine.composites import EpsilonAlpha2Beta1, EpsilonPlus
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Gamma, Rule, ZPlus
from lrp_bench.models import MiniVGG

pytestmark = pytest.mark.usefixtures("float64")


def network() -> nn.Sequential:
    body = (nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(2))
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(16, 3))


def images(batch: int = 3, size: int = 6) -> Tensor:
    return torch.randn(batch, 2, size, size)


def state(net: nn.Module) -> dict[str, object]:
    """Everything about a network that a caller can see."""
    tensors = {**dict(net.named_parameters()), **dict(net.named_buffers())}
    return {
        "bits": {name: t.detach().clone().numpy().tobytes() for name, t in tensors.items()},
        "the tensors themselves": {name: (id(t), t.data_ptr(), t.requires_grad) for name, t in tensors.items()},
        "gradients": {name: t.grad is None for name, t in tensors.items()},
        "modes": {name: m.training for name, m in net.named_modules()},
        "attributes": {name: sorted(vars(m)) for name, m in net.named_modules()},
        "hooks": {
            name: [len(value) for key, value in sorted(vars(m).items()) if key.endswith("hooks")]
            for name, m in net.named_modules()
        },
        "forward": {name: m.forward.__func__ for name, m in net.named_modules()},
    }


def test_network_settings_and_input_are_untouched() -> None:
    net, x = network().train(), images()
    net[1].eval()  # a network whose batch norms are frozen while the rest trains
    net[0].weight.requires_grad_(False)
    net[6].register_forward_hook(lambda *_: None)
    before, bits, generator = state(net), x.clone(), torch.get_rng_state()
    e = LRP(net, EpsilonAlpha2Beta1(), example=x)(x, torch.tensor([0, 1, 2]))
    dict(e.layers), dict(e.ledger)
    assert state(net) == before
    assert_close(x, bits, rtol=0.0, atol=0.0)
    assert not x.requires_grad
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float64


class Sorted(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.sort(1)[0]


def test_a_refused_network_is_untouched() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), Sorted()).train()
    before = state(net)
    with pytest.raises(Exception, match="Expected"):
        LRP(net, Epsilon(), example=torch.randn(2, 4))
    with pytest.raises(Exception, match="Expected"):
        LRP(net, Epsilon(), example=torch.randn(2, 5))
    assert state(net) == before


def test_gradients_of_the_caller_stay_apart() -> None:
    """An input or weights that belong to the caller's graph neither lend nor get a gradient."""
    net, x = network().eval(), images().requires_grad_()
    net(x).sum().backward()
    kept = [x.grad.clone(), *(p.grad.clone() for p in net.parameters())]
    e = LRP(net, Epsilon(), example=x)(x, torch.ones(3, 3, requires_grad=True))
    assert not any(t.requires_grad for t in (e.relevance, e.logits, e.score))
    for now, before in zip([x.grad, *(p.grad for p in net.parameters())], kept, strict=True):
        assert_close(now, before, rtol=0.0, atol=0.0)


def test_explained_in_eval_mode_though_in_training() -> None:
    net, x = network(), images()
    net[1].running_mean.normal_()
    trained = LRP(net.train(), EpsilonPlus(), example=x)(x)
    assert_close(trained.logits, net.eval()(x))
    assert_close(trained.relevance, LRP(net, EpsilonPlus(), example=x)(x).relevance, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_called_under_any_grad_mode(mode: Callable[[], AbstractContextManager[None]]) -> None:
    """Evaluation loops run under no_grad or inference_mode."""
    net, x = network().eval(), images()
    lrp = LRP(net, AlphaBeta(), example=x)
    expected = lrp(x)
    with mode():
        inside, anew = lrp(x), LRP(net, AlphaBeta(), example=x)(x)
        assert_close(dict(inside.layers)["0"], expected.relevance)
    assert_close(inside.relevance, expected.relevance)
    assert_close(anew.relevance, expected.relevance)


@pytest.mark.parametrize("outside", [nullcontext, torch.inference_mode])
def test_inputs_made_under_inference_mode(outside: Callable[[], AbstractContextManager[None]]) -> None:
    """What a data loader hands over inside Lightning's test loop."""
    net, x = network().eval(), images()
    with torch.inference_mode():
        made_inside = x.clone()
    with outside():
        e = LRP(net, Epsilon(), example=made_inside)(made_inside)
    assert_close(e.relevance, LRP(net, Epsilon(), example=x)(x).relevance)


def _step(net: nn.Module) -> None:
    net.train()(images(8)).square().sum().backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    net.zero_grad()
    net.eval()


def _in_place(net: nn.Module) -> None:
    with torch.no_grad():
        net[0].weight.mul_(-1.5)


def _replaced(net: nn.Module) -> None:
    net[0] = nn.Conv2d(2, 4, 3)


def _statistics(net: nn.Module) -> None:
    net[1].running_mean.add_(1.0)


CHANGES = [_step, _in_place, _replaced, _statistics]


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__.strip("_"))
def test_changed_weights_are_noticed(change: Callable[[nn.Module], None]) -> None:
    net, x = network().eval(), images()
    net[1].running_mean.normal_()
    lrp = LRP(net, ZPlus(), example=x)
    before = lrp(x)
    change(net)
    after = lrp(x)
    assert_close(after.logits, net(x))
    assert_close(after.relevance, LRP(net, ZPlus(), example=x)(x).relevance)
    assert not torch.allclose(after.relevance, before.relevance)


def test_an_explanation_keeps_describing_its_input() -> None:
    """Layers and ledger come with the first look, which may come late: after the buffer was reused."""
    net, x = network().eval(), images()
    lrp = LRP(net, Epsilon(), example=x)
    late, expected = lrp(x), dict(lrp(x).layers)["6"].clone()
    x.mul_(-2.0)
    assert_close(late.layers["6"], expected)


def test_layers_of_a_model_that_changed_are_refused() -> None:
    net, x = network().eval(), images()
    late = LRP(net, Epsilon(), example=x)(x)
    with torch.no_grad():
        net[6].weight.mul_(-2.0)
    with pytest.raises(BenchError, match="Expected the weights that were explained"):
        late.layers["6"]


def test_other_batches_and_sizes_than_the_example() -> None:
    net = network().eval()
    lrp = LRP(net, EpsilonPlus(), example=images(1, 6))
    fresh = {size: LRP(net, EpsilonPlus(), example=images(2, size)) for size in (6, 9)}
    for batch, size in ((1, 6), (2, 6), (5, 6), (2, 9), (1, 9), (3, 6)):
        x = images(batch, size)
        e = lrp(x)
        assert e.relevance.shape == x.shape
        assert_close(e.logits, net(x))
        assert_close(e.relevance, fresh[size](x).relevance)


@cache
def twice() -> tuple[nn.Module, nn.Module]:
    """The same network in double and in single precision."""
    net = MiniVGG((3, 12, 12), classes=5).eval()
    return net, deepcopy(net).float()


@pytest.mark.usefixtures("captured_once")
@pytest.mark.parametrize("rule", [Epsilon(), ZPlus(), Gamma(generalized=True), AlphaBeta()], ids=repr)
def test_float32_is_near_float64(rule: Rule) -> None:
    (net, single_net), x = twice(), torch.randn(4, 3, 12, 12)
    single = LRP(single_net, rule, example=x.float())(x.float())
    double = LRP(net, rule, example=x)(x, single.target)
    assert single.relevance.dtype == torch.float32
    error = (single.relevance.double() - double.relevance).flatten(1).norm(dim=1)
    assert float((error / double.relevance.flatten(1).norm(dim=1)).max()) < 1e-3


def test_one_network_several_explainers() -> None:
    """Nothing is shared between them."""
    net, x = network().eval(), images()
    first = LRP(net, Epsilon(), example=x)
    alone = first(x).relevance
    second = LRP(net, AlphaBeta(), example=x)
    second(x)
    assert_close(first(x).relevance, alone, rtol=0.0, atol=0.0)


def test_an_explained_network_can_be_copied() -> None:
    net, x = network().eval(), images()
    LRP(net, Epsilon(), example=x)(x)
    assert_close(deepcopy(net)(x), net(x), rtol=0.0, atol=0.0)


class MakingItsMask(nn.Module):
    """Registers a buffer in its first forward, and keeps another in a mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.made = nn.Linear(4, 3), dict[int, Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "mask"):
            self.register_buffer("mask", torch.tensor([1.0, 0.0, 1.0, 1.0]))
        return self.head(x * self.mask * self.made.setdefault(x.shape[1], torch.full((4,), 2.0)))


def test_what_the_first_forward_makes_is_left_to_the_first_forward() -> None:
    """torch.export would leave tensors without values in the user's model."""
    net, x = MakingItsMask(), torch.randn(3, 4)
    lrp = LRP(net, Epsilon(), example=x)
    e = lrp(x)
    assert not hasattr(net, "mask")
    assert net.made == {}
    assert_close(e.logits, net(x))
    assert_close(lrp(x).relevance, e.relevance)
    assert_close(net.mask, torch.tensor([1.0, 0.0, 1.0, 1.0]))


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act, self.head = nn.ReLU(inplace=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x -= 0.1
        return self.head(self.act(x))


def test_a_model_that_changes_its_input_in_place_is_explained_at_the_input_as_it_came() -> None:
    net, x = InPlace(), torch.randn(3, 4)
    bits = x.clone()
    e = LRP(net, Epsilon(1e-3), example=x)(x)
    assert_close(x, bits, rtol=0.0, atol=0.0)
    assert_close(e.inputs, bits, rtol=0.0, atol=0.0)
    apart = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), net.head)
    nn.init.eye_(apart[0].weight)
    nn.init.constant_(apart[0].bias, -0.1)
    assert_close(e.relevance, LRP(apart, Epsilon(1e-3), example=x)(x).relevance)


def test_a_model_made_under_inference_mode_is_explained() -> None:
    with torch.inference_mode():
        net = network().eval()
    plain, x = network().eval(), images()
    plain.load_state_dict(net.state_dict())
    e, expected = (LRP(model, EpsilonPlus(), example=x)(x) for model in (net, plain))
    assert_close(e.relevance, expected.relevance)
    assert_close(dict(e.layers), dict(expected.layers))
