"""Random networks over the whole table of operators, and their relevance found without the engine.

    python tests/fuzzing.py --minutes 10

A network is a list of steps, each a call on one or two earlier values. Its right relevance is walked back step by step,
in float64, by formulas that are written here once more: no line is shared with the engine. Hypothesis draws the
networks and shrinks what it finds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import hypothesis.strategies as st
import torch
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_bench.engine import LRP
from lrp_bench.engine.composites import Composite, EpsilonAlpha2Beta1Flat, EpsilonGammaBox, EpsilonPlus, Uniform
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare, ZBox, Zero, ZPlus

BATCH, CLASSES = 3, 3
Pull = Callable[[Sequence[Tensor], Tensor, "Rules"], list[Tensor]]


# --- the formulas -----------------------------------------------------------------------------------------------------


def vjp(function: Callable[[Tensor], Tensor], x: Tensor, R: Tensor) -> Tensor:
    """The gradient of <function(x), R> with respect to x."""
    with torch.enable_grad():
        leaf = x.detach().clone().requires_grad_()
        return torch.autograd.grad(function(leaf), leaf, R)[0]


def divided(R: Tensor, z: Tensor, rule: Rule) -> Tensor:
    """R / (z + epsilon sign(z)), with sign(0) = +1 and 0/0 = 0."""
    unit = z.square().flatten(1).mean(1).sqrt().view(-1, *[1] * (z.dim() - 1)) if rule.relative else 1.0
    z = z + rule.epsilon * unit * torch.where(z >= 0, 1.0, -1.0)
    return torch.where(z == 0, 0.0, R / torch.where(z == 0, 1.0, z))


@dataclass(frozen=True)
class Layer:
    """linear(x, w) + b, bilinear in x and w. b broadcasts to the output."""

    linear: Callable[[Tensor, Tensor], Tensor]
    w: Tensor
    b: Tensor | float = 0.0

    def terms(self, rule: Rule, x: Tensor) -> list[tuple[Tensor | float, list[tuple[Tensor, Tensor]], Tensor]]:
        """(coefficient, parts, bias) of each quotient of a rule."""
        w, b = self.w, torch.as_tensor(self.b, dtype=x.dtype)
        up, down, p, n = x.clamp(min=0), x.clamp(max=0), w.clamp(min=0), w.clamp(max=0)
        none, ones = torch.zeros(()).to(x), torch.ones_like(x)
        match rule:
            case Zero() | Epsilon():
                return [(1.0, [(x, w)], b)]
            case Gamma(gamma=g, generalized=False):
                return [(1.0, [(x, w + g * p)], b + g * b.clamp(min=0))]
            case Gamma(gamma=g):
                z = self.linear(x, w) + b
                upper = [(up, w + g * p), (down, w + g * n)]
                lower = [(up, w + g * n), (down, w + g * p)]
                return [
                    ((z >= 0).to(z), upper, b + g * b.clamp(min=0)),
                    ((z < 0).to(z), lower, b + g * b.clamp(max=0)),
                ]
            case AlphaBeta(alpha=alpha, beta=beta):
                positive = (alpha, [(up, p), (down, n)], b.clamp(min=0))
                negative = (-beta, [(up, n), (down, p)], b.clamp(max=0))
                return [positive, negative] if beta else [positive]
            case ZPlus():
                return [(1.0, [(up, p), (down, n)], b.clamp(min=0))]
            case ZBox(low=low, high=high):
                return [(1.0, [(x, w), (-low * ones, p), (-high * ones, n)], none)]
            case WSquare():
                return [(1.0, [(ones, w.square())], b.square())]
            case Flat():
                return [(1.0, [(ones, torch.ones_like(w))], none)]
        raise TypeError(rule)

    def pull(self, rule: Rule, x: Tensor, R: Tensor) -> Tensor:
        """The relevance of x."""
        received, left = torch.zeros_like(x), torch.zeros_like(R)
        for coefficient, parts, bias in self.terms(rule, x):
            bias = bias if rule.bias != "exclude" else torch.zeros_like(bias)
            contributions = sum(self.linear(a, w) for a, w in parts)
            s = coefficient * divided(R, contributions + bias, rule)
            received = received + sum(a * vjp(partial(self.linear_in, w=w), a, s) for a, w in parts)
            left = left + coefficient * R - s * contributions
        return received + self.spread(x, left) if rule.bias == "redistribute" else received

    def linear_in(self, x: Tensor, w: Tensor) -> Tensor:
        """The linear part as a function of its input."""
        return self.linear(x, w)

    def spread(self, x: Tensor, left: Tensor) -> Tensor:
        """What was kept, handed on equally to the inputs that an output reaches."""
        flat = partial(self.linear_in, w=torch.ones_like(self.w))
        count = flat(torch.ones_like(x))
        return vjp(flat, torch.ones_like(x), torch.where(count > 0, left / count, 0.0))


def by_two(a: Tensor, b: Tensor, R: Tensor, rule: Rule) -> list[Tensor]:
    """A sum of two activations, split in proportion; redistribute: what the stabiliser kept is halved."""
    z = a + b
    s = divided(R, z, rule)
    kept = (R - s * z) / 2 if rule.bias == "redistribute" else 0.0
    return [(s * x + kept).sum_to_size(x.shape) for x in (a, b)]


def halves(product: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor, R: Tensor, rule: Rule) -> list[Tensor]:
    """A product of two activations, half to each (Achtibat et al. 2024, proposition 3.3)."""
    z = product(a, b)
    s = divided(R, 2 * z, rule)
    one = [a * vjp(lambda v: product(v, b), a, s), b * vjp(lambda v: product(a, v), b, s)]
    if rule.bias != "redistribute":
        return one
    ones = torch.ones_like(a), torch.ones_like(b)
    even = (R - 2 * s * z) / (2 * product(*ones))
    return [
        one[0] + vjp(lambda v: product(v, ones[1]), ones[0], even),
        one[1] + vjp(lambda v: product(ones[0], v), ones[1], even),
    ]


# --- which rule where -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rules:
    """A composite under its own name, and what it says of each kind of operator, by its published definition."""

    name: str
    composite: Rule | Composite
    kinds: dict[str, Rule]
    split: Rule
    first: Rule | None = None

    def of(self, kind: str, *, first: bool = False) -> Rule:
        """The rule of a layer; first: no linear layer or convolution before it."""
        if first and self.first is not None and kind in ("linear", "convolution"):
            return self.first
        return self.kinds.get(kind, self.kinds["otherwise"])


def uniform(rule: Rule) -> Rules:
    split = rule if isinstance(rule, Zero | Epsilon) else Epsilon(bias=rule.bias)
    return Rules(repr(rule), Uniform(rule), {"pool": split, "layer_norm": split, "otherwise": rule}, split)


def layered(name: str, composite: Composite, convolution: Rule, linear: Rule, first: Rule | None = None) -> Rules:
    plain = Epsilon(bias=linear.bias)
    return Rules(name, composite, {"convolution": convolution, "linear": linear, "otherwise": plain}, plain, first)


MODES: tuple[Any, ...] = ("absorb", "exclude", "redistribute")
RULES: list[Rules] = [
    *(uniform(Zero(bias=bias)) for bias in MODES),
    *(uniform(Epsilon(0.05, bias=bias)) for bias in MODES),
    uniform(Epsilon(0.05, relative=True)),
    *(uniform(Gamma(0.5, 0.01, bias=bias)) for bias in MODES),
    *(uniform(Gamma(0.5, 0.01, generalized=True, bias=bias)) for bias in MODES),
    *(uniform(AlphaBeta(2.0, 1.0, 0.01, bias=bias)) for bias in MODES),
    *(uniform(ZPlus(0.01, bias=bias)) for bias in MODES),
    *(uniform(WSquare(0.01, bias=bias)) for bias in MODES),
    *(uniform(Flat(0.01, bias=bias)) for bias in MODES),
    *(layered(f"EpsilonPlus, {b}", EpsilonPlus(0.01, b), ZPlus(bias=b), Epsilon(0.01, bias=b)) for b in MODES),
    layered(
        "EpsilonAlpha2Beta1Flat",
        EpsilonAlpha2Beta1Flat(0.01),
        AlphaBeta(2.0, 1.0),
        Epsilon(0.01),
        Flat(),
    ),
    layered(
        "EpsilonGammaBox",
        EpsilonGammaBox(-4.0, 4.0, 0.01),
        Gamma(0.25, generalized=True),
        Epsilon(0.01),
        ZBox(-4.0, 4.0),
    ),
]


# --- the operators ----------------------------------------------------------------------------------------------------


class Step(nn.Module):
    """One call. plain: what the network computes; pull: the relevance of the operands, once more by hand."""

    weighted = False  # a linear layer or a convolution
    first = False  # no such step before it

    def __init__(self, plain: Callable[..., Tensor], pull: Pull, modules: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.plain, self.pull, self.held = plain, pull, nn.ModuleList(modules)

    def forward(self, *operands: Tensor) -> Tensor:
        """The network's own computation."""
        return self.plain(*operands)


