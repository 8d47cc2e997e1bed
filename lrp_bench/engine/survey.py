"""Which row of the table each operator on the way of the relevance has, and what is refused for having none."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import fx

from lrp_bench.contracts import BenchError
from lrp_bench.engine.analysis import active_nodes, carriers, is_getitem, module_names, operator_name
from lrp_bench.engine.capture import Program
from lrp_bench.engine.embedding import token_embedding
from lrp_bench.engine.layouts import Layout, Layouts, layouts
from lrp_bench.engine.operators import OPERATORS, Operator, Role, Sign

GETITEM = Operator(Role.OWN_GRADIENT, Sign.INHERITED)
EMBEDDING = Operator(Role.STOPS, keeps_zero=False)
FIRST_OPERAND = ("norm", "pool", "convolution")  # the others' activation may be any operand


@dataclass(eq=False)
class Survey:
    """A captured program, and what is known of its nodes before they are rewritten.

    active: what carries relevance; entries: the table's row of each active operator, in the graph's order. Raises
    BenchError for an operator without one.
    """

    program: Program
    active: set[fx.Node] = field(init=False)
    layouts: dict[fx.Node, Layout] = field(init=False)
    entries: dict[fx.Node, Operator] = field(init=False)

    def __post_init__(self) -> None:
        graph = self.program.graph
        self.active, self.layouts = active_nodes(graph), layouts(graph)
        self.entries = {n: self._entry(n) for n in graph.nodes if n in self.active and n.op == "call_function"}

    def sources(self, node: fx.Node) -> list[fx.Node]:
        """The operands that relevance goes to, once per use."""
        return [source for source in carriers(node) if source in self.active]

    def has_rule(self, node: fx.Node) -> bool:
        """Whether the composite chooses the node's rule."""
        entry = self.entries[node]
        return entry.role is Role.UNROLLED or (entry.layer is not None and len(self.sources(node)) == 1)

    def place(self, node: fx.Node) -> Layouts:
        """Where the samples lie in the node's output and in its sources."""
        return Layouts(self.layouts[node], tuple(self.layouts[s] for s in self.sources(node)))

    def _entry(self, node: fx.Node) -> Operator:
        name = operator_name(node)
        entry = GETITEM if is_getitem(node) else EMBEDDING if node.target is token_embedding else OPERATORS.get(name)
        if entry is None:
            raise refusal(node)
        sources = self.sources(node)
        if entry.role in (Role.AFFINE, Role.PASS) and len(sources) != 1:
            raise refusal(node, " of several activations")
        first = entry.kind in FIRST_OPERAND or name in ("aten::linear", "aten::div")
        if first and sources[0] is not node.args[0]:
            raise refusal(node, " whose other operand is an activation")
        if name in ("aten::mean", "aten::sum") and _over_batch(node, self.layouts[sources[0]]):
            raise refusal(node, " over the batch")
        if node.kwargs.get("rounding_mode") is not None:
            raise refusal(node, " with rounding")
        return entry


def refusal(node: fx.Node, detail: str = "") -> BenchError:
    """What to say of an operator that has no rule, or none in this use."""
    where = (module_names(node) or ["the model itself"])[-1]
    return BenchError(
        f"Expected operators that have a relevance rule, got {operator_name(node)}{detail} in {where}: replace it, "
        f"or add a row to lrp_bench/engine/operators.py. Known operators: {', '.join(sorted(OPERATORS))}."
    )


def _over_batch(node: fx.Node, layout: Layout) -> bool:
    """Whether a mean or sum mixes samples, so that none has an explanation of its own."""
    given = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    dims = [given] if isinstance(given, int) else given
    rank = node.args[0].meta["val"].dim()  # type: ignore[union-attr]
    return not dims or layout.axis in [d % rank for d in dims]  # type: ignore[union-attr]
