"""Relevance inside the network: under the modules' names, and equal to explaining the rest of the network alone."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import pytest
import torch
from oracles import one_hot, walk
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_bench.engine import LRP
from lrp_bench.engine.composites import Composite, EpsilonPlus, Layered
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Gamma, Rule, Zero

pytestmark = pytest.mark.usefixtures("float64")


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.norm(self.conv(x)))


def network() -> nn.Sequential:
    features = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), Residual(3))
    net = nn.Sequential(features, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3))
    features[3].norm.running_mean.normal_()
    return net.eval()


def test_every_module_that_computes_is_there() -> None:
    net, x = network(), torch.randn(2, 2, 6, 6)
    e = LRP(net, EpsilonPlus(), example=x)(x)
    assert set(e.layers) == {name for name, _ in net.named_modules() if name}


@cache
def tails() -> tuple[nn.Sequential, Tensor, dict[str, tuple[nn.Sequential, Tensor]]]:
    """A network, its input, and from some modules on the rest of it and that rest's input."""
    torch.manual_seed(1)
    net, x = network(), torch.randn(2, 2, 6, 6)
    flat = [*net[0], *net[1:]]
    starts = {"0.2": 2, "0.3": 3, "1": 4, "3": 6, "5": 8}
    return (
        net,
        x,
        {name: (nn.Sequential(*flat[i:]), nn.Sequential(*flat[:i])(x).detach()) for name, i in starts.items()},
    )


@pytest.mark.usefixtures("captured_once")
@pytest.mark.parametrize(
    "rule", [EpsilonPlus(), AlphaBeta(), Gamma(generalized=True)], ids=["composite", "ab", "gamma"]
)
def test_layer_relevance_is_that_of_the_rest_of_the_network(rule: Rule | Composite) -> None:
    """The rest does not know that its input lies behind a ReLU, so it takes the slow paths."""
    net, x, rests = tails()
    e = LRP(net, rule, example=x)(x)
    for name, (rest, inner) in rests.items():
        relevance = LRP(rest, rule, example=inner)(inner, e.target).relevance
        assert_close(e.layers[name], relevance, rtol=1e-9, atol=1e-12)
    assert_close(e.layers["0"], e.relevance)
    assert_close(e.layers["0.0"], e.relevance)
    assert_close(e.layers["0.3.act"], e.layers["1"])


def test_inside_a_residual_block() -> None:
    """What reaches the sum is split: the branch's share enters the branch, and both meet again at the block's input."""
    net, x = network(), torch.randn(2, 2, 6, 6)
    epsilon = 1e-6
    e = LRP(net, EpsilonPlus(), example=x)(x)
    block, inner = net[0][3], net[0][:3](x).detach()
    branch = block.norm(block.conv(inner)).detach()
    z = inner + branch
    s = e.layers["0.3.act"] / (z + epsilon * torch.where(z < 0, -1.0, 1.0))
    assert_close(e.layers["0.3.norm"], s * branch)
    assert_close(e.layers["0.3"], s * inner + e.layers["0.3.conv"])


def test_siblings_share_their_input() -> None:
    class Siblings(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.head = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.cat([F.relu(self.left(x)), self.right(x)], 1))

    net, x = Siblings(), torch.randn(3, 4)
    e = LRP(net, Epsilon(0.1), example=x)(x)
    assert_close(e.layers["left"] + e.layers["right"], e.relevance)
    chain = nn.Sequential(net.left, nn.ReLU())
    head = e.layers["head"][:, :3]
    left = walk(chain, {0: Epsilon(0.1)}, x, head / chain(x).detach().where(chain(x) > 0, 1.0)).relevance[0]
    assert_close(e.layers["left"], left)


