"""Slow, obvious float64 twins of the relevance rules.

Written from the papers' formulas and from nothing of the engine's: a linear layer becomes its matrix, one sample at a
time, and each formula is plain sums over the table of contributions. Of a rule only its parameters are read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from lrp_bench.engine.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare, ZBox, Zero, ZPlus

LINEAR = (
    *(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
)
WINNER = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
MOVEMENT = (nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout)


@dataclass(frozen=True)
class Matrix:
    """A linear layer on one sample: z_k = sum_j a_j w_jk + b_k.

    w: (inputs, outputs); b: (outputs,); reaches: (inputs, outputs), whether j is wired to k, whatever the weight;
    shape: of the input.
    """

    w: Tensor
    b: Tensor
    reaches: Tensor
    shape: tuple[int, ...]


@cache
def matrix(layer: nn.Module, shape: tuple[int, ...]) -> Matrix:
    """The matrix of any linear module, read off its Jacobian; the wiring is that of the same module with every weight
    one."""
    wired = deepcopy(layer)
    for weight in wired.parameters():
        weight.data.fill_(1.0)

    def flat(module: nn.Module) -> Callable[[Tensor], Tensor]:
        return lambda v: module(v.view(1, *shape)).flatten()

    nothing = torch.zeros(prod(shape), dtype=torch.float64)
    w, wires = (jacobian(flat(module), nothing).T for module in (layer, wired))
    return Matrix(w, flat(layer)(nothing).detach(), wires != 0, shape)


@dataclass(frozen=True)
class Quotient:
    """One sum of a rule: coefficient_k R_k is shared in proportion to contributions (inputs, outputs); offset
    (outputs,) is the bias."""

    contributions: Tensor
    offset: Tensor
    coefficient: Tensor


@dataclass(frozen=True)
class Lost:
    """What a layer kept of one sample's relevance, or gave too much of."""

    bias: Tensor
    stabilizer: Tensor
    rule: Tensor


def plus(x: Tensor) -> Tensor:
    """Positive part."""
    return torch.where(x > 0, x, 0.0)


def minus(x: Tensor) -> Tensor:
    """Negative part."""
    return torch.where(x < 0, x, 0.0)


def _plain(rule: Any, a: Tensor, m: Matrix) -> list[Quotient]:
    return [Quotient(a[:, None] * m.w, m.b, torch.ones_like(m.b))]


def _gamma(rule: Any, a: Tensor, m: Matrix) -> list[Quotient]:
    if not rule.generalized:
        return [
            Quotient(a[:, None] * (m.w + rule.gamma * plus(m.w)), m.b + rule.gamma * plus(m.b), torch.ones_like(m.b))
        ]
    c = a[:, None] * m.w
    up = (c.sum(0) + m.b >= 0).double()
    return [
        Quotient(c + rule.gamma * plus(c), m.b + rule.gamma * plus(m.b), up),
        Quotient(c + rule.gamma * minus(c), m.b + rule.gamma * minus(m.b), 1 - up),
    ]


def _alpha_beta(rule: Any, a: Tensor, m: Matrix) -> list[Quotient]:
    c, one = a[:, None] * m.w, torch.ones_like(m.b)
    return [Quotient(plus(c), plus(m.b), rule.alpha * one), Quotient(minus(c), minus(m.b), -rule.beta * one)]


def _z_plus(rule: Any, a: Tensor, m: Matrix) -> list[Quotient]:
    return [Quotient(plus(a[:, None] * m.w), plus(m.b), torch.ones_like(m.b))]


def _z_box(rule: Any, a: Tensor, m: Matrix) -> list[Quotient]:
    low, high = (_bound(given, m.shape)[:, None] for given in (rule.low, rule.high))
    return [
        Quotient(a[:, None] * m.w - low * plus(m.w) - high * minus(m.w), torch.zeros_like(m.b), torch.ones_like(m.b))
    ]


def _w_square(rule: Any, a: Tensor, m: Matrix) -> list[Quotient]:
    return [Quotient(m.w**2, m.b**2, torch.ones_like(m.b))]


def _flat(rule: Any, a: Tensor, m: Matrix) -> list[Quotient]:
    return [Quotient(m.reaches.double(), torch.zeros_like(m.b), torch.ones_like(m.b))]


def _bound(given: float | Sequence[float], shape: tuple[int, ...]) -> Tensor:
    """A number, or one per channel, for each input."""
    bound = torch.as_tensor(given, dtype=torch.float64)
    return (
        bound.reshape(-1, *[1] * (len(shape) - 1)).expand(shape).flatten() if bound.dim() else bound.expand(prod(shape))
    )


