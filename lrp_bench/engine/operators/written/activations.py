"""Activation functions that are written out as several operators: one step for all of them.

x - tanh(x), x / (1 + |x|), log(1 + exp(x)), 0.5 * x * (1 + erf(x / sqrt(2))): what is computed element by element from
one activation is an activation function, through which relevance passes unchanged, whatever the operators in between.
A number that is added before the first curve or after the last one is a bias, as in a layer; where the whole is a
function of the library, like 0.5 + 0.5 * tanh(x / 2), which is the sigmoid, it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, fx

from lrp_bench.engine.capture.capture import Program
from lrp_bench.engine.capture.graph import (
    SCALE,
    is_floating,
    is_scale,
    module_names,
    operands,
    operator_name,
    reached_nodes,
)
from lrp_bench.engine.operators.table import OPERATORS, Role
from lrp_bench.engine.operators.written.library import library_name

SHIFTS = {"aten::add", "aten::sub", "aten::rsub"}
AFFINE = SHIFTS | {"aten::mul", "aten::div", "aten::neg"}  # with a number
FACTORS = {"aten::mul", "aten::div", "aten::prelu", "aten::_prelu_kernel"}
FILLS = SHIFTS | {"aten::where", "aten::masked_fill", "aten::maximum", "aten::minimum"}
CHOICES = ("ge", "gt", "le", "lt", "eq", "ne", "logical_and", "logical_or", "logical_not", "bitwise_and", "bitwise_or")
ELEMENTWISE = {
    *(name for name, row in OPERATORS.items() if row.role is Role.PASS),
    *(AFFINE | FILLS),
    *(f"aten::{name}" for name in (*CHOICES, "sign", "bitwise_not", "zeros_like", "ones_like", "full_like")),
}


@dataclass(frozen=True, eq=False)
class Activation:
    """An activation function of one tensor.

    __name__: the operators it is made of, as the coverage shows them. like: the operator of the library that it is.
    """

    function: Callable[[Tensor], Tensor]
    __name__: str
    like: str = ""

    def __call__(self, x: Tensor) -> Tensor:
        """Element by element."""
        return self.function(x)


def gather_activations(program: Program) -> None:
    """Put one node in the place of each activation function that is written out, in place."""
    _write_reciprocals(program)
    gathering = _Gathering(program)
    for node in reversed(list(program.graph.nodes)):
        gathering.gather(node)


def _write_reciprocals(program: Program) -> None:
    """Where the numerator does not depend on the input, c / g(x) as c * (1 / g(x)): the reciprocal is an activation."""
    reached = reached_nodes(program.graph)
    for node in program.graph.nodes:
        if operator_name(node) == "aten::div" and node in reached and len(node.args) == 2 and not node.kwargs:
            constant, divisor = node.args
            if constant not in reached:
                with program.graph.inserting_before(node):
                    inverse = program.graph.call_function(torch.ops.aten.reciprocal.default, (divisor,))
                inverse.meta = {**node.meta, "val": divisor.meta["val"]}
                node.target, node.args = torch.ops.aten.mul.Tensor, (inverse, constant)


class _Gathering:
    """base: of which node each node is a function, element by element: its operand, or what several have in common."""

    def __init__(self, program: Program) -> None:
        self.program, self.reached = program, reached_nodes(program.graph)
        self.base: dict[fx.Node, fx.Node] = {}
        self.gone: set[fx.Node] = set()
        for node in program.graph.nodes:
            if operator_name(node) in ELEMENTWISE:
                self.find_base(node)

    def find_base(self, node: fx.Node) -> None:
        lines = [list(self.line(x)) for x in dict.fromkeys(self.inputs(node))]
        common = next((x for x in lines[0] if all(x in line for line in lines)), None) if lines else None
        if common is not None and _shape(common) == _shape(node):
            self.base[node] = common

    def line(self, node: fx.Node) -> Iterator[fx.Node]:
        yield node
        while node in self.base:
            node = self.base[node]
            yield node

    def inputs(self, node: fx.Node) -> list[fx.Node]:
        """The operands that are no constants, once per use; a factor may differ from feature to feature."""
        return [x for x in operands(node) if not self.is_constant(x, any_size=operator_name(node) in FACTORS)]

    def is_constant(self, node: fx.Node, *, any_size: bool) -> bool:
        constant = self.program.constant(node)
        return constant is not None and (any_size or constant.numel() == 1)

    def gather(self, node: fx.Node) -> None:
        if node in self.base and node in self.reached and node not in self.gone:
            line = [x for x in self.line(node) if is_floating(x.meta.get("val"))]
            found = self.known(node, line) or self.curve(node, line)
            if found is not None:
                self.replace(node, *found)

    def known(self, node: fx.Node, line: list[fx.Node]) -> tuple[fx.Node, set[fx.Node], str] | None:
        """The start and region of a function of the library, rather f itself than f of a multiple."""
        found = None
        for start in line[1:]:
            region = self.region(node, start)
            if len(region) > 1 and any(map(self.fills, region)) and self.alone(node, region):
                copied = self.copied(node, start, region)
                single = all(constant.numel() == 1 for constant in copied.buffers())
                name, exact = library_name(copied, start.meta["val"].device) if single else ("", False)
                if exact or (name and found is None and operator_name(node) != "aten::neg"):
                    found = start, region, name
                if exact:
                    break
        return found

    def curve(self, node: fx.Node, line: list[fx.Node]) -> tuple[fx.Node, set[fx.Node], str] | None:
        """The start and region of what ends in a curve and begins with one, with what is affine between."""
        curved = [self.curved(*pair) for pair in pairwise(line)]
        if not curved or not curved[0]:
            return None
        end = 1
        for i, (before, this) in enumerate(pairwise(curved), 2):
            if before and this:
                break
            end = i if this else end
        for i in reversed(range(end)):
            region = self.region(node, line[i + 1])
            several = len(region) > 1 or self.needs_one(node)
            if curved[i] and several and self.alone(node, region):
                return line[i + 1], region, ""
        return None

    def curved(self, node: fx.Node, start: fx.Node) -> bool:
        """Whether the node is no affine function of the start."""
        return any(self.bends(inner) for inner in self.region(node, start))

    def bends(self, node: fx.Node) -> bool:
        name, given = operator_name(node), self.inputs(node)
        several = len(given) > 1 and name not in SHIFTS
        return name not in AFFINE or several or (name == "aten::div" and given != [node.args[0]])

    def fills(self, node: fx.Node) -> bool:
        """Whether the node puts a number beside a value, as a bias does."""
        name = operator_name(node)
        beside = len(self.inputs(node)) < (3 if name == "aten::where" else 2)
        return name in FILLS and beside

    def needs_one(self, node: fx.Node) -> bool:
        """Whether a single operator has no rule of its own: 2 ** x, x / x."""
        return (operator_name(node) == "aten::pow" and not isinstance(node.args[0], fx.Node)) or (
            operator_name(node) == "aten::div" and self.bends(node)
        )

    def region(self, node: fx.Node, start: fx.Node) -> set[fx.Node]:
        """The node and what lies between it and the start."""
        found, waiting = {node}, [node]
        while waiting:
            inner = [x for x in self.inputs(waiting.pop()) if x is not start and x not in found]
            found.update(inner)
            waiting.extend(inner)
        return found

    def alone(self, node: fx.Node, region: set[fx.Node]) -> bool:
        """Nothing else may use what lies within; modules stay apart where that makes no difference."""
        used = all(set(inner.users) <= region for inner in region - {node})
        same = all(module_names(inner) == module_names(node) for inner in region)
        return used and (same or any(map(self.fills, region)))

    def copied(self, node: fx.Node, start: fx.Node, region: set[fx.Node]) -> fx.GraphModule:
        graph, root, copied = fx.Graph(), dict[str, Tensor](), dict[fx.Node, fx.Node]()
        copied[start] = graph.placeholder("x")
        within = self.within(region)
        for number in dict.fromkeys(x for n in within for x in operands(n) if x.op == "get_attr"):
            root[str(number.target)] = self.program.constants[str(number.target)]
            copied[number] = graph.get_attr(str(number.target))
        for inner in within:
            copied[inner] = graph.node_copy(inner, copied.__getitem__)
        graph.output(copied[node])
        return fx.GraphModule(root, graph)

    def within(self, region: set[fx.Node]) -> list[fx.Node]:
        return [n for n in self.program.graph.nodes if n in region]

    def replace(self, node: fx.Node, start: fx.Node, region: set[fx.Node], like: str) -> None:
        within = self.within(region)
        parts = ", ".join(dict.fromkeys(operator_name(n).removeprefix("aten::") for n in within))
        function = Activation(self.copied(node, start, region), f"activation({parts})", like)
        with self.program.graph.inserting_before(node):
            whole = self.program.graph.call_function(function, (start,))
        whole.meta = {**node.meta, SCALE: not like and is_scale(node, self.reached)}
        node.replace_all_uses_with(whole)
        for inner in reversed(within):
            self.program.graph.erase_node(inner)
        self.gone |= region


def _shape(node: fx.Node) -> object:
    value = node.meta.get("val")
    return value.shape if isinstance(value, Tensor) else None
