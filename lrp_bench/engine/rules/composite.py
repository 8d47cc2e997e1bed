"""What a composite is: it chooses the rule of each layer."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from lrp_bench.contracts import BenchError
from lrp_bench.engine.rules.attention import Attention
from lrp_bench.engine.rules.formulas import Epsilon, Zero
from lrp_bench.engine.rules.rule import Rule

PROPORTIONAL = Epsilon()
ATTENTION = Attention()
KINDS = ("linear", "convolution", "recurrent", "norm", "layer_norm", "pool", "scale")


@dataclass(frozen=True)
class Site:
    """A place that needs a rule.

    name: the module's, as in named_modules(); kind: one of KINDS; first, last: no other linear layer or convolution
    before or behind it. A module that is called again has `name@1`, `name@2`.
    """

    name: str
    kind: str
    first: bool
    last: bool

    def called(self, pattern: str) -> bool:
        """Whether a pattern speaks of it: `fc` of every call, `fc@0` of the first, `fc@1` of the second."""
        every, number = re.subn(r"@\d+", "", self.name)
        named = self.name if number else f"{self.name}@0"
        return any(fnmatchcase(name, pattern) for name in (self.name, every, named))


class Composite(ABC):
    """An assignment of rules to layers.

    Attention is explained as AttnLRP does unless `attention` says otherwise: softmax by its Taylor expansion, matrix
    products of two activations half and half, layer, group, instance and RMS norm as affine layers of a constant scale
    under `split`; of a gate and its signal the signal takes all (Achtibat et al. 2024).
    """

    split: Rule = PROPORTIONAL  # sums and products of two activations, pools, layer norms
    attention: Attention = ATTENTION

    @abstractmethod
    def rule(self, site: Site) -> Rule:
        """The rule for one layer."""

    def check(self, sites: list[Site]) -> None:  # noqa: B027  a composite that names no module has nothing to check
        """Raise BenchError where the composite speaks of something the model does not have."""


def check_rule(rule: object) -> None:
    """Raise BenchError unless it is one."""
    if not isinstance(rule, Rule):
        raise BenchError(f"Expected a Rule for each layer, got {rule!r}: see lrp_bench.engine.rules.")


@dataclass(frozen=True)
class Uniform(Composite):
    """One rule for every layer; pools and sums share in proportion."""

    uniform: Rule
    attention: Attention = ATTENTION

    def __post_init__(self) -> None:
        check_rule(self.uniform)

    @property
    def split(self) -> Rule:  # type: ignore[override]
        """LRP-0 and LRP-epsilon share in proportion themselves."""
        return self.uniform if isinstance(self.uniform, Zero | Epsilon) else Epsilon(bias=self.uniform.bias)

    def rule(self, site: Site) -> Rule:  # noqa: D102
        return self.split if site.kind in ("pool", "layer_norm") else self.uniform


@dataclass(frozen=True)
class Layered(Composite):
    """Rules by name pattern (`features.*`, the first that matches), else first, last, by kind, or `otherwise`.

    A pattern speaks of every call of a layer that is used again: `fc` of them all, `fc@0` of the first, `fc@1` of the
    second; those that name a call go before the others.
    kinds: linear, convolution, recurrent (the linear parts of an LSTM, say; unless given, as linear), norm (batch norm
    that no neighbour takes), layer_norm (layer, group, instance and RMS norm: LRP-0 or LRP-epsilon only), pool, scale
    (sums and products with a constant). `first` and `last` are for linear layers and convolutions. A pattern gives a
    layer norm its rule only where that is LRP-0 or LRP-epsilon.
    """

    kinds: Mapping[str, Rule] = field(default_factory=dict)
    first: Rule | None = None
    last: Rule | None = None
    names: Mapping[str, Rule] = field(default_factory=dict)
    otherwise: Rule = PROPORTIONAL
    split: Rule = PROPORTIONAL
    attention: Attention = ATTENTION

    def __post_init__(self) -> None:
        for rule in (*self.kinds.values(), *self.names.values(), self.first, self.last, self.otherwise, self.split):
            check_rule(PROPORTIONAL if rule is None else rule)
        unknown = sorted(set(self.kinds) - set(KINDS))
        if unknown:
            raise BenchError(
                f"Expected layer kinds among {', '.join(KINDS)}, got {', '.join(unknown)}: correct rule.kinds."
            )
        norm = self.kinds.get("layer_norm", PROPORTIONAL)
        if not isinstance(norm, Zero | Epsilon):
            raise BenchError(f"Expected Zero or Epsilon for layer_norm, got {norm!r}: correct rule.kinds.")

    def rule(self, site: Site) -> Rule:  # noqa: D102
        for pattern, rule in sorted(self.names.items(), key=lambda named: "@" not in named[0]):
            fits = site.kind != "layer_norm" or isinstance(rule, Zero | Epsilon)
            if fits and site.called(pattern):
                return rule
        if site.kind in ("linear", "convolution"):
            if site.first and self.first is not None:
                return self.first
            if site.last and self.last is not None:
                return self.last
        otherwise = self.split if site.kind == "layer_norm" else self.otherwise
        kind = "linear" if site.kind == "recurrent" and "recurrent" not in self.kinds else site.kind
        return self.kinds.get(kind, otherwise)

    def check(self, sites: list[Site]) -> None:  # noqa: D102
        for pattern in self.names:
            if not any(site.called(pattern) for site in sites):
                known = ", ".join(site.name for site in sites)
                raise BenchError(
                    f"Expected a pattern that matches a layer, got {pattern!r}: the layers with a rule are {known}."
                )