QUOTIENTS: Mapping[type[Rule], Callable[[Any, Tensor, Matrix], list[Quotient]]] = {
    Zero: _plain,
    Epsilon: _plain,
    Gamma: _gamma,
    AlphaBeta: _alpha_beta,
    ZPlus: _z_plus,
    ZBox: _z_box,
    WSquare: _w_square,
    Flat: _flat,
}


def share(rule: Rule, m: Matrix, a: Tensor, R: Tensor) -> tuple[Tensor, Lost]:
    """Relevance of one sample's inputs (inputs,), and what was lost, of R (outputs,)."""
    received, lost = torch.zeros_like(a), torch.zeros(3, dtype=torch.float64)
    for q in QUOTIENTS[type(rule)](rule, a, m):
        arriving = q.coefficient * R
        z = q.contributions.sum(0) + (0 if rule.bias == "exclude" else q.offset)
        s = _divide(arriving, z, rule.epsilon * (z.square().mean().sqrt() if rule.relative else 1.0))
        received = received + (q.contributions * s).sum(1)
        if rule.bias == "redistribute":
            kept = arriving - (q.contributions * s).sum(0)
            wires = m.reaches.double()
            received = received + (wires / wires.sum(0).clamp(min=1) * kept).sum(1)
        else:
            kept = arriving - s * z
            to_bias = (s * q.offset).sum() if rule.bias == "absorb" else 0.0
            lost = lost + torch.stack(
                [torch.as_tensor(part) for part in (to_bias, kept[z != 0].sum(), kept[z == 0].sum())]
            )
    return received, Lost(*lost)


def _divide(R: Tensor, z: Tensor, epsilon: float | Tensor) -> Tensor:
    """R / (z + epsilon sign(z)), sign(0) = +1, 0/0 = 0."""
    denominator = z + epsilon * torch.where(z >= 0, 1.0, -1.0)
    return torch.where(denominator == 0, 0.0, R / torch.where(denominator == 0, 1.0, denominator))


@dataclass(frozen=True)
class Walk:
    """A batch, explained slowly: relevance at each layer's input (layer 0: the network's), and what each linear layer
    lost."""

    relevance: dict[int, Tensor]
    lost: dict[int, Lost]


def walk(net: nn.Sequential, rules: Mapping[int, Rule], x: Tensor, weights: Tensor) -> Walk:
    """LRP through a chain of modules, from weights * logits (batch, classes); rules: one for each linear layer."""
    samples = [_walk_one(net, rules, sample, weight) for sample, weight in zip(x, weights, strict=True)]
    return Walk(
        {i: torch.stack([relevance[i] for relevance, _ in samples]) for i in samples[0][0]},
        {
            i: Lost(
                *(
                    torch.stack([getattr(lost[i], part) for _, lost in samples])
                    for part in ("bias", "stabilizer", "rule")
                )
            )
            for i in samples[0][1]
        },
    )


def _walk_one(
    net: nn.Sequential, rules: Mapping[int, Rule], x: Tensor, weight: Tensor
) -> tuple[dict[int, Tensor], dict[int, Lost]]:
    activations = [x[None]]
    for layer in net:
        activations.append(layer(activations[-1].clone()).detach())
    R, relevance, lost = weight * activations[-1][0], {}, {}
    for i in reversed(range(len(net))):
        a, layer = activations[i][0], net[i]
        if isinstance(layer, LINEAR):
            received, lost[i] = share(rules[i], matrix(layer, tuple(a.shape)), a.flatten(), R.flatten())
        elif isinstance(layer, WINNER):
            received = R.flatten() @ jacobian(lambda v, layer=layer: layer(v[None])[0].flatten(), a).reshape(
                R.numel(), -1
            )
        elif isinstance(layer, MOVEMENT) or type(layer).__module__ == "torch.nn.modules.activation":
            received = R
        else:
            raise TypeError(f"no twin for {type(layer).__name__}")
        relevance[i] = R = received.reshape(a.shape)
    return relevance, lost


def one_hot(logits: Tensor) -> Tensor:
    """Weights that choose each sample's predicted class."""
    return nn.functional.one_hot(logits.argmax(1), logits.shape[1]).double()


def gradient_times_input(model: nn.Module, x: Tensor, weights: Tensor) -> Tensor:
    """x * d(sum_c weights_c f_c) / dx."""
    leaf = x.detach().clone().requires_grad_()
    return x * torch.autograd.grad((model(leaf) * weights).sum(), leaf)[0]
