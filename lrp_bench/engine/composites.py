"""The composites of the literature: which rule for which layer, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lrp_bench.engine.rules.attention import Attention
from lrp_bench.engine.rules.composite import Composite, Layered, Site, Uniform
from lrp_bench.engine.rules.formulas import AlphaBeta, Epsilon, Flat, Gamma, ZBox, ZPlus
from lrp_bench.engine.rules.rule import Bias, Rule

__all__ = [
    "CPLRP",
    "Alpha2Beta1Box",
    "Attention",
    "AttnLRP",
    "Composite",
    "DeepTaylor",
    "EpsilonAlpha2Beta1",
    "EpsilonAlpha2Beta1Flat",
    "EpsilonGammaBox",
    "EpsilonPlus",
    "EpsilonPlusFlat",
    "Layered",
    "Site",
    "Uniform",
]


def _layered(kinds: Mapping[str, Rule], bias: Bias) -> Layered:
    """Rules by kind; what they do not speak of shares in proportion, with the same bias mode."""
    return Layered(kinds, otherwise=Epsilon(bias=bias), split=Epsilon(bias=bias))


def EpsilonPlus(epsilon: float = 1e-6, bias: Bias = "absorb") -> Layered:  # noqa: N802  a name of the field
    """z+ for convolutions, LRP-epsilon for linear layers."""
    return _layered({"convolution": ZPlus(bias=bias), "linear": Epsilon(epsilon, bias=bias)}, bias)


def EpsilonPlusFlat(epsilon: float = 1e-6, bias: Bias = "absorb") -> Layered:  # noqa: N802
    """EpsilonPlus with the flat rule for the first layer."""
    return replace(EpsilonPlus(epsilon, bias), first=Flat(bias=bias))


def EpsilonAlpha2Beta1(epsilon: float = 1e-6, bias: Bias = "absorb") -> Layered:  # noqa: N802
    """Alpha 2, beta 1 for convolutions, LRP-epsilon for linear layers."""
    return _layered({"convolution": AlphaBeta(2.0, 1.0, bias=bias), "linear": Epsilon(epsilon, bias=bias)}, bias)


def EpsilonAlpha2Beta1Flat(epsilon: float = 1e-6, bias: Bias = "absorb") -> Layered:  # noqa: N802
    """EpsilonAlpha2Beta1 with the flat rule for the first layer."""
    return replace(EpsilonAlpha2Beta1(epsilon, bias), first=Flat(bias=bias))


def EpsilonGammaBox(  # noqa: N802
    low: float | list[float] = -1.0,
    high: float | list[float] = 1.0,
    epsilon: float = 1e-6,
    gamma: float = 0.25,
    bias: Bias = "absorb",
) -> Layered:
    """z-B for the first layer, LRP-gamma for convolutions, LRP-epsilon for linear layers."""
    kinds = {"convolution": Gamma(gamma, generalized=True, bias=bias), "linear": Epsilon(epsilon, bias=bias)}
    return replace(_layered(kinds, bias), first=ZBox(low, high, bias=bias))


def DeepTaylor(  # noqa: N802
    low: float | list[float] = -1.0, high: float | list[float] = 1.0, bias: Bias = "absorb"
) -> Layered:
    """Deep Taylor decomposition: z-B for the first layer, z+ for the others (Montavon et al. 2017)."""
    kinds = {"convolution": ZPlus(bias=bias), "linear": ZPlus(bias=bias)}
    return replace(_layered(kinds, bias), first=ZBox(low, high, bias=bias))


def Alpha2Beta1Box(  # noqa: N802
    low: float | list[float] = -1.0, high: float | list[float] = 1.0, bias: Bias = "absorb"
) -> Layered:
    """z-B for the first layer, alpha 2, beta 1 for the others: DeepTaylor with some relevance against the class."""
    kinds = {"convolution": AlphaBeta(2.0, 1.0, bias=bias), "linear": AlphaBeta(2.0, 1.0, bias=bias)}
    return replace(_layered(kinds, bias), first=ZBox(low, high, bias=bias))


def AttnLRP(epsilon: float = 1e-6, gamma: float | None = None, bias: Bias = "absorb") -> Layered:  # noqa: N802
    """AttnLRP: LRP-epsilon, softmax by its Taylor expansion, products half and half (Achtibat et al. 2024).

    gamma: LRP-gamma in its form for signed inputs for linear layers and convolutions, as the paper has it for vision
    transformers; None for LRP-epsilon everywhere.
    """
    return _attentive(epsilon, gamma, bias, Attention(matmul="half", gate="half"))


def CPLRP(epsilon: float = 1e-6, gamma: float | None = None, bias: Bias = "absorb") -> Layered:  # noqa: N802
    """CP-LRP: attention weights and gates are constants, the values take all (Ali et al. 2022, ICML).

    epsilon, gamma: as in AttnLRP.
    """
    return _attentive(epsilon, gamma, bias, Attention(matmul="signal", gate="signal", softmax="constant"))


def _attentive(epsilon: float, gamma: float | None, bias: Bias, attention: Attention) -> Layered:
    plain = Epsilon(epsilon, bias=bias)
    weighted = plain if gamma is None else Gamma(gamma, epsilon, generalized=True, bias=bias)
    kinds = {"linear": weighted, "convolution": weighted}
    return Layered(kinds, split=plain, otherwise=plain, attention=attention)
