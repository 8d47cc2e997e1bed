"""Which activations are known from the graph to be never negative: the signed rules have half the work there."""

from __future__ import annotations

from torch import Tensor, fx

from lrp_bench.engine.operators.table import Role, Sign
from lrp_bench.engine.rewrite.survey import Survey


def nonnegative(survey: Survey) -> set[fx.Node]:
    """The operators whose output is at least zero, whatever the input."""
    found: set[fx.Node] = set()
    for node, entry in survey.entries.items():
        inherits = entry.sign is Sign.INHERITED and _inherits(survey, node, found)
        if entry.sign is Sign.NONNEGATIVE or inherits:
            found.add(node)
    return found


def _inherits(survey: Survey, node: fx.Node, found: set[fx.Node]) -> bool:
    known = (Tensor, tuple, list)
    sources = [s for s in node.all_input_nodes if s.op == "get_attr" or isinstance(s.meta.get("val"), known)]
    adds_constant = survey.entries[node].role is Role.SPLIT and (len(node.all_input_nodes) != 2 or node.kwargs)
    if adds_constant or (
        survey.entries[node].fills and _fills_below_zero(node)
    ):  # a sum with a plain number or a factor may fall below zero
        return False
    return all(source in found or _at_least_zero(survey.program.constant(source)) for source in sources)


def _at_least_zero(constant: Tensor | None) -> bool:
    return constant is not None and (not constant.is_floating_point() or bool((constant >= 0).all()))


def _fills_below_zero(node: fx.Node) -> bool:
    """Whether padding or masking may put a negative number among the values."""
    return any(isinstance(x, int | float) and x < 0 for x in (*node.args, *node.kwargs.values()))
