"""What a rule is: a list of terms, and what every rule is asked."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal, get_args

from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.engine.rules.affine import Affine
from lrp_bench.engine.rules.terms import Input, Term

Bias = Literal["absorb", "exclude", "redistribute"]


class Rule(ABC):
    """What every rule has; formulas.py says what the parameters mean."""

    epsilon: float
    bias: Bias
    relative: bool = False
    uses_output: ClassVar[bool] = False  # the layer's own z spares a computation
    vanishes: ClassVar[bool] = True  # an input that is zero receives nothing

    @abstractmethod
    def terms(self, a: Input, layer: Affine, z: Tensor | None) -> list[Term]:
        """The quotients of this rule.

        z: the layer's output, which may be given if `uses_output`, and is used up; where `a.rectified`, behind the
        ReLU.
        """

    def _sign(self, a: Input, z: Tensor | None) -> int:
        """That of the layer's own output with its bias: behind a ReLU it is not negative."""
        return int(a.rectified and z is not None and self.bias != "exclude")

    def negative_part(self, a: Input, layer: Affine) -> Tensor | None:
        """What the forward pass is to compute apart from the positive part, and to keep; None: only their sum."""
        return None

    def __post_init__(self) -> None:
        self._check("epsilon", "a finite number >= 0", lambda v: is_number(v) and v >= 0)
        self._check("bias", f"one of {', '.join(get_args(Bias))}", lambda v: v in get_args(Bias))
        self._check("relative", "true or false", lambda v: isinstance(v, bool))

    def _check(self, name: str, expected: str, holds: object) -> None:
        value = getattr(self, name)
        if not holds(value):  # type: ignore[operator]
            raise BenchError(
                f"Expected {name} of {type(self).__name__} to be {expected}, got {value!r}: set rule.{name}."
            )


def is_number(value: object) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
