"""The engine on the device that is not there: every operator, every rule, the ledger, and what is waited for."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import pytest
import torch
from capturing import captured_once
from made_up.device import DEVICE, back, counted, crashes, moved
from oracles import one_hot
from test_table import BATCH, CASES, Case, seeded, written
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.cli import CONF, configure
from lrp_bench.contracts import BenchError, Explanation
from lrp_bench.engine import LRP
from lrp_bench.engine.composites import Uniform
from lrp_bench.engine.operators.trace import Trace
from lrp_bench.engine.rewrite.rewrite import rewrite
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Rule, ZBox
from lrp_bench.models.text import LSTM
from lrp_bench.models.transformer import TextTransformer, ViT
from lrp_bench.run import build

__all__ = ["captured_once"]

ONE_READ = {"_local_scalar_dense": 1}
EACH: tuple[Rule, ...] = (
    Epsilon(relative=True, bias="redistribute"),
    AlphaBeta(bias="exclude"),
    ZBox(-5.0, 5.0),
)


def outcome(case: Case, rule: Rule, x: Tensor, head: Tensor, weights: Tensor) -> object:
    """Logits, relevance, ledger and amplification; or what is refused."""
    try:
        module, _ = rewrite(written(case, x, head), Uniform(rule))
        trace, leaf = Trace(), x.clone().requires_grad_()
        logits = module(leaf, trace)
        relevance = torch.autograd.grad(logits, leaf, logits.detach() * weights)[0]
    except BenchError as error:
        return str(error)
    ledger = {name: vars(entry) for name, entry in trace.ledger.items()}
    return {"logits": logits, "relevance": relevance, "ledger": ledger, "amplification": trace.amplification}


@pytest.mark.parametrize("row", CASES)
def test_every_operator_gives_what_it_gives_on_the_cpu(row: str) -> None:
    case = CASES[row]
    x = seeded(BATCH, *case.shape)
    first = case(x).reshape(BATCH, -1)
    head = seeded(2, first.shape[1])
    weights = one_hot(first @ head.T)
    there = replace(case, arguments=moved(case.arguments))
    for rule in EACH:
        expected = outcome(case, rule, x, head, weights)
        found = back(outcome(there, rule, *moved((x, head, weights))))
        if isinstance(expected, str):
            assert found == expected
        else:
            assert_close(found, back(expected), rtol=1e-9, atol=1e-9, equal_nan=True)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.branch = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Sequential(nn.AvgPool2d(2), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(torch.relu(x + self.branch(x)))


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def ids() -> Tensor:
    return torch.randint(1, 11, (4, 6), generator=torch.Generator().manual_seed(1))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "convolutions": (Residual, drawn(4, 2, 8, 8)),
    "attention": (lambda: ViT([2, 8, 8], 5, features=8, heads=2, blocks=1, hidden=6), drawn(4, 2, 8, 8)),
    "recurrence": (lambda: LSTM([6], 5, vocabulary=11, embedding=4, hidden=3), ids()),
    "words and attention": (lambda: TextTransformer([6], 5, 11, features=4, heads=2, hidden=6), ids()),
}
RULES = sorted(path.stem for path in (CONF / "rule").glob("*.yaml"))


@cache
def network(name: str) -> tuple[nn.Module, nn.Module]:
    """On the CPU and on the device."""
    torch.manual_seed(0)
    net = NETWORKS[name][0]().double().eval()
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return net, copy.deepcopy(net).to(DEVICE)


def inputs(name: str) -> Tensor:
    x = NETWORKS[name][1]
    return x.double() if x.is_floating_point() else x


def explainer(name: str, rule: str, *, there: bool) -> LRP:
    box = ["rule.low=-5", "rule.high=5"] if rule == "zbox" else []
    net, x = network(name)[there], inputs(name)
    return LRP(net, build(configure(f"rule={rule}", *box).rule), example=moved(x) if there else x)


def seen(explanation: Explanation) -> dict[str, object]:
    ledger = {name: vars(entry) for name, entry in explanation.ledger.items()}
    rest = {name: dict(getattr(explanation, name)) for name in ("layers", "amplification")}
    whole = {name: getattr(explanation, name) for name in ("logits", "target", "score", "relevance")}
    return back({**whole, **rest, "ledger": ledger})


TARGETS = (None, 2, torch.tensor([0, 4, 1, 1]), torch.tensor([[0.0, 1.0, -1.0, 0.5, 0.0]]).expand(4, 5))
SOME = {"epsilon", "attnlrp", "cp_lrp", "epsilon_gamma_box"}  # of rules, for networks that take their time


def pairs() -> Iterator[object]:
    """Every rule on every network, each with one kind of target."""
    for name in NETWORKS:
        for number, rule in enumerate(RULES):
            quick = name == "convolutions" or rule in SOME
            marks = () if quick else pytest.mark.slow
            yield pytest.param(name, rule, TARGETS[number % 4], marks=marks, id=f"{name}-{rule}")


@pytest.mark.usefixtures("captured_once")
@pytest.mark.parametrize(("name", "rule", "target"), list(pairs()))
def test_every_rule_gives_what_it_gives_on_the_cpu_and_looks_once(name: str, rule: str, target: object) -> None:
    here, there, x = (*(explainer(name, rule, there=there) for there in (False, True)), inputs(name))
    given = moved((x, target))
    with counted() as found:
        explanation = there(*given)
    assert found == ONE_READ
    with counted() as more:
        assert explanation.ledger
        assert explanation.amplification
        assert explanation.layers
    assert not more
    assert_close(seen(explanation), seen(here(x, target)), rtol=1e-9, atol=1e-9, equal_nan=True)


NAN = float("nan")
WRONG: dict[str, tuple[str, Callable[[Tensor], Tensor], object]] = {
    "a class that is not there": ("convolutions", torch.clone, torch.tensor([0, 5, 1, 1])),
    "classes below zero": ("convolutions", torch.clone, torch.tensor([0, -3, 1, 1])),
    "one such class for all": ("convolutions", torch.clone, 7),
    "weights that are not finite": ("convolutions", torch.clone, torch.full((4, 5), NAN)),
    "inputs that are not finite": ("convolutions", lambda x: x.index_fill(0, torch.tensor(1), NAN), None),
    "inputs before classes": ("convolutions", lambda x: x.index_fill(0, torch.tensor(1), NAN), 7),
    "inputs before what has another shape": ("convolutions", lambda x: x * float("inf"), torch.zeros(3, dtype=int)),
    "words that are not there": ("recurrence", lambda x: x + 5, None),
    "words below zero": ("words and attention", lambda x: x - 6, None),
    "words before classes": ("recurrence", lambda x: x + 5, -1),
}


@pytest.mark.usefixtures("captured_once")
@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told_as_on_the_cpu_and_breaks_nothing(case: str) -> None:
    name, spoil, target = WRONG[case]
    x, messages = spoil(inputs(name)), []
    crashes.clear()
    for there in (False, True):
        with pytest.raises(BenchError, match=r"^Expected .* got ") as caught:
            explainer(name, "epsilon", there=there)(*(moved((x, target)) if there else (x, target)))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert not crashes


def test_new_weights_cost_one_look_more() -> None:
    """Whether the captured program still is the model's."""
    net = copy.deepcopy(network("convolutions")[1])
    x = moved(inputs("convolutions"))
    lrp = LRP(net, Epsilon(), example=x)
    with torch.no_grad():
        net.stem[0].weight.mul_(1.5)
    with counted() as found:
        lrp(x)
    assert sum(found.values()) == 2


def test_the_device_refuses_to_mix() -> None:
    """Else the tests above could not fail."""
    with pytest.raises(RuntimeError, match=r"on the same device, but found at least two devices, sim:0 and cpu"):
        moved(torch.ones(2)) + torch.ones(2)
    with pytest.raises(RuntimeError, match=r"index.* got a tensor of cpu among those of sim"):
        torch.ops.aten.index(moved(torch.ones(2)), [torch.tensor([1])])
    with counted() as found:
        assert moved(torch.ones(2)).tolist() == [1.0, 1.0]
        assert bool(moved(torch.ones(3))[moved(torch.tensor([True, False, True]))].sum() == 2)
    assert found == {"blocking upload": 3, "copy to the host": 1, "nonzero": 1, "_local_scalar_dense": 1}
