"""What a model returns: which of its tensors holds the logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, fx, nn

from lrp_bench.contracts import BenchError
from lrp_bench.engine.capture.arguments import call


def named_leaves(value: object, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every tensor (or graph node) in a tuple, mapping, or dataclass, by index, key or field: `logits`, `1.hidden`."""
    if isinstance(value, Tensor | fx.Node):
        yield name, value
        return
    for key, part in _parts(value):
        yield from named_leaves(part, f"{name}.{key}".lstrip("."))


def _parts(value: object) -> list[tuple[object, object]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    return list(enumerate(value)) if isinstance(value, tuple | list) else []


class FlatOutput(nn.Module):
    """A model that returns its output tensors as one tuple, and tells `record` what they are called.

    It takes its inputs in order; names: under which the model takes them, empty where it does so in order, too.
    """

    def __init__(self, model: nn.Module, record: Callable[[list[str]], object], names: Sequence[str] = ()) -> None:
        super().__init__()
        self.model, self.record, self.names = model, record, tuple(names)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """All tensors of the model's output, in its order."""
        leaves = list(named_leaves(call(self.model, inputs, self.names)))
        self.record([name for name, _ in leaves])
        return tuple(leaf for _, leaf in leaves)


def choose_output(leaves: Sequence[tuple[str, fx.Node]], output: int | str | None) -> fx.Node:
    """The node of the logits: the one that is asked for, else the only floating (batch, classes).

    Raises BenchError where there is none, or more than one, with their names.
    """
    listed = "; ".join(_described(*leaf) for leaf in leaves)
    if output is not None:
        chosen = [leaf for name, leaf in leaves if name == str(output)]
        expected, got = f"output to name one of the model's tensors ({listed})", repr(output)
    else:
        chosen = [leaf for _, leaf in leaves if len(leaves) == 1 or _is_table(leaf)]
        expected, got = "one output tensor", f"{len(leaves)}: {listed}" if leaves else "no tensor"
    if len(chosen) != 1:
        raise BenchError(f"Expected {expected}, got {got}; say which one holds the logits: LRP(..., output=...).")
    return chosen[0]


def _is_table(leaf: fx.Node) -> bool:
    value = leaf.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point() and value.dim() == 2


def _described(name: str, leaf: fx.Node) -> str:
    value = leaf.meta["val"]
    sizes = ", ".join(str(size) if isinstance(size, int) else "batch" for size in value.shape)
    return f"{name!r} {value.dtype} ({sizes})"
