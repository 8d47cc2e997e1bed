"""Each mistake ends in one message of its own: what was expected, what came, what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from random import random

import pytest
import torch
from torch import Tensor, nn

from lrp_bench.contracts import BenchError
from lrp_bench.engine import LRP
from lrp_bench.engine.composites import EpsilonGammaBox, EpsilonPlus, Layered, Uniform
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Flat, Gamma, WSquare, ZBox, Zero, ZPlus

pytestmark = pytest.mark.usefixtures("float64")

NAN, INFINITY = float("nan"), float("inf")

PARAMETERS: dict[str, tuple[Callable[[], object], str]] = {
    "epsilon below zero": (lambda: Epsilon(-1e-6), r"epsilon of Epsilon .* >= 0, got -1e-06"),
    "epsilon not a number": (lambda: Epsilon(NAN), r"epsilon of Epsilon .* finite .* got nan"),
    "epsilon infinite": (lambda: ZPlus(INFINITY), r"epsilon of ZPlus .* finite .* got inf"),
    "epsilon a word": (lambda: Epsilon("1e-6"), r"epsilon of Epsilon .* number .* got '1e-6'"),
    "epsilon missing": (lambda: Flat(None), r"epsilon of Flat .* number .* got None"),
    "relative a word": (lambda: Epsilon(relative="yes"), r"relative of Epsilon .* true or false, got 'yes'"),
    "gamma below zero": (lambda: Gamma(-0.1), r"gamma of Gamma .* >= 0, got -0.1"),
    "gamma infinite": (lambda: Gamma(INFINITY), r"gamma of Gamma .* finite .* got inf"),
    "generalized a number": (lambda: Gamma(generalized=2), r"generalized of Gamma .* true or false, got 2"),
    "alpha - beta not one": (lambda: AlphaBeta(2.0, 0.5), r"alpha - 1 = 1, got 0.5"),
    "alpha below one": (lambda: AlphaBeta(0.5, -0.5), r"alpha of AlphaBeta .* >= 1, got 0.5"),
    "beta not a number": (lambda: AlphaBeta(2.0, NAN), r"beta of AlphaBeta .* got nan"),
    "low above high": (lambda: ZBox(1.0, 0.0), r"low of ZBox .* below high = 0.0, got 1.0"),
    "low as high": (lambda: ZBox(0.5, 0.5), r"low of ZBox .* below high = 0.5, got 0.5"),
    "low above high in one channel": (lambda: ZBox([0.0, 2.0], [1.0, 1.0]), r"low of ZBox .* below high"),
    "low not as long as high": (lambda: ZBox([0.0, 0.0, 0.0], [1.0, 1.0]), r"low of ZBox .* as long as high"),
    "low not a number": (lambda: ZBox(NAN, 1.0), r"low of ZBox .* finite .* got nan"),
    "high missing": (lambda: ZBox(0.0, None), r"high of ZBox .* number.* got None"),
    "high empty": (lambda: ZBox(0.0, []), r"high of ZBox .* got"),
    "unknown bias": (lambda: WSquare(bias="ignore"), r"bias of WSquare .* absorb, exclude, redistribute, got 'ignore'"),
    "unknown bias of a composite": (lambda: EpsilonPlus(bias="none"), r"absorb, exclude, redistribute, got 'none'"),
    "box of a composite": (lambda: EpsilonGammaBox(1.0, -1.0), r"below high = -1.0, got 1.0"),
    "unknown layer kind": (
        lambda: Layered({"conv2d": ZPlus()}),
        r"linear, convolution, .*, got conv2d",
    ),
    "a layer's rule a word": (lambda: Layered({"linear": "epsilon"}), r".*[Rr]ule.* got .*epsilon|str"),
    "the first layer's rule a word": (lambda: Layered(first="flat"), r".*[Rr]ule.* got .*flat|str"),
    "one rule a word": (lambda: Uniform("epsilon"), r".*[Rr]ule.* got .*epsilon|str"),
    "a composite in a composite": (lambda: Uniform(EpsilonPlus()), r".*[Rr]ule.* got .*Layered"),
}


@pytest.mark.parametrize("case", PARAMETERS)
def test_parameters(case: str) -> None:
    make, message = PARAMETERS[case]
    with pytest.raises(BenchError, match=rf"^Expected .*{message}"):
        make()


def test_one_third_more_than_one_third_is_one() -> None:
    """Alpha - beta is one to rounding: 1.3 - 0.3 is not, to the last bit."""
    assert AlphaBeta(1.1 + 0.2, 0.3).beta == 0.3


@pytest.fixture(scope="module")
def image_net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(18, 4)).double()


@pytest.fixture(scope="module")
def lrp(image_net: nn.Module) -> LRP:
    return LRP(image_net, Epsilon(), example=torch.zeros(2, 3, 5, 5, dtype=torch.float64))


def images(**options: object) -> Tensor:
    return torch.full((2, 3, 5, 5), 0.5, **options)


INPUTS: dict[str, tuple[Callable[[], object], str]] = {
    "whole numbers": (lambda: torch.ones(2, 3, 5, 5, dtype=torch.uint8), r"floating-point inputs, got torch.uint8"),
    "not a number": (lambda: torch.full((2, 3, 5, 5), NAN), r"finite inputs, got NaN"),
    "one infinite pixel": (
        lambda: images().index_fill(3, torch.tensor([2]), INFINITY),
        r"finite inputs, got .*infinity",
    ),
    "one channel": (lambda: torch.rand(2, 1, 5, 5), r"\b3 channels.* got 1 channels"),
    "no batch": (lambda: torch.rand(5), r"batch .* got shape \(5,\)"),
    "an empty batch": (lambda: torch.rand(0, 3, 5, 5), r"one sample.* got shape \(0, 3, 5, 5\)"),
    "another size": (lambda: torch.rand(2, 3, 9, 9), r"98"),
    "another precision": (lambda: images(dtype=torch.float32), r"float"),
    "a list": (lambda: [[0.5]], r"tensor.* got list"),
}


@pytest.mark.parametrize("case", INPUTS)
def test_inputs(lrp: LRP, case: str) -> None:
    make, message = INPUTS[case]
    with pytest.raises(BenchError, match=rf"^Expected .*{message}"):
        lrp(make())


@pytest.mark.parametrize("case", ["whole numbers", "not a number", "one channel", "no batch", "a list"])
def test_examples(image_net: nn.Module, case: str) -> None:
    make, message = INPUTS[case]
    with pytest.raises(BenchError, match=rf"^Expected .*{message}"):
        LRP(image_net, Epsilon(), example=make())


def test_a_wrong_shape_is_one_message_and_no_traceback(lrp: LRP, capfd: pytest.CaptureFixture[str]) -> None:
    """torch.export logs the trace of its own failure."""
    with pytest.raises(BenchError):
        lrp(torch.rand(2, 3, 9, 9))
    assert "Traceback" not in "".join(capfd.readouterr())


TARGETS: dict[str, tuple[object, str]] = {
    "above the classes": (4, r"targets from 0 to 3, got 4"),
    "below zero": (-1, r"targets from 0 to 3, got -1"),
    "one above the classes": (torch.tensor([0, 7]), r"targets from 0 to 3, got 0 to 7"),
    "too many": (torch.tensor([0, 1, 2]), r"shape \(2,\) .* got torch.int64 of shape \(3,\)"),
    "fractions": (torch.tensor([0.0, 1.0]), r"got torch.float32 of shape \(2,\)"),
    "whole weights": (
        torch.ones(2, 4, dtype=torch.int64),
        r"floating-point weights .* got torch.int64 of shape \(2, 4\)",
    ),
    "weights for too few classes": (torch.ones(2, 3), r"got torch.float32 of shape \(2, 3\)"),
    "a number without a batch": (torch.tensor(1), r"shape \(2,\) .* of shape \(\)"),
    "yes or no": (torch.tensor([True, False]), r"got torch.bool of shape \(2,\): pass one class per sample"),
    "a mask of the classes": (torch.ones(2, 4, dtype=torch.bool), r"floating-point weights .* got torch.bool"),
    "complex numbers": (torch.ones(2, 4, dtype=torch.complex64), r"got torch.complex64"),
    "yes": (True, r"got bool"),
    "a word": ("cat", r"got str"),
    "a list": ([0, 1], r"got list"),
    "a fraction": (1.0, r"got float"),
}


@pytest.mark.parametrize("case", TARGETS)
def test_targets(lrp: LRP, case: str) -> None:
    target, message = TARGETS[case]
    with pytest.raises(BenchError, match=rf"^Expected .*{message}"):
        lrp(images(), target)


def test_weights_of_the_logits_that_are_not_finite(lrp: LRP) -> None:
    """The message must speak of the target, not of an epsilon that would not help."""
    with pytest.raises(BenchError, match=r"^Expected .*(target|weights)"):
        lrp(images(), torch.full((2, 4), NAN))


def test_relevance_that_is_not_finite() -> None:
    """LRP-0 where two contributions cancel but for the last bit."""
    net = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Linear(1, 2, bias=False))
    net[0].weight.data = torch.tensor([[1.0, -1.0]])
    net[1].weight.data = torch.tensor([[1e10], [1.0]])
    x = torch.tensor([[1.0, 1.0 + 3e-16]])
    with pytest.raises(BenchError, match=r"^Expected finite relevance, got NaN or infinity: .*epsilon"):
        LRP(net, Zero(), example=x)(x, torch.tensor([[1e300, 0.0]]))


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x * 3  # here


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * 2, x * 3


class FixedBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(2, 4) * 2


class Sparse(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("edges", torch.eye(4).to_sparse())

    def forward(self, x: Tensor) -> Tensor:
        return torch.sparse.mm(self.edges, x.t()).t()


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


class Drawing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * (1 + random())


class Undefined(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * (x - x).reciprocal()


class Numpy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.detach().numpy() * 2)


MODELS: dict[str, tuple[Callable[[], object], str]] = {
    "branches on values": (lambda: Branching(), r"torch.export can capture, got Branching.*torch.where"),
    "several outputs": (lambda: Pair(), r"one output tensor, got 2: .*logits"),
    "a fixed batch size": (lambda: FixedBatch(), r"torch.export can capture, got FixedBatch.*batch"),
    "leaves torch": (lambda: Numpy(), r"torch.export can capture, got Numpy"),
    "no classes": (
        lambda: nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)),
        r"logits of shape \(2, classes\), got \(2,\)",
    ),
    "maps of logits": (lambda: nn.Unflatten(1, (2, 2)), r"logits of shape \(2, classes\), got \(2, 2, 2\)"),
    "not a module": (lambda: torch.relu, r"(module|model).* got "),
    "weights without a shape": (lambda: nn.Sequential(nn.LazyLinear(3)), r"weights, got Sequential, whose 0.weight"),
    "sparse weights": (Sparse, r"torch.export can capture, got Sparse.*weight.to_dense\(\)"),
    "a count of its calls": (Counting, r"the same logits each time in eval mode, got others .*leave calls alone"),
    "random numbers": (Drawing, r"the same logits each time in eval mode.*draw no numbers"),
    "logits that are no numbers": (Undefined, r"gives finite logits, got NaN or infinity"),
}


@pytest.mark.parametrize("case", MODELS)
def test_models(case: str) -> None:
    make, message = MODELS[case]
    net, x = make(), torch.rand(2, 4)
    with pytest.raises(BenchError, match=rf"(?s)^Expected .*{message}"):
        LRP(net, Epsilon(), example=x)(x)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_trace_of_torch_jit_is_no_module_any_more() -> None:
    traced = torch.jit.trace(nn.Linear(4, 2), torch.rand(2, 4))
    with pytest.raises(BenchError, match=r"Expected a module in Python, got a TopLevelTracedModule of torch.jit"):
        LRP(traced, Epsilon(), example=torch.rand(2, 4))


def test_logits_that_become_no_numbers_are_not_blamed_on_epsilon() -> None:
    net = nn.Linear(2, 2, bias=False)
    nn.init.constant_(net.weight, 1e200)
    lrp = LRP(net, Epsilon(), example=torch.ones(2, 2))
    with pytest.raises(BenchError, match=r"Expected a model that gives finite logits"):
        lrp(torch.full((2, 2), 1e200))


class Looping(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        for _ in range(int(x.sum().item())):
            x = x * 2
        return x


def test_a_failed_export_prints_no_graph(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BenchError, match=r"torch.export can capture, got Looping"):
        LRP(Looping(), Epsilon(), example=torch.rand(2, 4))
    assert "".join(capfd.readouterr()) == ""


def test_the_place_of_a_branch_is_shown() -> None:
    """File and line of the user's own forward, not of torch."""
    line = next(n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if text.endswith("# here"))
    with pytest.raises(BenchError, match=rf"{re.escape(Path(__file__).name)}\D+{line}\b"):
        LRP(Branching(), Epsilon(), example=torch.rand(2, 4))


def test_messages_are_short() -> None:
    with pytest.raises(BenchError) as caught:
        LRP(Branching(), Epsilon(), example=torch.rand(2, 4))
    assert len(str(caught.value)) < 1000
    assert str(caught.value).count("\n") < 5


RULES: dict[str, tuple[object, str]] = {
    "a word": ("epsilon", r"a Rule or a Composite, got str"),
    "a class": (Epsilon, r"a Rule or a Composite, got .*(Epsilon|ABCMeta|type)"),
    "nothing": (None, r"a Rule or a Composite, got NoneType"),
    "a pattern for no layer": (
        Layered(names={"features.*": Flat()}),
        r"matches a layer, got 'features.\*': .*\b0, 3\.",
    ),
    "a pattern for an activation": (Layered(names={"1": Flat()}), r"matches a layer, got '1': "),
    "bounds for two of three channels": (Layered(first=ZBox([0.0, 0.0], [1.0, 1.0])), r"bounds for 3 channels, got 2"),
}


@pytest.mark.parametrize("case", RULES)
def test_rules(image_net: nn.Module, case: str) -> None:
    rule, message = RULES[case]
    with pytest.raises(BenchError, match=rf"^Expected .*{message}"):
        LRP(image_net, rule, example=images())(images())
