"""Masks that are added: where a huge number, or infinity, drowns what it is added to, no share is taken of it.

-inf, -1e9 or the least number of a type on a score leave a weight of exactly zero behind the softmax, and so no
relevance arrives there; but a share of infinity is no number, and neither is the square of the least one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from lrp_bench.engine.capture.capture import Program
from lrp_bench.engine.capture.graph import is_floating, operator_name
from lrp_bench.engine.operators.per_batch import LateStep
from lrp_bench.engine.operators.steps import SumStep, valued
from lrp_bench.engine.operators.trace import Trace

MOVES = {  # and thereby keep what is huge
    *(
        "aten::add",
        "aten::sub",
        "aten::rsub",
        "aten::mul",
        "aten::div",
        "aten::neg",
        "aten::where",
        "aten::masked_fill",
    ),
    *("aten::reshape", "aten::permute", "aten::transpose", "aten::unsqueeze", "aten::squeeze", "aten::expand"),
    *("aten::slice", "aten::select", "aten::cat", "aten::stack", "aten::clone", "aten::_to_copy", "aten::repeat"),
    *("aten::full", "aten::full_like", "aten::new_full", "aten::index", "aten::tril", "aten::triu"),
    "aten::masked_fill",
}
MASK = 100.0  # a larger number among those that are added may be a mask's
UNBOUNDED = {"aten::log", "aten::log2", "aten::log10", "aten::reciprocal"}  # of zero


def threshold(dtype: torch.dtype) -> float:
    """From here on a square is infinite, and an activation that is added is lost in rounding."""
    return float(torch.finfo(dtype).max ** 0.5)


def drowned(x: Tensor) -> Tensor:
    """Where x is that large: bool, the shape of x."""
    return x.abs() >= threshold(x.dtype)


class MaskedStep(nn.Module):
    """A sum or a scale, element by element, some of whose values may be drowned.

    The values are the operator's own; where they are drowned, the operands are taken for zero and receive nothing.
    adds: all but the first operand are constants that are added to it; where these are zero, relevance just passes.
    """

    def __init__(self, step: LateStep | SumStep, *, adds: bool) -> None:
        super().__init__()
        self.step, self.adds = step, adds

    def forward(self, *operands: Any, trace: Trace | None) -> Tensor:
        """The operator's output."""
        z = self.step.value(*(x.detach() if isinstance(x, Tensor) else x for x in operands))
        out = drowned(z)
        finite = [_without(x, out) if is_floating(x) else x for x in operands]
        shared = self.step(*finite, trace=trace)
        if self.adds and len(finite) > 1:
            shared = torch.where(torch.stack([(x == 0).expand_as(z) for x in finite[1:]]).all(0), finite[0], shared)
        return valued(shared, z)


def _without(x: Tensor, out: Tensor) -> Tensor:
    """Zero where the outcome is drowned, or, of what is broadcast, where x is."""
    return torch.where(out if x.shape == out.shape else drowned(x), 0.0, x)


def masking(program: Program) -> set[fx.Node]:
    """The nodes some of whose values may be a mask's, as far as the graph tells."""
    found: set[fx.Node] = set()
    for node in program.graph.nodes:
        kept = operator_name(node) in MOVES and (_huge(node) or any(x in found for x in node.all_input_nodes))
        made = operator_name(node) in UNBOUNDED and is_floating(node.meta.get("val"))
        if kept or made or _holds_huge(program, node):
            found.add(node)
    return found


def _holds_huge(program: Program, node: fx.Node) -> bool:
    """Whether a constant that is moved or added, and so no weight, has such numbers."""
    constant = program.constant(node)
    used = constant is not None and any(operator_name(user) in MOVES for user in node.users)
    return constant is not None and used and constant.is_floating_point() and bool((constant.abs() > MASK).any())


def _huge(node: fx.Node) -> bool:
    """Whether a number among the arguments is that of a mask."""
    numbers = [x for x in (*node.args, *node.kwargs.values()) if isinstance(x, int | float)]
    return is_floating(node.meta.get("val")) and any(abs(x) > MASK for x in numbers)
