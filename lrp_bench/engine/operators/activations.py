"""Activation functions that are written out as several operators: one step for all of them.

x - tanh(x), x / (1 + |x|), 0.5 * x * (1 + erf(x / sqrt(2))): what is computed element by element from one activation
is an activation function, through which relevance passes unchanged, whatever the operators in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

from torch import Tensor, fx

from lrp_bench.engine.capture.capture import Program
from lrp_bench.engine.capture.graph import active_nodes, module_names, operands, operator_name

JOINS = {"aten::add", "aten::sub", "aten::mul", "aten::div", "aten::where"}
ELEMENTWISE = JOINS | {
    *(
        "aten::abs",
        "aten::sign",
        "aten::neg",
        "aten::rsub",
        "aten::pow",
        "aten::reciprocal",
        "aten::sqrt",
        "aten::rsqrt",
    ),
    *("aten::exp", "aten::exp2", "aten::expm1", "aten::log", "aten::log1p", "aten::sin", "aten::cos", "aten::erf"),
    *("aten::clamp", "aten::clamp_min", "aten::clamp_max", "aten::ge", "aten::gt", "aten::le", "aten::lt"),
    *("aten::relu", "aten::leaky_relu", "aten::elu", "aten::silu", "aten::softplus", "aten::tanh", "aten::hardtanh"),
    *("aten::sigmoid", "aten::hardsigmoid"),
}


@dataclass(frozen=True, eq=False)
class Activation:
    """An activation function of one tensor; __name__: the operators it is made of, as the coverage shows them."""

    function: Callable[[Tensor], Tensor]
    __name__: str

    def __call__(self, x: Tensor) -> Tensor:
        """Element by element."""
        return self.function(x)


def gather_activations(program: Program) -> None:
    """Put one node in the place of each activation function that is written out within one module, in place."""
    active, base = active_nodes(program.graph), _bases(program)
    for node in reversed(list(program.graph.nodes)):
        if operator_name(node) in JOINS and node in base and node in active:
            region = _region(node, base[node])
            alone = all(set(inner.users) <= region for inner in region - {node})
            same = all(module_names(inner) == module_names(node) for inner in region)
            if len(region) > 1 and alone and same and base[node] in active:
                _replace(program, node, base[node], region)


def _bases(program: Program) -> dict[fx.Node, fx.Node]:
    """Of which node each node is a function, element by element: of its operand, or of what several have in common."""
    base: dict[fx.Node, fx.Node] = {}
    for node in program.graph.nodes:
        if operator_name(node) in ELEMENTWISE:
            given = list(dict.fromkeys(x for x in operands(node) if not _is_number(program, x)))
            lines = [list(_line(x, base)) for x in given]
            common = next((x for x in lines[0] if all(x in line for line in lines)), None) if lines else None
            if common is not None:
                base[node] = common
    return base


def _line(node: fx.Node, base: dict[fx.Node, fx.Node]) -> Iterator[fx.Node]:
    yield node
    while node in base:
        node = base[node]
        yield node


def _is_number(program: Program, node: fx.Node) -> bool:
    constant = program.constant(node)
    return constant is not None and constant.dim() == 0


def _region(node: fx.Node, start: fx.Node) -> set[fx.Node]:
    """The node and what lies between it and the start."""
    inner = [x for x in operands(node) if x is not start and x.op == "call_function"]
    return {node}.union(chain.from_iterable(_region(x, start) for x in inner))


def _replace(program: Program, node: fx.Node, start: fx.Node, region: set[fx.Node]) -> None:
    graph, root = fx.Graph(), dict[str, Tensor]()
    copied = {start: graph.placeholder("x")}
    within = [n for n in program.graph.nodes if n in region]
    for number in dict.fromkeys(x for n in within for x in operands(n) if x.op == "get_attr"):
        root[str(number.target)] = program.constants[str(number.target)]
        copied[number] = graph.get_attr(str(number.target))
    for inner in within:
        copied[inner] = graph.node_copy(inner, copied.__getitem__)
    graph.output(copied[node])
    parts = ", ".join(dict.fromkeys(operator_name(n).removeprefix("aten::") for n in within))
    with program.graph.inserting_before(node):
        whole = program.graph.call_function(Activation(fx.GraphModule(root, graph), f"activation({parts})"), (start,))
    whole.meta = dict(node.meta)
    node.replace_all_uses_with(whole)
    for inner in reversed(within):
        program.graph.erase_node(inner)
