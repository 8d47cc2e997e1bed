"""One function, one map: an activation in any spelling, and nothing that depends on the input goes missing.

Right values: the library's own operator in the place of the spelling, or a closed form. An activation of z = w x passes
relevance unchanged, so R_j = y w_j x_j / z.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.engine import LRP
from lrp_bench.engine.composites import Composite, Uniform
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Rule, ZPlus
from lrp_bench.engine.rules.attention import Attention

pytestmark = pytest.mark.usefixtures("float64")

Function = Callable[[Tensor], Tensor]
FINE = Epsilon(1e-9)
RULES = {"epsilon": Epsilon(1e-6), "z+": ZPlus(), "alpha 2, beta 1": AlphaBeta(2, 1)}


class Spelled(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class HSwish(nn.Module):
    """As MobileNets are often written."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.act(x + 3) / 6


class HSigmoid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + 3) / 6


class SwishByHSigmoid(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate = HSigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def new_gelu(x: Tensor) -> Tensor:
    """GPT-2's."""
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))))


PAIRS: dict[str, tuple[nn.Module, Function]] = {
    "GELU": (nn.GELU(), lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))),
    "GELU, halved last": (nn.GELU(), lambda x: x * (1 + torch.erf(x / math.sqrt(2))) * 0.5),
    "GELU by tanh": (nn.GELU("tanh"), new_gelu),
    "GELU by tanh, with cubes as products": (
        nn.GELU("tanh"),
        lambda x: x * 0.5 * (1 + torch.tanh(0.7978845608028654 * x * (1 + 0.044715 * x * x))),
    ),
    "SiLU": (nn.SiLU(), lambda x: x * torch.sigmoid(x)),
    "SiLU by exp": (nn.SiLU(), lambda x: x / (1 + torch.exp(-x))),
    "quick GELU": (Spelled(lambda x: x * torch.sigmoid(1.702 * x)), lambda x: x / (1 + torch.exp(-1.702 * x))),
    "Mish": (nn.Mish(), lambda x: x * torch.tanh(F.softplus(x))),
    "Mish by exp": (nn.Mish(), lambda x: x * torch.tanh(torch.log(1 + torch.exp(x)))),
    "softplus": (nn.Softplus(), lambda x: torch.log(1 + torch.exp(x))),
    "softplus by log1p": (nn.Softplus(), lambda x: torch.log1p(x.exp())),
    "softplus, stable": (nn.Softplus(), lambda x: x.clamp(min=0) + torch.log1p(torch.exp(-x.abs()))),
    "log sigmoid": (nn.LogSigmoid(), lambda x: -torch.log(1 + torch.exp(-x))),
    "sigmoid": (nn.Sigmoid(), lambda x: 1 / (1 + torch.exp(-x))),
    "sigmoid by power": (nn.Sigmoid(), lambda x: (1 + torch.exp(-x)).pow(-1)),
    "sigmoid by quotient": (nn.Sigmoid(), lambda x: x.exp() / (x.exp() + 1)),
    "sigmoid by tanh": (nn.Sigmoid(), lambda x: 0.5 * (1 + torch.tanh(x / 2))),
    "sigmoid of twice x": (Spelled(lambda x: (2 * x).sigmoid()), lambda x: 0.5 + 0.5 * torch.tanh(2 * x / 2)),
    "sigmoid, reflected": (Spelled(lambda x: 1 / (1 + torch.exp(x))), lambda x: 1 - torch.sigmoid(x)),
    "tanh": (nn.Tanh(), lambda x: (x.exp() - (-x).exp()) / (x.exp() + (-x).exp())),
    "tanh by sigmoid": (nn.Tanh(), lambda x: 2 * torch.sigmoid(2 * x) - 1),
    "ELU": (nn.ELU(), lambda x: torch.where(x > 0, x, torch.exp(x) - 1)),
    "expm1": (Spelled(torch.expm1), lambda x: x.exp() - 1),
    "hard sigmoid": (nn.Hardsigmoid(), lambda x: F.relu6(x + 3) / 6),
    "hard sigmoid, with modules": (nn.Hardsigmoid(), HSigmoid()),
    "hard sigmoid by clamp": (nn.Hardsigmoid(), lambda x: (x / 6 + 0.5).clamp(0, 1)),
    "h-swish": (nn.Hardswish(), lambda x: x * F.relu6(x + 3) / 6),
    "h-swish, with modules": (nn.Hardswish(), HSwish()),
    "h-swish, of modules": (nn.Hardswish(), SwishByHSigmoid()),
    "ReLU": (nn.ReLU(), lambda x: torch.where(x > 0, x, torch.zeros_like(x))),
    "ReLU by maximum": (nn.ReLU(), lambda x: torch.maximum(x, torch.zeros_like(x))),
    "leaky ReLU": (nn.LeakyReLU(0.1), lambda x: torch.maximum(x, 0.1 * x)),
    "softsign": (nn.Softsign(), lambda x: x * (1 + x.abs()).reciprocal()),
    "exp2": (Spelled(torch.exp2), lambda x: 2**x),
}  # fmt: skip


