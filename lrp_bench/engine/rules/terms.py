"""What a rule is made of: terms, each a quotient by which a layer shares its relevance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from lrp_bench.engine.rules.affine import Affine


@dataclass(frozen=True, eq=False)
class Input:
    """The input of a layer, and what the graph says about it.

    nonnegative: it lies behind a ReLU, say; signed rules have half the work. rectified: no relevance arrives where z
    < 0, since a ReLU follows.
    """

    value: Tensor
    nonnegative: bool = False
    rectified: bool = False
    z_minus: Tensor | None = None  # what Rule.negative_part gave in the forward pass

    @cached_property
    def positive(self) -> Tensor:
        """max(0, a), which is one input to all terms."""
        return self.value if self.nonnegative else self.value.clamp(min=0)

    @cached_property
    def negative(self) -> Tensor | None:
        """min(0, a); None where nothing is negative."""
        return None if self.nonnegative else self.value.clamp(max=0)


@dataclass(frozen=True, eq=False)
class Term:
    """One quotient of a rule.

    parts: pairs (input, layer with modified weights) whose contributions add up; None in place of an input that is
    zero. biased: the first layer's bias is the term's. factor, mask: the coefficient is their product, a number and one
    per output. z: contributions and bias summed, where already known; it is used up. sign: +1 where z is never
    negative, -1 where it is never positive, 0 where it may be either.
    """

    parts: Sequence[tuple[Tensor | None, Affine]]
    biased: bool = True
    factor: float = 1.0
    mask: Tensor | None = None
    z: Tensor | None = None
    sign: int = 0

    @property
    def offset(self) -> Tensor | None:
        """The term's bias, as it broadcasts to the output."""
        return self.parts[0][1].offset if self.biased else None

    def arriving(self, R: Tensor) -> Tensor:
        """The relevance that this term shares."""
        return self.factor * (R if self.mask is None else R * self.mask)

    def contributions(self) -> list[tuple[Tensor, Affine]]:
        """The parts that are there."""
        return [(a, layer) for a, layer in self.parts if a is not None]

    def total(self, *, with_offset: bool) -> Tensor:
        """z, with or without the bias."""
        if self.z is not None:
            return self.z if with_offset or self.offset is None else self.z - self.offset
        (a, layer), *others = self.contributions()
        z = layer(a) if with_offset and self.biased else layer.linear(a)
        for a, layer in others:
            z = z.add_(layer.linear(a))
        return z
