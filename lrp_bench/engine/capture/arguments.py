"""What a model is called with: one tensor, several in order, or several by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

V = TypeVar("V")
Inputs = Tensor | Sequence[Tensor] | Mapping[str, Tensor]


@dataclass(frozen=True)
class Arguments:
    """The tensors, and their names, none where they go by position; order: the names as the caller ordered them."""

    tensors: tuple[Tensor, ...]
    names: tuple[str, ...] = ()
    order: tuple[str, ...] = ()

    @classmethod
    def of(cls, x: Inputs) -> Arguments:
        """A copy, apart from the caller's graph; what is no tensor is left for `check_inputs` to tell."""
        if isinstance(x, Mapping):
            names = tuple(sorted(map(str, x)))
            return cls(tuple(_copy(x[name]) for name in names), names, tuple(map(str, x)))
        return cls(tuple(map(_copy, (x,) if isinstance(x, Tensor) else x)))

    def named(self, parts: Sequence[V]) -> dict[str, V]:
        """One part for each input, as the caller named and ordered them."""
        known = dict(zip(self.names, parts, strict=True))
        return {name: known[name] for name in self.order}


def call(model: Callable[..., Any], tensors: Sequence[Tensor], names: Sequence[str]) -> Any:
    """The model's output for tensors in order, or by name."""
    return model(**dict(zip(names, tensors, strict=True))) if names else model(*tensors)


def _copy(part: Tensor) -> Tensor:
    return part.detach().clone() if isinstance(part, Tensor) else part