class Many(nn.Module):
    """Every function of the same values; tokens: of the embeddings of ids."""

    def __init__(self, functions: list[nn.Module], *, tokens: bool) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embedding = nn.Embedding(9, 5) if tokens else nn.Identity()
        self.layer, self.functions = nn.Linear(5, 4), nn.ModuleList(functions)
        self.head = nn.Linear(4 * len(functions), 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(self.embedding(x))
        return self.head(torch.cat([f(h) for f in self.functions], -1).sum(1))


@pytest.fixture(scope="module", params=[True, False], ids=["tokens", "vectors"])
def twins(request: pytest.FixtureRequest, captured_once: None) -> tuple[Many, Many, Tensor]:
    """The library's functions and their spellings, the same weights, and what to explain."""
    x = torch.randint(9, (3, 6)) if request.param else torch.randn(3, 6, 5, dtype=torch.float64)
    library = Many([module for module, _ in PAIRS.values()], tokens=request.param).double()
    return library, Many([Spelled(f) for _, f in PAIRS.values()], tokens=request.param).double(), x


@pytest.mark.parametrize("rule", RULES)
def test_another_spelling_is_no_other_map(rule: str, twins: tuple[Many, Many, Tensor]) -> None:
    """Each against the library's: logits, relevance, and what arrives at each function's input."""
    library, spelled, x = twins
    one, other = (LRP(net, RULES[rule], example=x)(x) for net in (library, spelled))
    assert_close(one.logits, other.logits)
    assert_close(one.relevance, other.relevance, rtol=1e-9, atol=1e-9 * float(one.relevance.abs().max()))
    for i, name in enumerate(PAIRS):
        same = one.layers[f"functions.{i}"], other.layers[f"functions.{i}"]
        assert_close(*same, rtol=1e-9, atol=1e-12, msg=name)


def linear(*weights: float) -> nn.Linear:
    layer = nn.Linear(len(weights), 1, bias=False, dtype=torch.float64)
    layer.weight.data[0] = torch.tensor(weights)
    return layer


W = linear(1, 1)
OF_ONE: dict[str, Function] = {
    "the sigmoid": lambda x: 1 / (1 + torch.exp(-W(x))),
    "Cauchy's": lambda x: 1 / (1 + W(x) ** 2),
    "a root's reciprocal": lambda x: 2 * torch.rsqrt(W(x)),
    "a power below zero": lambda x: 0.7 * W(x).pow(-1),
    "a constant by it": lambda x: 0.7 / W(x),
    "a Gaussian": lambda x: torch.exp(-(W(x) ** 2) / 2),
    "itself by itself": lambda x: W(x) / W(x),
}


@pytest.mark.parametrize("name", OF_ONE)
def test_what_divides_a_constant_is_an_activation(name: str) -> None:
    x = torch.tensor([[1.0, 2.0], [0.5, -0.1]])
    e = LRP(Spelled(OF_ONE[name]), FINE, example=x)(x)
    assert_close(e.relevance, OF_ONE[name](x).detach() * x / W(x).detach(), rtol=1e-6, atol=1e-9)
    assert e.ledger


def test_the_sigmoid_written_out_has_the_sigmoids_relevance() -> None:
    x = torch.tensor([[1.0, 2.0]])
    written = LRP(Spelled(OF_ONE["the sigmoid"]), FINE, example=x)
    assert_close(written(x).relevance, torch.tensor([[0.3175247, 0.6350494]]), rtol=1e-6, atol=0)
    assert [c.rule for c in written.coverage if c.operator.startswith("activation")] == ["pass"]


def hill(x: Tensor) -> Tensor:
    return 1 / (1 + x[:, 1:] ** 2)


BRANCHES: dict[str, tuple[Function, list[float]]] = {
    "add": (lambda x: x[:, :1] + hill(x), [1, 0.2]),
    "sub": (lambda x: x[:, :1] - hill(x), [1, -0.2]),
    "cat": (lambda x: torch.cat([x[:, :1], hill(x)], 1), [1, 0]),
    "cat, the second": (lambda x: torch.cat([hill(x), x[:, :1]], 1).flip(1)[:, :1] + hill(x), [1, 0.2]),
    "where": (lambda x: torch.where(x[:, :1] < 0, x[:, :1], hill(x)), [0, 0.2]),
    "maximum": (lambda x: torch.maximum(x[:, :1] - 5, hill(x)), [0, 0.2]),
    "the quotient of a constant": (lambda x: x[:, :1] + 0.4 / x[:, 1:], [1, 0.2]),
    "a comparison between": (lambda x: x[:, :1] + hill(x) * (x[:, 1:] > 0).double(), [1, 0.2]),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_no_branch_is_dropped(name: str) -> None:
    function, expected = BRANCHES[name]
    x = torch.tensor([[1.0, 2.0]])
    assert_close(
        LRP(Spelled(function), FINE, example=x)(x, target=0).relevance, torch.tensor([expected], dtype=x.dtype)
    )


table = nn.Embedding(5, 2, dtype=torch.float64)
LOST: dict[str, tuple[Function, str]] = {
    "a step": (lambda x: x[:, :1] + (x[:, 1:] > 0).double(), "aten::gt"),
    "a step of booleans": (lambda x: x[:, :1] + (x[:, 1:] > 0), "aten::gt"),
    "a step beside": (lambda x: torch.cat([x, (x > 0).double()], 1), "aten::gt"),
    "nothing but steps": (lambda x: (x > 0).double() @ torch.ones(2, 1), "aten::gt"),
    "a category among numbers": (lambda x: x + table(x[:, 0].long()), "aten::_to_copy"),
    "a category as a factor": (lambda x: x * table(x[:, 0].long()), "aten::_to_copy"),
    "the nearest vector": (lambda x: x + (table(x.argmax(1)) - x).detach(), "aten::argmax"),
}


@pytest.mark.parametrize("name", LOST)
def test_what_would_get_nothing_is_refused(name: str) -> None:
    function, operator = LOST[name]
    with pytest.raises(BenchError, match=f"got {operator}, whose output counts as a number"):
        LRP(Spelled(function), FINE, example=torch.tensor([[1.0, 2.0]]))


KEPT: dict[str, tuple[Function, Function]] = {
    "a unit vector": (lambda x: x / x.norm(dim=1, keepdim=True), lambda x: x / x.norm(dim=1, keepdim=True).detach()),
    "a unit vector by a factor": (
        lambda x: x * (1 / (x.pow(2).sum(1, keepdim=True).sqrt() + 0.1)),
        lambda x: x / (x.norm(dim=1, keepdim=True).detach() + 0.1),
    ),
    "a vector of norm 1 at most": (
        lambda x: x * (0.3 / x.norm(dim=1, keepdim=True)).clamp(max=1),
        lambda x: x * (0.3 / x.norm(dim=1, keepdim=True)).clamp(max=1).detach(),
    ),
    "RMS norm": (
        lambda x: x * (torch.tensor([2.0, -3.0]) * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 0.1)),
        lambda x: x * (torch.tensor([2.0, -3.0]) * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 0.1)).detach(),
    ),
    "a mask by comparison": (lambda x: x * (x > 0.5).double(), lambda x: x * (x > 0.5)),
    "a mean over what is there": (
        lambda x: (x * (x > -1)).sum(1, keepdim=True) / (x > -1).sum(1, keepdim=True).clamp(min=1),
        lambda x: x.sum(1, keepdim=True) / 2,
    ),
}


