"""How relevance passes what no linear rule covers: softmax, and products of two activations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from lrp_bench.contracts import BenchError

Sharing = Literal["half", "signal"]


@dataclass(frozen=True)
class Attention:
    """How relevance passes what no linear rule covers.

    matmul: a product of two activations shares `half` and half, or the `signal` takes all: the operand that does not
    come from a softmax or a sigmoid, which is then a constant. gate: the same for products element by element. Where
    both operands are gates, or neither is, they share half and half. softmax: its Taylor expansion (`taylor`), or a
    `constant` where it weights a product.
    """

    matmul: Sharing = "half"
    gate: Sharing = "signal"
    softmax: Literal["taylor", "constant"] = "taylor"

    def __post_init__(self) -> None:
        for name, known in (("matmul", get_args(Sharing)), ("gate", get_args(Sharing)), ("softmax", SOFTMAX)):
            if getattr(self, name) not in known:
                raise BenchError(
                    f"Expected {name} of Attention to be one of {', '.join(known)}, got {getattr(self, name)!r}: "
                    f"set {name}."
                )


SOFTMAX = ("taylor", "constant")
