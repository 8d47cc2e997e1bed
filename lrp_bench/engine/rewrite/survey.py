"""Which row of the table each operator on the way of the relevance has, and what is refused for having none."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import fx

from lrp_bench.contracts import BenchError
from lrp_bench.engine.capture.capture import Program
from lrp_bench.engine.capture.graph import (
    active_nodes,
    carriers,
    is_getitem,
    module_names,
    operator_name,
    reached_nodes,
)
from lrp_bench.engine.operators.embedding import token_embedding
from lrp_bench.engine.operators.table import OPERATORS, Operator, Role, Sign, arguments
from lrp_bench.engine.operators.written.activations import Activation
from lrp_bench.engine.rules.batch_axes import Layout, Layouts
from lrp_bench.engine.rules.batch_runs import layouts

GETITEM = Operator(Role.OWN_GRADIENT, Sign.INHERITED)
EMBEDDING = Operator(Role.STOPS, keeps_zero=False)
ACTIVATION = Operator(Role.PASS, keeps_zero=False)
ALONG = {
    f"aten::{name}" for name in ("mean", "sum", "cumsum", "amax", "amin", "max", "min", "topk", "flip", "roll")
} | {
    *("aten::logsumexp", "aten::prod"),
}
FIRST_OPERAND = ("norm", "pool", "convolution")  # the others' activation may be any operand


@dataclass(eq=False)
class Survey:
    """A captured program, and what is known of its nodes before they are rewritten.

    reached: what the input reaches through numbers; active: what of it carries relevance; entries: the table's row of
    each active operator, in the graph's order. Raises BenchError for an operator without one.
    """

    program: Program
    reached: set[fx.Node] = field(init=False)
    active: set[fx.Node] = field(init=False)
    layouts: dict[fx.Node, Layout] = field(init=False)
    entries: dict[fx.Node, Operator] = field(init=False)

    def __post_init__(self) -> None:
        graph = self.program.graph
        for node in graph.nodes:
            if _is_random(node):
                raise BenchError(
                    f"Expected a model in eval mode, which gives the same logits each time, got {operator_name(node)} "
                    f"in {_where(node)}: export model.eval(), and pass training=self.training to functional dropout."
                )
        self.reached, self.active, self.layouts = reached_nodes(graph), active_nodes(graph), layouts(graph)
        self.entries = {n: self._entry(n) for n in graph.nodes if n in self.active and n.op == "call_function"}

    def sources(self, node: fx.Node) -> list[fx.Node]:
        """The operands that relevance goes to, once per use."""
        return [source for source in carriers(node, self.active) if source in self.active]

    def has_rule(self, node: fx.Node) -> bool:
        """Whether the composite chooses the node's rule."""
        entry = self.entries[node]
        return entry.role is Role.UNROLLED or (entry.layer is not None and len(self.sources(node)) == 1)

    def place(self, node: fx.Node) -> Layouts:
        """Where the samples lie in the node's output and in its sources."""
        return Layouts(self.layouts[node], tuple(self.layouts[s] for s in self.sources(node)))

    def _entry(self, node: fx.Node) -> Operator:
        name, entry = operator_name(node), _row(node)
        if entry is None:
            raise refusal(node)
        sources = self.sources(node)
        if entry.role in (Role.AFFINE, Role.PASS) and len(sources) != 1:
            raise refusal(node, " of several activations")
        first = entry.kind in FIRST_OPERAND or entry.role is Role.PASS or name in ("aten::linear", "aten::div")
        if first and sources[0] is not node.args[0]:
            raise refusal(node, " whose other operand is an activation")
        if name in ALONG and _over_batch(node, self.layouts[sources[0]]):
            raise refusal(node, " over the batch")
        detail = _limits(node)
        if detail:
            raise refusal(node, detail)
        return entry


def _row(node: fx.Node) -> Operator | None:
    if isinstance(node.target, Activation):
        return ACTIVATION
    if is_getitem(node):
        return GETITEM
    return EMBEDDING if node.target is token_embedding else OPERATORS.get(operator_name(node))


def refusal(node: fx.Node, detail: str = "") -> BenchError:
    """What to say of an operator that has no rule, or none in this use."""
    return BenchError(
        f"Expected operators that have a relevance rule, got {operator_name(node)}{detail} in {_where(node)}: replace "
        f"it, or add a row to lrp_bench/engine/operators/table.py. Known operators: {', '.join(sorted(OPERATORS))}."
    )


def _where(node: fx.Node) -> str:
    return (module_names(node) or ["the model itself"])[-1]


def _is_random(node: fx.Node) -> bool:
    """Whether the node draws numbers, or normalises by the batch while it trains; recurrent ones are told elsewhere."""
    if operator_name(node) == "aten::_native_batch_norm_legit_functional":
        return True
    if not isinstance(node.target, torch._ops.OpOverload) or torch.Tag.nondeterministic_seeded not in node.target.tags:
        return False
    a = arguments(node, lambda given: given)
    return "dropout" not in a and a.get("train", a.get("training", True)) is not False


def _limits(node: fx.Node) -> str:
    """Which of its options an operator has no rule for; empty where all is well."""
    name, given = operator_name(node), dict(node.kwargs)
    if given.get("rounding_mode") is not None:
        return " with rounding"
    if name == "aten::index_put" and True in (*node.args[3:], *given.values()):
        return " that accumulates"
    if name == "aten::pow" and not (isinstance(node.args[1], int | float) and node.args[1] != 0):
        return " with this exponent"
    return ""


def _over_batch(node: fx.Node, layout: Layout) -> bool:
    """Whether an operator along some dimensions mixes samples, so that none has an explanation of its own."""
    a = arguments(node, lambda given: given)
    given = a.get("dim", a.get("dims"))
    dims = [given] if isinstance(given, int) else given
    rank = node.args[0].meta["val"].dim()  # type: ignore[union-attr]
    return "other" not in a and (not dims or layout.axis in [d % rank for d in dims])