@pytest.mark.parametrize("name", KEPT)
def test_scales_and_masks_are_constants(name: str) -> None:
    """The gradient of the same with its scale held constant, times the input."""
    function, held = KEPT[name]
    x = torch.tensor([[1.0, 2.0], [0.7, -0.4]])
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(held(leaf)[:, 0].sum(), leaf)
    assert_close(LRP(Spelled(function), FINE, example=x)(x, target=0).relevance, gradient * x, rtol=1e-6, atol=1e-8)


GATES: dict[str, Function] = {
    "the sigmoid": torch.sigmoid,
    "by exp": lambda g: 1 / (1 + torch.exp(-g)),
    "by tanh": lambda g: 0.5 * (1 + torch.tanh(0.5 * g)),
}


@pytest.mark.parametrize("gate", ["signal", "half"])
def test_a_gate_is_one_in_every_spelling(gate: str) -> None:
    x = torch.tensor([[1.0, 2.0], [0.7, -0.4]])
    rule = Uniform(FINE, Attention(gate=gate))  # type: ignore[arg-type]
    maps = [LRP(Spelled(lambda x, f=f: x[:, :1] * f(x[:, 1:])), rule, example=x)(x) for f in GATES.values()]  # type: ignore[misc]
    for other in maps[1:]:
        assert_close(maps[0].relevance, other.relevance, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("rule", [Epsilon(0.1), Epsilon(1e-6)])
def test_a_number_added_to_a_layer_is_its_bias(rule: Rule | Composite) -> None:
    """Before an activation and behind it: as the layer's own bias, and as that of the next one."""
    x, first, second = torch.randn(4, 5), nn.Linear(5, 4, bias=False), nn.Linear(4, 2, bias=False)
    before, behind = nn.Linear(5, 4), nn.Linear(4, 2)
    before.weight, behind.weight = first.weight, second.weight
    before.bias.data[:], behind.bias.data = torch.tensor(0.3), 0.2 * second.weight.sum(1).detach()
    one = LRP(Spelled(lambda x: second(0.5 * F.relu(first(x) + 0.3) * 2 + 0.2)), Epsilon(1e-12), example=x)(x)
    other = LRP(Spelled(lambda x: behind(F.relu(before(x)))), Epsilon(1e-12), example=x)(x)
    assert_close(one.relevance, other.relevance, rtol=1e-7, atol=1e-9)


SOFTMAXES: dict[str, tuple[Function, Function]] = {
    "softmax": (lambda x: x.softmax(1), lambda x: x.exp() / x.exp().sum(1, keepdim=True)),
    "softmax, its maximum taken off": (
        lambda x: x.softmax(1),
        lambda x: (lambda e: e / e.sum(-1, keepdim=True))((x - x.amax(1, keepdim=True)).exp()),
    ),
    "softmax by a factor": (
        lambda x: x.softmax(1),
        lambda x: (lambda e: e * (1 / e.sum(-1, keepdim=True)))((x - x.max(1, keepdim=True)[0].detach()).exp()),
    ),
    "its logarithm": (lambda x: x.log_softmax(1), lambda x: x.softmax(1).log()),
    "its logarithm by logsumexp": (lambda x: x.log_softmax(1), lambda x: x - x.logsumexp(1, keepdim=True)),
    "its logarithm by log": (lambda x: x.log_softmax(1), lambda x: x - x.exp().sum(1, keepdim=True).log()),
}  # fmt: skip


@pytest.mark.parametrize("name", SOFTMAXES)
def test_softmax_is_one_in_every_spelling(name: str) -> None:
    x = torch.randn(3, 4)
    one, other = (LRP(Spelled(f), FINE, example=x)(x, target=2) for f in SOFTMAXES[name])
    assert_close(one.relevance, other.relevance, rtol=1e-9, atol=1e-12)


def test_other_quotients_of_exponentials_are_refused() -> None:
    mask = torch.tensor([1.0, 0, 1])

    def masked(x: Tensor) -> Tensor:
        e = x.exp() * mask
        return e / e.sum(1, keepdim=True)

    def scaled(x: Tensor) -> Tensor:
        e = x.exp()
        return e * (0.3 / e.sum(1, keepdim=True))

    for function in (masked, scaled):
        with pytest.raises(BenchError, match=r"Expected softmax as torch\.softmax .* got (div|mul)"):
            LRP(Spelled(function), FINE, example=torch.randn(2, 3))


def test_the_log_of_a_sum_of_exponentials_shares_by_softmax() -> None:
    """The soft winner takes most (Kauffmann et al. 2022), as log, sum and exp do one by one."""
    x = torch.randn(3, 4)
    for function in (lambda x: x.logsumexp(1, keepdim=True), lambda x: x.exp().sum(1, keepdim=True).log()):
        e = LRP(Spelled(function), FINE, example=x)(x)
        assert_close(e.relevance, x.softmax(1) * e.logits, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("keep", [True, False])
def test_a_product_of_three_gives_a_third_to_each(keep: bool) -> None:
    x = torch.randn(3, 4, 3)
    e = LRP(Spelled(lambda x: x.prod(2, keepdim=keep).flatten(1)), FINE, example=x)(x, target=1)
    expected = torch.zeros_like(x)
    expected[:, 1] = e.score[:, None] / 3
    assert_close(e.relevance, expected, rtol=1e-6, atol=1e-7)
    for entry in e.ledger.values():
        assert_close(entry.arrived, entry.passed + entry.bias + entry.stabilizer + entry.rule)