class Weights(nn.Module):
    """A parameter, so that it is one of the network's."""

    def __init__(self, value: Tensor) -> None:
        super().__init__()
        self.value = nn.Parameter(value)


def moves(function: Callable[..., Tensor]) -> Step:
    """Values that are moved, copied or chosen: the gradient is the rule."""

    def pull(operands: Sequence[Tensor], R: Tensor, rules: Rules) -> list[Tensor]:
        with torch.enable_grad():
            leaves = [x.detach().clone().requires_grad_() for x in operands]
            return list(torch.autograd.grad(function(*leaves), leaves, R, materialize_grads=True))

    return Step(function, pull)


def activation(function: Callable[[Tensor], Tensor]) -> Step:
    """Element by element: relevance passes unchanged."""
    return Step(function, lambda operands, R, rules: [R])


def layer(kind: str, plain: Callable[[Tensor], Tensor], made: Layer, modules: Sequence[nn.Module]) -> Step:
    """An affine operator under the composite's rule for its kind."""

    def pull(operands: Sequence[Tensor], R: Tensor, rules: Rules) -> list[Tensor]:
        return [made.pull(rules.of(kind, first=step.first), operands[0], R)]

    step = Step(plain, pull, modules)
    step.weighted = kind in ("linear", "convolution")
    return step


