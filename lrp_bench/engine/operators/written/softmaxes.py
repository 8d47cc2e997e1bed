"""Softmax that is written out: exp(x) / sum exp(x) is one operator, with or without the maximum taken off.

Its logarithm is log_softmax, and so is x - logsumexp(x).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from lrp_bench.contracts import BenchError
from lrp_bench.engine.capture.capture import Program
from lrp_bench.engine.capture.graph import (
    is_scale,
    module_names,
    operands,
    operator_name,
    reached_nodes,
    remove_unused,
)

SOFTMAX = ("aten::softmax", "aten::_softmax")
SPREADS = {  # what a sum may go through on its way into a denominator
    f"aten::{name}"
    for name in ("add", "mul", "div", "pow", "clamp", "clamp_min", "expand", "reshape", "unsqueeze", "reciprocal")
}


def gather_softmaxes(program: Program) -> None:
    """Put softmax and log_softmax in their place, in place.

    Raises BenchError for other quotients of exponentials by their own sum, which are softmax all the same.
    """
    reached = reached_nodes(program.graph)
    for node in [n for n in program.graph.nodes if n in reached and not n.kwargs]:
        name: str = operator_name(node)
        first: Any = node.args[0] if node.args else None
        if name in ("aten::div", "aten::mul"):
            for top, below in _quotients(node, reached):
                _as_softmax(node, top, below)
        elif name == "aten::sub":
            _as_log_softmax(node, first, node.args[1])
        elif name == "aten::log" and operator_name(first) in SOFTMAX:
            _become(node, torch.ops.aten.log_softmax.int, *first.args[:2])
    remove_unused(program.graph)


def _quotients(node: fx.Node, reached: set[fx.Node]) -> list[tuple[fx.Node, fx.Node]]:
    """The pairs a, b of which the node is a / b, or a times what has 1 / b in it."""
    if not all(isinstance(x, fx.Node) for x in node.args):
        return []
    first, second = operands(node)
    if operator_name(node) == "aten::div":
        return [(first, second)]
    return [(a, _inverted(b)) for a, b in ((first, second), (second, first)) if is_scale(b, reached)]


def _inverted(node: fx.Node) -> fx.Node:
    """The operand of a reciprocal, which torch.export spells reciprocal(b) * 1; any other node as it is."""
    if operator_name(node) == "aten::mul" and node.args[1] == 1:
        return _inverted(operands(node)[0])
    return operands(node)[0] if operator_name(node) == "aten::reciprocal" else node


def _as_softmax(node: fx.Node, top: fx.Node, below: fx.Node) -> None:
    """The quotient top / below, if it is one of exponentials by their sum."""
    raised = _exponential(top)
    if raised is None or not _sums(below, raised):
        return
    dim = _along(below, raised) if top is raised else None
    if dim is None:
        raise BenchError(
            f"Expected softmax as torch.softmax or as exp(x) / exp(x).sum(dim, keepdim=True), got {node.name} in "
            f"{(module_names(node) or ['the model itself'])[-1]}: use torch.softmax, with masked_fill(mask, -inf) "
            "before it for a mask."
        )
    _become(node, torch.ops.aten.softmax.int, _unshifted(operands(raised)[0], dim), dim)


def _as_log_softmax(node: fx.Node, x: Any, sums: Any) -> None:
    """The difference x - sums, if sums is logsumexp(x), or log of sum of exp."""
    if operator_name(sums) == "aten::logsumexp" and sums.args[0] is x and sums.args[2:] == (True,):
        if len(sums.args[1]) == 1:
            _become(node, torch.ops.aten.log_softmax.int, x, sums.args[1][0])
    elif operator_name(sums) == "aten::log" and isinstance(x, fx.Node):
        raised = next((user for user in x.users if operator_name(user) == "aten::exp"), None)
        dim = None if raised is None else _along(sums.args[0], raised)
        if dim is not None:
            _become(node, torch.ops.aten.log_softmax.int, _unshifted(x, dim), dim)


def _exponential(node: fx.Node) -> fx.Node | None:
    """The exponential among what are factors of the node."""
    if operator_name(node) == "aten::exp":
        return node
    factors = operands(node) if operator_name(node) in ("aten::mul", "aten::masked_fill") else []
    return next((found for x in factors if (found := _exponential(x)) is not None), None)


def _sums(node: fx.Node, raised: fx.Node) -> bool:
    """Whether the node is made of a sum of the exponentials."""
    if operator_name(node) == "aten::sum":
        return _same(_exponential(operands(node)[0]), raised)
    return operator_name(node) in SPREADS and any(_sums(x, raised) for x in operands(node))


def _same(node: Any, raised: fx.Node) -> bool:
    """Whether the node is this exponential, or the same of the same."""
    return node is raised or (operator_name(node) == "aten::exp" and node.args == raised.args)


def _along(node: Any, raised: fx.Node) -> int | None:
    """The one dimension of sum(exp(x), dim, keepdim=True); None for anything else."""
    kept = operator_name(node) == "aten::sum" and node.args[2:] == (True,)
    return node.args[1][0] if kept and _same(node.args[0], raised) and len(node.args[1]) == 1 else None


def _unshifted(x: fx.Node, dim: int) -> fx.Node:
    """The node without what is taken off along the dimension, its maximum say, which changes nothing."""
    if operator_name(x) != "aten::sub" or x.kwargs or not all(isinstance(n, fx.Node) for n in x.args):
        return x
    plain, off = (n.meta["val"] for n in operands(x))
    axis = dim % plain.dim() - plain.dim()
    alike = off.dim() < -axis or off.shape[axis] == 1
    return operands(x)[0] if alike else x


def _become(node: fx.Node, target: torch._ops.OpOverload, x: fx.Node, dim: int) -> None:
    node.target, node.args = target, (x, dim)