class Gather(nn.Module):
    """A module of two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(3, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.left(a) - self.right(b)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.gather = nn.Linear(5, 4), nn.Linear(5, 3), Gather()

    def forward(self, x: Tensor) -> Tensor:
        return self.gather(self.first(x), self.second(x))


def test_each_input_of_a_module_has_its_own_relevance() -> None:
    """Named after the module, in the order in which they are used: `gather`, `gather[1]`."""
    net, x = TwoInputs(), torch.randn(3, 5)
    e = LRP(net, Epsilon(0.1), example=x)(x)
    assert_close(e.layers["gather"], e.layers["gather.left"])
    assert_close(e.layers["gather[1]"], e.layers["gather.right"])
    assert e.layers["gather"].shape == (3, 4)
    assert e.layers["gather[1]"].shape == (3, 3)
    alone = LRP(net.gather, Epsilon(0.1), example=(net.first(x), net.second(x)))
    parts = alone((net.first(x).detach(), net.second(x).detach()), e.target).relevance
    assert_close((e.layers["gather"], e.layers["gather[1]"]), parts)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.step, self.head = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.step(self.step(self.step(x))))


def test_each_use_of_a_module_has_its_own_relevance() -> None:
    """A network that uses one module three times is explained as one with three copies of it."""
    net, x = Recurrent(), torch.randn(3, 4)
    e = LRP(net, AlphaBeta(), example=x)(x)
    copies = nn.Sequential(*(layer for _ in range(3) for layer in deepcopy(net.step)), net.head)
    slow = walk(copies, dict.fromkeys((0, 2, 4, 6), AlphaBeta()), x, one_hot(e.logits))
    for i, name in ((0, "step"), (2, "step@1"), (4, "step@2"), (6, "head")):
        assert_close(e.layers[name], slow.relevance[i], rtol=1e-9, atol=1e-12)
    assert len([name for name in e.ledger if name.startswith("step")]) == 3


def test_batch_norm_and_relu_within_their_convolution() -> None:
    """Computed as one, told apart: the relevance at the input of the batch norm is what the convolution puts out."""
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 2), nn.Flatten()).eval()
    net[1].running_mean.normal_()
    x = torch.randn(2, 2, 4, 4)
    e = LRP(net, Epsilon(), example=x)(x)
    assert_close(e.layers["1"], e.layers["2"])
    assert_close(e.layers["1"], e.layers["3"])
    assert_close(e.layers["0"], e.relevance)
    assert_close(e.ledger["0"].arrived, e.layers["1"].sum((1, 2, 3)))


def test_ledger_follows_the_relevance_down() -> None:
    net, x = network(), torch.randn(2, 2, 6, 6)
    e = LRP(net, EpsilonPlus(), example=x)(x)
    assert_close(e.ledger["5"].arrived, e.score)
    for above, below in (("5", "4"), ("3", "2"), ("1", "0.3.act")):
        assert_close(e.ledger[above].passed, e.layers[above].flatten(1).sum(1))
        assert_close(e.ledger[above].passed, e.layers[below].flatten(1).sum(1))
    assert_close(e.ledger["0.0"].passed, e.relevance.sum((1, 2, 3)))


@pytest.mark.parametrize(
    "rule", [EpsilonPlus(), AlphaBeta(), Epsilon(bias="redistribute")], ids=lambda rule: type(rule).__name__
)
def test_amplification_is_what_a_layer_makes_of_the_size_of_relevance(rule: Rule | Composite) -> None:
    net, x = network(), torch.randn(2, 2, 6, 6)
    e = LRP(net, rule, example=x)(x)
    size = {name: R.flatten(1).abs().sum(1) for name, R in e.layers.items()}
    assert_close(e.amplification["5"], size["5"] / e.score.abs())
    assert_close(e.amplification["3"], size["3"] / size["4"])
    assert set(e.amplification) == set(e.ledger)


def test_amplification_counts_both_sides_of_a_sum() -> None:
    class Difference(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(4, 1, bias=False), nn.Linear(4, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.left(x) - self.right(x)

    net, x = Difference(), torch.randn(3, 4)
    e = LRP(net, Zero(), example=x)(x)
    (sum_,) = set(e.amplification) - {"left", "right"}
    left, right = net.left(x)[:, 0].detach(), net.right(x)[:, 0].detach()
    assert_close(e.amplification[sum_], (left.abs() + right.abs()) / (left - right).abs())


class Plus(nn.Module):
    """A sum in the network itself, beside a layer of any name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, nn.Linear(4, 4))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(x + self.get_submodule(self.name)(x)))


def test_names_of_modules_and_of_operators_do_not_clash() -> None:
    """An operator outside all modules gets a name of its own, whatever the user calls the layers."""
    x = torch.randn(3, 4)
    (taken,) = set(LRP(Plus("linear"), Epsilon(), example=x)(x).ledger) - {"linear", "head"}
    e = LRP(Plus(taken), Epsilon(0.1), example=x)(x)
    assert len(e.ledger) == 3
    lost = sum(entry.bias + entry.stabilizer + entry.rule for entry in e.ledger.values())
    assert_close(e.score, e.relevance.sum(1) + lost)


def test_coverage_says_which_rule_each_operator_got() -> None:
    net, x = network(), torch.randn(2, 2, 6, 6)
    gamma, last = Gamma(0.3), Epsilon(0.2)
    lrp = LRP(net, Layered({"convolution": gamma}, last=last), example=x)
    covered = {(c.module, c.operator): c.rule for c in lrp.coverage}
    assert covered["0.0", "aten::conv2d"] == covered["0.3.conv", "aten::conv2d"] == repr(gamma)
    assert covered["5", "aten::linear"] == repr(last)
    assert covered["3", "aten::linear"] == repr(Epsilon())
    assert covered["0.1", "aten::relu"] == "pass"
    assert len(lrp.coverage) == 11


def test_an_explanation_without_a_look_inside_costs_no_second_pass() -> None:
    """And the look gives the same relevance."""
    net, x = network(), torch.randn(2, 2, 6, 6)
    e = LRP(net, AlphaBeta(), example=x)(x)
    assert_close(e.layers["0"], e.relevance, rtol=0.0, atol=0.0)
    assert e.layers["0"] is e.layers["0"]
    assert "no such layer" not in e.layers
    with pytest.raises(KeyError, match="no such layer"):
        e.layers["no such layer"]