def pool(function: Callable[[Tensor], Tensor]) -> Step:
    """A linear operator without weights, in proportion."""
    one = torch.ones(())

    def pull(operands: Sequence[Tensor], R: Tensor, rules: Rules) -> list[Tensor]:
        return [Layer(lambda x, w: function(x) * w, one.to(R)).pull(rules.of("pool"), operands[0], R)]

    return Step(function, pull)


def norm(module: nn.Module, parts: Callable[[Tensor], tuple[Callable[[Tensor], Tensor], Tensor]]) -> Step:
    """A norm: linear with the scale it had. parts: x -> (that linear map, what is added)."""

    def pull(operands: Sequence[Tensor], R: Tensor, rules: Rules) -> list[Tensor]:
        linear, shift = parts(operands[0].detach())
        one = torch.ones(()).to(R)
        return [Layer(lambda x, w: linear(x) * w, one, shift).pull(rules.of("layer_norm"), operands[0], R)]

    return Step(module, pull, [module])


class Times(nn.Module):
    """x @ w, w @ x, or x * w, with a parameter."""

    def __init__(self, w: Tensor, how: str) -> None:
        super().__init__()
        self.w, self.how = nn.Parameter(w), how

    def forward(self, x: Tensor) -> Tensor:
        """The product."""
        return x * self.w if self.how == "*" else x @ self.w if self.how == "right" else self.w @ x


Shape = tuple[int, ...]
Make = Callable[[Shape, torch.Generator], Step]


def weights(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator)


