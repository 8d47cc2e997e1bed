"""The LRP rules. Each one says, in the paper's words, by which contributions a layer's relevance is shared.

Notation: a input of the layer, w weight, b bias, z = sum a w + b, R relevance that arrives at the output. A rule is a
sum of terms; a term shares coefficient * R in proportion to its contributions, R_j = sum_k contribution_jk /
stabilize(z_k) * coefficient_k R_k, where z_k is the sum of the term's contributions and of its bias. Sources: Bach et
al. 2015 (PLoS ONE 10, e0130140), Montavon et al. 2017 (Pattern Recognition 65), Montavon et al. 2019 (LNCS 11700,
chapter 10).

Every rule takes
    epsilon: the stabiliser, z + epsilon * sign(z) with sign(0) = +1;
    bias: `absorb` (it stands in the denominator and takes its share: the classical choice), `exclude` (it is left out
        of the denominator), `redistribute` (what bias and stabiliser took is handed on, equally to all inputs).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.engine.rules.affine import Affine
from lrp_bench.engine.rules.rule import Bias, Rule, is_number
from lrp_bench.engine.rules.terms import Input, Term
from lrp_bench.transfers import sent


@dataclass(frozen=True)
class Zero(Rule):
    """LRP-0: R_j = sum_k a_j w_jk / (sum_j a_j w_jk + b_k) R_k, with 0/0 = 0 (Montavon et al. 2019, eq. 10.2)."""

    bias: Bias = "absorb"
    epsilon: float = field(default=0.0, init=False, repr=False)
    uses_output: ClassVar[bool] = True

    def terms(self, a: Input, layer: Affine, z: Tensor | None) -> list[Term]:  # noqa: D102
        return [Term([(a.value, layer)], z=z, sign=self._sign(a, z))]


@dataclass(frozen=True)
class Epsilon(Rule):
    """LRP-epsilon: R_j = sum_k a_j w_jk / (z_k + epsilon sign(z_k)) R_k (Bach et al. 2015, eq. 58).

    relative: epsilon is a multiple of the root mean square of the sample's z in this layer (Montavon et al. 2019,
    section 10.2.3).
    """

    epsilon: float = 1e-6
    relative: bool = False
    bias: Bias = "absorb"
    uses_output: ClassVar[bool] = True

    def terms(self, a: Input, layer: Affine, z: Tensor | None) -> list[Term]:  # noqa: D102
        return [Term([(a.value, layer)], z=z, sign=self._sign(a, z))]


@dataclass(frozen=True)
class Gamma(Rule):
    """LRP-gamma: w + gamma max(0, w) in place of w, the bias alike (Montavon et al. 2019, eq. 10.4).

    generalized: for signed inputs; where z_k >= 0 the positive contributions a_j w_jk are favoured by gamma, where
    z_k < 0 the negative ones.
    """

    gamma: float = 0.25
    epsilon: float = 1e-6
    generalized: bool = False
    bias: Bias = "absorb"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("gamma", "a finite number >= 0", lambda v: is_number(v) and v >= 0)
        self._check("generalized", "true or false", lambda v: isinstance(v, bool))

    @property
    def uses_output(self) -> bool:  # type: ignore[override]
        """The generalised form asks for the sign of z."""
        return self.generalized

    def terms(self, a: Input, layer: Affine, z: Tensor | None) -> list[Term]:  # noqa: D102
        plus = layer.favoured(self.gamma)
        if a.nonnegative and a.rectified and self.bias != "exclude":  # relevance arrives where 0 < z <= z_gamma
            return [Term([(a.value, plus)], z=plus(a.value).clamp_(min=0), sign=1)]
        if not self.generalized:
            return [Term([(a.value, plus)])]
        minus = layer.favoured(self.gamma, negative=True)
        upper = Term([(a.positive, plus), (a.negative, minus)])
        at_least_zero = ((layer(a.value) if z is None else z) >= 0).to(a.value.dtype)
        lower = Term([(a.positive, minus), (a.negative, plus)], mask=1 - at_least_zero)
        return [replace(upper, mask=at_least_zero), lower]


@dataclass(frozen=True)
class AlphaBeta(Rule):
    """R_j = sum_k (alpha (a_j w_jk)+ / z_k+ - beta (a_j w_jk)- / z_k-) R_k (Bach et al. 2015, eq. 60).

    alpha - beta = 1.

    z_k+ and z_k- take the positive and the negative part of the bias. Where a neuron has no positive (no negative)
    part, alpha R_k (beta R_k) is not handed down: the rule does not conserve there, and the ledger says how much.
    """

    alpha: float = 2.0
    beta: float = 1.0
    epsilon: float = 1e-6
    bias: Bias = "absorb"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("alpha", "a finite number >= 1", lambda v: is_number(v) and v >= 1)
        self._check("beta", "a finite number >= 0", lambda v: is_number(v) and v >= 0)
        self._check(
            "beta", f"alpha - 1 = {self.alpha - 1:g}", lambda v: math.isclose(self.alpha - v, 1.0, abs_tol=1e-9)
        )

    def negative_part(self, a: Input, layer: Affine) -> Tensor | None:
        """z- where z+ = z - z- loses no digits: behind a ReLU z is not negative (the other way round it would)."""
        return layer.negative(a.value) if self.beta > 0 and a.nonnegative and a.rectified else None

    def terms(self, a: Input, layer: Affine, z: Tensor | None) -> list[Term]:  # noqa: D102
        plus, minus = layer.positive, layer.negative
        positive = Term([(a.positive, plus), (a.negative, minus)], factor=self.alpha, sign=1)
        if self.beta == 0:
            return [positive]
        negative = Term([(a.positive, minus), (a.negative, plus)], factor=-self.beta, sign=-1)
        if z is None or a.z_minus is None:
            return [positive, negative]
        return [replace(positive, z=z.sub_(a.z_minus)), replace(negative, z=a.z_minus)]


@dataclass(frozen=True)
class ZPlus(Rule):
    """z+: R_j = sum_k (a_j w_jk)+ / z_k+ R_k, which is alpha 1, beta 0 (Montavon et al. 2017, eq. 18)."""

    epsilon: float = 1e-6
    bias: Bias = "absorb"

    def terms(self, a: Input, layer: Affine, z: Tensor | None) -> list[Term]:  # noqa: D102
        plus, minus = layer.positive, layer.negative
        return [Term([(a.positive, plus), (a.negative, minus)], sign=1)]


@dataclass(frozen=True)
class ZBox(Rule):
    """z-B: shares of a_j w_jk - low_j w_jk+ - high_j w_jk-, for low <= a <= high (Montavon et al. 2017, eq. 20).

    low, high: a number, or one per channel. No bias stands in the denominator; `absorb` and `exclude` are the same.
    """

    low: float | Sequence[float] = -1.0
    high: float | Sequence[float] = 1.0
    epsilon: float = 1e-6
    bias: Bias = "absorb"
    vanishes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("low", "high"):
            value = getattr(self, name)
            object.__setattr__(
                self, name, tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
            )
            self._check(
                name, "a finite number, or one per channel", lambda v: v != () and all(map(is_number, _listed(v)))
            )
        lengths = {len(_listed(self.low)), len(_listed(self.high))} - {1}
        self._check("low", "as long as high", lambda _: len(lengths) <= 1)
        pairs = zip(
            *(_listed(v) * (max(lengths, default=1) // len(_listed(v))) for v in (self.low, self.high)), strict=True
        )
        self._check("low", f"below high = {self.high}", lambda _: all(low < high for low, high in pairs))

    def terms(self, a: Input, layer: Affine, z: Tensor | None) -> list[Term]:  # noqa: D102
        low, high = (-_bound(v, a.value) for v in (self.low, self.high))
        return [Term([(a.value, layer), (low, layer.positive), (high, layer.negative)], biased=False)]


@dataclass(frozen=True)
class WSquare(Rule):
    """w^2: shares of w_jk^2, whatever the input (Montavon et al. 2017, eq. 12); the bias counts b_k^2."""

    epsilon: float = 1e-6
    bias: Bias = "absorb"
    vanishes: ClassVar[bool] = False

    def terms(self, a: Input, layer: Affine, z: Tensor | None) -> list[Term]:  # noqa: D102
        return [Term([(torch.ones_like(a.value), layer.squared)], sign=1)]


@dataclass(frozen=True)
class Flat(Rule):
    """Equal shares to all inputs of a neuron (Lapuschkin et al. 2019). No bias stands in the denominator."""

    epsilon: float = 1e-6
    bias: Bias = "absorb"
    vanishes: ClassVar[bool] = False

    def terms(self, a: Input, layer: Affine, z: Tensor | None) -> list[Term]:  # noqa: D102
        return [Term([(torch.ones_like(a.value), layer.flat)], biased=False, sign=1)]


def _listed(value: float | Sequence[float]) -> list[float]:
    return list(value) if isinstance(value, Sequence) else [value]


def _bound(value: float | Sequence[float], a: Tensor) -> Tensor:
    bound = sent(value, a, a.dtype) if isinstance(value, Sequence) else a.new_full((), value)
    if bound.dim() and bound.numel() not in (1, a.shape[1]):
        raise BenchError(
            f"Expected bounds for {a.shape[1]} channels, got {bound.numel()}: give rule.low and rule.high one each."
        )
    return bound.view(-1, *[1] * (a.dim() - 2)).expand_as(a) if bound.dim() else bound.expand_as(a)
