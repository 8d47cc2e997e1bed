"""Where the samples of a batch lie in an activation: not always along its first dimension.

Attention works on (tokens, batch, features), on (tokens * batch, features), on (batch * windows, ...): the ledger
counts per sample all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, fx

from lrp_bench.engine.capture.graph import operator_name

REINTERPRETS = {f"aten::{name}" for name in ("reshape", "flatten", "unflatten")}


@dataclass(frozen=True)
class Layout:
    """Dimension `axis` holds outer * batch * inner entries, in that order."""

    axis: int = 0
    outer: int = 1
    inner: int = 1

    @property
    def plain(self) -> bool:
        """Whether each row along the first dimension is (a part of) one sample."""
        return self.axis == 0 and self.outer == 1

    def per_sample(self, x: Tensor) -> Tensor:
        """Sum over everything but the samples: (batch,)."""
        if self == Layout():
            return x.flatten(1).sum(1) if x.dim() > 1 else x
        first = x.movedim(self.axis, 0)
        return first.reshape(self.outer, -1, self.inner * first[:1].numel()).sum((0, 2))


@dataclass(frozen=True)
class Layouts:
    """Of an operator's output, and of each operand that relevance goes to."""

    out: Layout
    sources: tuple[Layout, ...]


PLAIN = Layouts(Layout(), (Layout(),))
PAIR = Layouts(Layout(), (Layout(), Layout()))


def layouts(graph: fx.Graph) -> dict[fx.Node, Layout]:
    """The layout of every node's value, told by the symbol of the batch size in its shape; else the plain one."""
    batch = next((s for n in graph.nodes if n.op == "placeholder" for s in _shape(n) if _symbolic(s)), None)
    found: dict[fx.Node, Layout] = {}
    for node in graph.nodes:
        axis = next((i for i, size in enumerate(_shape(node)) if _symbolic(size)), None)
        found[node] = Layout() if axis is None else _layout(node, axis, batch, found)
    return found


def _layout(node: fx.Node, axis: int, batch: Any, found: dict[fx.Node, Layout]) -> Layout:
    multiple = _shape(node)[axis].node.expr / batch.node.expr
    if not multiple.is_Integer or multiple == 1:
        return Layout(axis)
    count = int(multiple)
    source = next((s for s in node.all_input_nodes if any(map(_symbolic, _shape(s)))), None)
    inner = count
    if source is not None and operator_name(node) in REINTERPRETS:  # the order of the entries stays
        known = found[source]
        step = known.inner * prod(_shape(source)[known.axis + 1 :])
        inner = max(1, step // prod(_shape(node)[axis + 1 :]))
    elif source is not None and found[source].outer * found[source].inner == count:
        inner = found[source].inner
    return Layout(axis, count // inner, inner)


def _shape(node: fx.Node) -> tuple[Any, ...]:
    value = node.meta.get("val")
    value = value[0] if isinstance(value, tuple | list) and value else value
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _symbolic(size: object) -> bool:
    return isinstance(size, torch.SymInt) and not size.node.is_constant()