def seeded(module: nn.Module, generator: torch.Generator) -> nn.Module:
    """The module with weights from the generator, and statistics that matter."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_floating_point():
            drawn = weights(generator, *tensor.shape).to(tensor) * 0.7
            tensor.data.copy_(drawn.abs() + 0.3 if name.endswith("running_var") else drawn)
    return module.double().eval()


def linear(shape: Shape, g: torch.Generator) -> Step:
    module = seeded(nn.Linear(shape[-1], int(torch.randint(2, 6, (), generator=g)), bias=bool(g.initial_seed() % 4)), g)
    return layer("linear", module, Layer(lambda x, w: F.linear(x, w), module.weight, bias_of(module, 1)), [module])


def bias_of(module: nn.Module, spatial: int) -> Tensor | float:
    return 0.0 if module.bias is None else module.bias.view(-1, *[1] * spatial) if spatial > 1 else module.bias


CONVOLUTIONS: dict[int, tuple[Any, Any, Any, Any]] = {
    2: (nn.Conv1d, F.conv1d, nn.ConvTranspose1d, F.conv_transpose1d),
    3: (nn.Conv2d, F.conv2d, nn.ConvTranspose2d, F.conv_transpose2d),
    4: (nn.Conv3d, F.conv3d, nn.ConvTranspose3d, F.conv_transpose3d),
}


def convolution(shape: Shape, g: torch.Generator, *, transposed: bool = False, normed: bool = False) -> Step:
    forward, function, backward, transpose = CONVOLUTIONS[len(shape)]
    pick = lambda *of: of[int(torch.randint(len(of), (), generator=g))]  # noqa: E731
    groups = pick(1, 1, 2 if shape[0] % 2 == 0 else 1)
    stride, padding = pick(1, 1, 2), pick(0, 1)
    kernel = pick(2, 3) if min(shape[1:]) > 2 else 1
    make, apply = (backward, transpose) if transposed else (forward, function)
    conv = seeded(
        make(
            shape[0], 2 * groups, kernel, stride, min(padding, kernel - 1), groups=groups, bias=pick(True, True, False)
        ),
        g,
    )
    options = {"stride": conv.stride, "padding": conv.padding, "groups": groups, "dilation": conv.dilation}
    dims, w, modules = len(shape) - 1, conv.weight.detach(), [conv]
    b = torch.zeros(2 * groups) if conv.bias is None else conv.bias.detach()
    plain: Callable[[Tensor], Tensor] = conv
    if normed:
        norm_of = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]
        bn = seeded(norm_of(2 * groups), g)
        gain = (bn.weight / (bn.running_var + bn.eps).sqrt()).detach()
        w = w * (
            gain.view(groups, 1, -1).expand(groups, shape[0] // groups, -1).reshape(shape[0], -1, *[1] * dims)
            if transposed
            else gain.view(-1, *[1] * (dims + 1))
        )
        b = (b - bn.running_mean) * gain + bn.bias.detach()
        plain, modules = nn.Sequential(conv, bn), [conv, bn]
    return layer(
        "convolution", plain, Layer(lambda x, v: apply(x, v, None, **options), w, b.view(-1, *[1] * dims)), modules
    )


def scaled(shape: Shape, g: torch.Generator) -> Step:
    module = Times(weights(g, *shape), "*")
    return layer("scale", module, Layer(lambda x, w: x * w, module.w), [module])


def shifted(shape: Shape, g: torch.Generator) -> Step:
    module, sign = Weights(weights(g, *shape)), -1.0 if g.initial_seed() % 2 else 1.0
    plain = (lambda x: module.value - x) if sign < 0 else (lambda x: x + module.value)
    return layer("scale", plain, Layer(lambda x, w: x * w, torch.tensor(sign), module.value), [module])


def matrix(shape: Shape, g: torch.Generator) -> Step:
    right = len(shape) == 1 or bool(g.initial_seed() % 2)
    w = weights(g, shape[-1], 3) if right else weights(g, 3, shape[-2])
    module = Times(w, "right" if right else "left")
    return layer("linear", module, Layer((lambda x, v: x @ v) if right else (lambda x, v: v @ x), w), [module])


def batch_norm(shape: Shape, g: torch.Generator) -> Step:
    """Behind a ReLU, so that no neighbour takes it."""
    module = seeded(
        {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}[len(shape)](shape[0]), g
    )
    gain = (module.weight / (module.running_var + module.eps).sqrt()).detach()
    gain, shift = (
        v.view(-1, *[1] * (len(shape) - 1)) for v in (gain, module.bias.detach() - module.running_mean * gain)
    )
    inner = layer("norm", module, Layer(lambda x, w: x * w, gain, shift), [module])

    def pull(operands: Sequence[Tensor], R: Tensor, rules: Rules) -> list[Tensor]:
        return inner.pull([operands[0].relu()], R, rules)

    return Step(lambda x: module(F.relu(x)), pull, [module])


def grouped_norm(make: Callable[[Shape], nn.Module], dims: Callable[[Shape], Shape], *, centred: bool = True) -> Make:
    """Over `dims` of the sample's own shape."""

    def made(shape: Shape, g: torch.Generator) -> Step:
        module, over = seeded(make(shape), g), dims(shape)

        def pull(operands: Sequence[Tensor], R: Tensor, rules: Rules) -> list[Tensor]:
            x, rule = operands[0], rules.of("layer_norm")
            mean = lambda v: v.mean(over, keepdim=True) if centred else 0.0  # noqa: E731
            eps = torch.finfo(x.dtype).eps if module.eps is None else module.eps
            scale = ((x - mean(x)).square().mean(over, keepdim=True) + eps).rsqrt()
            w = 1.0 if module.weight is None else module.weight.detach()
            b = getattr(module, "bias", None)
            if w is not None and isinstance(module, nn.InstanceNorm1d | nn.InstanceNorm2d):
                w, b = (v if v is None else v.view(-1, *[1] * (x.dim() - 2)) for v in (w, b))
            b = torch.zeros(()) if b is None or rule.bias == "exclude" else b.detach()
            linear = lambda v: (v - mean(v)) * scale * w  # noqa: E731
            z = linear(x)
            s = divided(R, z + b, rule)
            received = x * vjp(linear, x, s)
            return [received + R - s * z if rule.bias == "redistribute" else received]

        return Step(module, pull, [module])

    return made


