"""Which rule for which layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from lrp_bench.contracts import BenchError
from lrp_bench.engine.rules import AlphaBeta, Bias, Epsilon, Flat, Gamma, Rule, ZBox, Zero, ZPlus

PROPORTIONAL = Epsilon()
KINDS = ("linear", "convolution", "recurrent", "norm", "pool", "scale")


@dataclass(frozen=True)
class Site:
    """A place that needs a rule.

    name: the module's, as in named_modules(); kind: one of KINDS; first, last: no other linear layer or convolution
    before or behind it.
    """

    name: str
    kind: str
    first: bool
    last: bool


class Composite(ABC):
    """An assignment of rules to layers."""

    split: Rule = PROPORTIONAL  # sums of two activations, and pools

    @abstractmethod
    def rule(self, site: Site) -> Rule:
        """The rule for one layer."""

    def check(self, sites: list[Site]) -> None:  # noqa: B027  a composite that names no module has nothing to check
        """Raise BenchError where the composite speaks of something the model does not have."""


@dataclass(frozen=True)
class Uniform(Composite):
    """One rule for every layer; pools and sums share in proportion."""

    uniform: Rule

    @property
    def split(self) -> Rule:  # type: ignore[override]
        """LRP-0 and LRP-epsilon share in proportion themselves."""
        return self.uniform if isinstance(self.uniform, Zero | Epsilon) else Epsilon(bias=self.uniform.bias)

    def rule(self, site: Site) -> Rule:  # noqa: D102
        return self.split if site.kind == "pool" else self.uniform


@dataclass(frozen=True)
class Layered(Composite):
    """Rules by name pattern (`features.*`, the first that matches), else first, last, by kind, or `otherwise`.

    kinds: linear, convolution, recurrent (an LSTM's linear parts, say; by default as linear), norm (batch norm that no
    neighbour takes), pool, scale (sums and products with a constant). `first` and `last` are for linear layers and
    convolutions.
    """

    kinds: Mapping[str, Rule] = field(default_factory=dict)
    first: Rule | None = None
    last: Rule | None = None
    names: Mapping[str, Rule] = field(default_factory=dict)
    otherwise: Rule = PROPORTIONAL

    def __post_init__(self) -> None:
        unknown = sorted(set(self.kinds) - set(KINDS))
        if unknown:
            raise BenchError(
                f"Expected layer kinds among {', '.join(KINDS)}, got {', '.join(unknown)}: correct rule.kinds."
            )

    def rule(self, site: Site) -> Rule:  # noqa: D102
        for pattern, rule in self.names.items():
            if fnmatchcase(site.name, pattern):
                return rule
        if site.kind in ("linear", "convolution"):
            if site.first and self.first is not None:
                return self.first
            if site.last and self.last is not None:
                return self.last
        kind = "linear" if site.kind == "recurrent" and "recurrent" not in self.kinds else site.kind
        return self.kinds.get(kind, self.otherwise)

    def check(self, sites: list[Site]) -> None:  # noqa: D102
        for pattern in self.names:
            if not any(fnmatchcase(site.name, pattern) for site in sites):
                known = ", ".join(site.name for site in sites)
                raise BenchError(
                    f"Expected a pattern that matches a layer, got {pattern!r}: the layers with a rule are {known}."
                )


def EpsilonPlus(epsilon: float = 1e-6, bias: Bias = "absorb") -> Layered:  # noqa: N802  a name of the field
    """z+ for convolutions, LRP-epsilon for linear layers."""
    return Layered({"convolution": ZPlus(bias=bias), "linear": Epsilon(epsilon, bias=bias)})


def EpsilonPlusFlat(epsilon: float = 1e-6, bias: Bias = "absorb") -> Layered:  # noqa: N802
    """EpsilonPlus with the flat rule for the first layer."""
    return Layered(EpsilonPlus(epsilon, bias).kinds, first=Flat(bias=bias))


def EpsilonAlpha2Beta1(epsilon: float = 1e-6, bias: Bias = "absorb") -> Layered:  # noqa: N802
    """Alpha 2, beta 1 for convolutions, LRP-epsilon for linear layers."""
    return Layered({"convolution": AlphaBeta(2.0, 1.0, bias=bias), "linear": Epsilon(epsilon, bias=bias)})


def EpsilonAlpha2Beta1Flat(epsilon: float = 1e-6, bias: Bias = "absorb") -> Layered:  # noqa: N802
    """EpsilonAlpha2Beta1 with the flat rule for the first layer."""
    return Layered(EpsilonAlpha2Beta1(epsilon, bias).kinds, first=Flat(bias=bias))


def EpsilonGammaBox(  # noqa: N802
    low: float | list[float] = -1.0,
    high: float | list[float] = 1.0,
    epsilon: float = 1e-6,
    gamma: float = 0.25,
    bias: Bias = "absorb",
) -> Layered:
    """z-B for the first layer, LRP-gamma for convolutions, LRP-epsilon for linear layers."""
    return Layered(
        {"convolution": Gamma(gamma, generalized=True, bias=bias), "linear": Epsilon(epsilon, bias=bias)},
        first=ZBox(low, high, bias=bias),
    )


def DeepTaylor(low: float | list[float] = -1.0, high: float | list[float] = 1.0) -> Layered:  # noqa: N802
    """Deep Taylor decomposition: z-B for the first layer, z+ for the others (Montavon et al. 2017)."""
    return Layered({"convolution": ZPlus(), "linear": ZPlus()}, first=ZBox(low, high))