def gated(shape: Shape, g: torch.Generator) -> Step:
    """signal * sigmoid(gate): the signal takes all, under the composites that say nothing else."""

    def pull(operands: Sequence[Tensor], R: Tensor, rules: Rules) -> list[Tensor]:
        signal, gate = operands
        z = signal * gate.sigmoid()
        s = divided(R, z, rules.split)
        kept = (R - s * z) if rules.split.bias == "redistribute" else 0.0
        return [s * z + kept, torch.zeros_like(gate)]

    return Step(lambda a, b: a * b.sigmoid(), pull)


def product(function: Callable[[Tensor, Tensor], Tensor]) -> Step:
    return Step(function, lambda operands, R, rules: halves(function, *operands, R, rules.split))


def squared() -> Step:
    """A product of an activation with itself."""
    return Step(torch.square, lambda operands, R, rules: [sum(halves(torch.mul, *operands, *operands, R, rules.split))])


def total(function: Callable[[Tensor, Tensor], Tensor], sign: float = 1.0) -> Step:
    return Step(function, lambda operands, R, rules: by_two(operands[0], sign * operands[1], R, rules.split))


def softmax(dim: int) -> Step:
    """Its Taylor expansion at x, R_j = x_j sum_i J_ij R_i / y_i."""

    def pull(operands: Sequence[Tensor], R: Tensor, rules: Rules) -> list[Tensor]:
        x = operands[0]
        received = x * vjp(lambda v: v.softmax(dim), x, R / x.softmax(dim))
        if rules.split.bias != "redistribute":
            return [received]
        kept = (R.sum(dim, keepdim=True) - received.sum(dim, keepdim=True)) / x.shape[dim]
        return [received + kept]

    return Step(lambda x: x.softmax(dim), pull)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "elu": F.elu,
    "leaky relu": F.leaky_relu,
    "softplus": F.softplus,
    "mish": F.mish,
    "hardswish": F.hardswish,
    "hardtanh": F.hardtanh,
    "relu6": F.relu6,
    "abs": torch.abs,
    "clamp": lambda x: x.clamp(-0.5, 1.5),
    "log sigmoid": F.logsigmoid,
    "selu": F.selu,
    "sin": torch.sin,
    "erf": torch.erf,
}
MOVEMENTS: dict[str, tuple[Callable[[Shape], bool], Callable[..., Tensor]]] = {
    "flip": (lambda s: True, lambda x: x.flip(-1)),
    "roll": (lambda s: s[-1] > 1, lambda x: x.roll(1, -1)),
    "transpose": (lambda s: len(s) > 1, lambda x: x.transpose(1, -1)),
    "flatten": (lambda s: len(s) > 1, lambda x: x.flatten(1)),
    "unsqueeze": (lambda s: len(s) < 3, lambda x: x.unsqueeze(1)),
    "slice": (lambda s: s[-1] > 2, lambda x: x[..., 1:]),
    "every second": (lambda s: s[-1] > 3, lambda x: x[..., ::2]),
    "pad": (lambda s: s[-1] < 8, lambda x: F.pad(x, (1, 1))),
    "repeat": (lambda s: s[-1] < 5, lambda x: x.repeat(*[1] * (x.dim() - 1), 2)),
    "stack": (lambda s: len(s) == 1, lambda x: torch.stack([x, x.flip(1)], 1)),
    "chunk": (lambda s: s[-1] > 1, lambda x: x.chunk(2, -1)[0]),
    "index": (lambda s: s[-1] > 2, lambda x: x[..., torch.tensor([2, 0, 0])]),
    "gather": (lambda s: s[-1] > 1, lambda x: x.gather(-1, torch.zeros_like(x[..., :1], dtype=torch.int64))),
    "reshape": (lambda s: len(s) > 1, lambda x: x.reshape(len(x), -1, x.shape[1])),
    "largest": (lambda s: len(s) > 1, lambda x: x.amax(-1)),
    "max": (lambda s: len(s) > 1, lambda x: x.max(-1).values),
    "top": (lambda s: s[-1] > 2, lambda x: x.topk(2, -1).values),
    "max pool": (lambda s: len(s) == 3 and min(s[1:]) > 1, lambda x: F.max_pool2d(x, 2)),
    "max pool 1d": (lambda s: len(s) == 2 and s[1] > 2, lambda x: F.max_pool1d(x, 3, 1)),
    "reflect": (lambda s: len(s) == 2 and s[1] > 2, lambda x: F.pad(x, (1, 1), mode="reflect")),
    "nearest": (lambda s: len(s) == 3 and max(s) < 5, lambda x: F.interpolate(x, scale_factor=2)),
    "triangle": (lambda s: len(s) > 1, lambda x: x.tril()),
    "expand": (lambda s: len(s) == 1, lambda x: x[:, None].expand(-1, 2, -1)),
}
POOLS: dict[str, tuple[Callable[[Shape], bool], Callable[[Tensor], Tensor]]] = {
    "mean": (lambda s: len(s) > 1, lambda x: x.mean(-1)),
    "mean kept": (lambda s: len(s) > 1, lambda x: x.mean(-1, keepdim=True)),
    "sum": (lambda s: len(s) > 1, lambda x: x.sum(1)),
    "cumsum": (lambda s: True, lambda x: x.cumsum(-1)),
    "average pool": (lambda s: len(s) == 3 and min(s[1:]) > 1, lambda x: F.avg_pool2d(x, 2, 1)),
    "average pool 1d": (lambda s: len(s) == 2 and s[1] > 2, lambda x: F.avg_pool1d(x, 3, 1, 1)),
    "adaptive pool": (lambda s: len(s) == 3, lambda x: F.adaptive_avg_pool2d(x, 1)),
    "bilinear": (lambda s: len(s) == 3 and max(s) < 5, lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")),
}
# name -> (where it applies, how a step of it is made)
ONE: dict[str, tuple[Callable[[Shape], bool], Make]] = {
    "linear": (lambda s: True, linear),
    "convolution": (lambda s: len(s) in CONVOLUTIONS, convolution),
    "transposed convolution": (lambda s: len(s) in CONVOLUTIONS and max(s) < 6, partial(convolution, transposed=True)),
    "convolution, batch norm": (lambda s: len(s) in CONVOLUTIONS, partial(convolution, normed=True)),
    "scale": (lambda s: True, scaled),
    "shift": (lambda s: True, shifted),
    "matrix": (lambda s: len(s) < 3, matrix),
    "batch norm": (lambda s: True, batch_norm),
    "layer norm": (lambda s: s[-1] > 1, grouped_norm(lambda s: nn.LayerNorm(s[-1]), lambda s: (-1,))),
    "rms norm": (lambda s: s[-1] > 1, grouped_norm(lambda s: nn.RMSNorm(s[-1]), lambda s: (-1,), centred=False)),
    "instance norm": (
        lambda s: len(s) == 3 and min(s[1:]) > 1,
        grouped_norm(lambda s: nn.InstanceNorm2d(s[0], affine=True), lambda s: (-2, -1)),
    ),
    "softmax": (lambda s: s[-1] > 1, lambda s, g: softmax(-1)),
    "square": (lambda s: True, lambda s, g: squared()),
    **{name: (lambda s: True, lambda s, g, f=f: activation(f)) for name, f in ACTIVATIONS.items()},
    **{name: (fits, lambda s, g, f=f: moves(f)) for name, (fits, f) in MOVEMENTS.items()},
    **{name: (fits, lambda s, g, f=f: pool(f)) for name, (fits, f) in POOLS.items()},
}
TWO: dict[str, tuple[Callable[[Shape], bool], Make]] = {
    "sum of two": (lambda s: True, lambda s, g: total(torch.add)),
    "difference": (lambda s: True, lambda s, g: total(torch.sub, -1.0)),
    "weighted difference": (lambda s: True, lambda s, g: total(partial(torch.sub, alpha=0.5), -0.5)),
    "product": (lambda s: True, lambda s, g: product(torch.mul)),
    "matrix product": (lambda s: len(s) == 2, lambda s, g: product(lambda a, b: a @ b.mT)),
    "gate": (lambda s: True, gated),
    "concatenation": (lambda s: s[-1] < 6, lambda s, g: moves(lambda a, b: torch.cat([a, b], -1))),
    "stacked": (lambda s: len(s) == 1, lambda s, g: moves(lambda a, b: torch.stack([a, b], 1))),
    "maximum": (lambda s: True, lambda s, g: moves(torch.maximum)),
    "where": (lambda s: True, lambda s, g: moves(lambda a, b: torch.where(torch.arange(a.shape[-1]) % 2 == 0, a, b))),
}
OPERATIONS = {**ONE, **TWO}
GATES, PRODUCTS = {"softmax", "sigmoid"}, {"product", "matrix product", "gate", "square"}
INPUTS: tuple[Shape, ...] = ((5,), (3, 4), (2, 4, 4), (2, 3, 3, 3))


# --- the networks -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What hypothesis draws: input shape, (operation, operands, seed) of each step, and the rules' place in RULES."""

    shape: Shape
    steps: tuple[tuple[str, tuple[int, ...], int], ...]
    rules: int
    seed: int = 0


class Network(nn.Module):
    """The plan as a module: its steps, then a dense layer on the last value, whatever its shape."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan, self.steps = plan, nn.ModuleList()
        values, weighted = [self.example()], [False]
        for name, operands, number in plan.steps:
            step = OPERATIONS[name][1](tuple(values[operands[0]].shape[1:]), generator(number)).double()
            step.first = not any(weighted[i] for i in operands)
            values.append(step(*(values[i] for i in operands)))
            weighted.append(step.weighted or any(weighted[i] for i in operands))
            self.steps.append(step)
        self.head = linear_head(values[-1].flatten(1).shape[1], generator(plan.seed + 1))
        self.head.first = not weighted[-1]
        self.eval().requires_grad_(requires_grad=False)

    def example(self) -> Tensor:
        """The inputs (batch, *shape), float64."""
        return torch.randn(BATCH, *self.plan.shape, generator=generator(self.plan.seed), dtype=torch.float64)

    def values(self, x: Tensor) -> list[Tensor]:
        """The input and the output of each step."""
        found = [x]
        for (_, operands, _), step in zip(self.plan.steps, self.steps, strict=True):
            found.append(step(*(found[i] for i in operands)))
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes)."""
        return self.head(self.values(x)[-1].flatten(1))

    def relevance(self, x: Tensor, rules: Rules) -> Tensor:
        """The right relevance of the largest logit, walked back through the steps."""
        values = self.values(x)
        flat = values[-1].flatten(1)
        logits = self.head(flat)
        start = torch.where(F.one_hot(logits.argmax(1), CLASSES) > 0, logits, 0.0)
        R = [torch.zeros_like(v) for v in values]
        R[-1] = self.head.pull([flat], start, rules)[0].view_as(values[-1])
        for place in reversed(range(len(self.steps))):
            operands = self.plan.steps[place][1]
            pulled = self.steps[place].pull([values[i] for i in operands], R[place + 1], rules)
            for i, received in zip(operands, pulled, strict=True):
                R[i] = R[i] + received
        return R[0]


def generator(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def linear_head(features: int, g: torch.Generator) -> Step:
    module = seeded(nn.Linear(features, CLASSES), g)
    return layer("linear", module, Layer(lambda x, w: F.linear(x, w), module.weight, module.bias), [module])


@st.composite
def plans(draw: st.DrawFn, most: int = 7) -> Plan:
    """A network's plan: every operation applies to the shapes it meets."""
    shape = draw(st.sampled_from(INPUTS))
    number = draw(st.integers(0, 999))
    values = [torch.randn(BATCH, *shape, dtype=torch.float64)]
    steps = []
    for place in range(draw(st.integers(1, most))):
        i = draw(st.sampled_from([place, *range(place)])) if place else 0
        x = values[i]
        inner = tuple(x.shape[1:])
        partners = [j for j, v in enumerate(values) if v.shape == x.shape and j != i]
        names = [name for name, (fits, _) in ONE.items() if fits(inner)]
        names += [name for name, (fits, _) in TWO.items() if partners and fits(inner)]
        if any(
            known in GATES for known, _, _ in steps
        ):  # of a gate and a signal the signal takes all: "gate" tries that
            names = [name for name in names if name not in PRODUCTS]
        name = draw(st.sampled_from(names))
        operands = (i, draw(st.sampled_from(partners))) if name in TWO else (i,)
        step = OPERATIONS[name][1](inner, generator(number + place)).double()
        values.append(step(*(values[k] for k in operands)).detach())
        assume(values[-1].numel() <= 2000)
        steps.append((name, operands, number + place))
    return Plan(shape, tuple(steps), draw(st.integers(0, len(RULES) - 1)), number)


def check(plan: Plan) -> bool:
    """Explain the plan's network with the engine, and hold every number to what is right.

    False where a denominator is so small that no digits are left to compare.
    """
    net, rules = Network(plan), RULES[plan.rules]
    x = net.example()
    expected = net.relevance(x, rules)
    size = float(expected.abs().max())
    score = net(x).amax(1)
    if not (size < 1e6 * float(score.abs().max()) and bool(expected.isfinite().all())):
        return False
    e = LRP(net, rules.composite, example=x)(x)
    assert_close(e.logits, net(x))
    assert_close(e.relevance, expected, rtol=1e-6, atol=1e-8 * max(size, 1e-3))
    told = [entry.bias + entry.stabilizer + entry.rule for entry in e.ledger.values()]
    arrived = max((float(entry.arrived.abs().max()) for entry in e.ledger.values()), default=1.0)
    tolerance = 1e-8 * max(arrived, size, 1.0)
    assert_close(e.relevance.flatten(1).sum(1) + sum(told, torch.zeros_like(score)), score, rtol=0.0, atol=tolerance)
    return True


def fuzz(
    *, minutes: float = float("inf"), rounds: float = float("inf"), first: int = 0, examples: int = 50
) -> tuple[int, list[str]]:
    """Rounds of examples until the time, or their number, is over: (how many networks, what was found, shrunk).

    first: the seed of the first round.
    """
    ended, count, found, number = time.monotonic() + 60 * minutes, 0, list[str](), first
    options = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )

    def counted(plan: Plan) -> None:
        nonlocal count
        count += 1
        assume(check(plan))

    while time.monotonic() < ended and number < first + rounds:
        try:
            seed(number)(options(given(plans())(counted)))()
        except Exception as error:
            notes = "\n".join(getattr(error, "__notes__", []))
            found.append(f"seed {number}: {type(error).__name__}: {str(error)[:600]}\n{notes}")
        number += 1
    return count, found


def main() -> None:
    """Fuzz for some minutes; exit 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    asked = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    count, found = fuzz(minutes=asked.minutes, first=asked.seed)
    print(*found, sep="\n\n")
    print(f"{count} networks, {len(found)} finds, over {len(OPERATIONS)} operations and {len(RULES)} rules.")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
