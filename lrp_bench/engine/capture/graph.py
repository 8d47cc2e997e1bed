"""What can be said about a captured graph before it runs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable

import torch
from torch import fx

FILLED = ("new_zeros", "new_ones", "new_full", "new_empty", "zeros_like", "ones_like", "full_like", "empty_like")
SHAPE_ONLY = {f"aten::{name}" for name in FILLED}  # made after the pattern of a tensor, whatever its values
KEEPS_SCALE = {  # a scale that is moved, or held within bounds
    f"aten::{name}"
    for name in (
        *("expand", "reshape", "unsqueeze", "squeeze", "transpose", "permute", "select", "slice", "_to_copy", "clone"),
        *("clamp", "clamp_min", "clamp_max", "minimum", "maximum", "where", "neg", "mul"),
    )
}
SCALE = "lrp_scale"  # in a node's meta: whether what several operators became is a scale
ABSORBED = "lrp_absorbed"  # in a node's meta: modules whose work this node does as well


def operator_name(node: object) -> str:
    """`aten::conv2d` for torch.ops.aten.conv2d.default; the target's own name for any other call; else empty."""
    if not isinstance(node, fx.Node) or node.op != "call_function":
        return ""
    return str(node.target._schema.name) if isinstance(node.target, torch._ops.OpOverload) else node.target.__name__  # type: ignore[union-attr]


def is_getitem(node: fx.Node) -> bool:
    """Whether the node picks one of several outputs."""
    return node.target is operator.getitem


def module_names(node: fx.Node) -> list[str]:
    """The modules a node was called in, outermost first; a second call of a module is `name@1`."""
    stack: dict[str, tuple[str, object]] = node.meta.get("nn_module_stack") or {}
    names = []
    for key, (path, _) in stack.items():
        _, at, call = key.rpartition("@")
        names.append(f"{path}@{call}" if at and call.isdigit() and path else path)
    return [name for name in names if name]


def absorb(node: fx.Node, removed: fx.Node) -> None:
    """Note that `node` now does the work of `removed`, so that the relevance of its modules can still be told."""
    outer = module_names(node)
    names = [name for name in module_names(removed) if name not in outer]
    node.meta[ABSORBED] = [*node.meta.get(ABSORBED, []), *names, *removed.meta.get(ABSORBED, [])]


def reached_nodes(graph: fx.Graph) -> set[fx.Node]:
    """The nodes whose numbers the network's input reaches through numbers."""
    reached: set[fx.Node] = set()
    for node in graph.nodes:
        called = node.op == "call_function" and any(source in reached for source in carriers(node, reached))
        if (called or node.op == "placeholder") and is_floating(node.meta.get("val")):
            reached.add(node)
    return reached


def active_nodes(graph: fx.Graph) -> set[fx.Node]:
    """The nodes through which the network's input reaches the output as numbers that can carry relevance."""
    reached = reached_nodes(graph)
    needed: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node.op == "output" or (node in needed and node in reached):
            needed.update(carriers(node, reached))
    return reached & needed


def ancestors(node: fx.Node) -> set[fx.Node]:
    """What a node is computed from."""
    found = {node}
    for earlier in reversed(node.graph.nodes):
        if any(user in found for user in earlier.users):
            found.add(earlier)
    return found - {node}


def made_of(source: fx.Node, active: set[fx.Node]) -> set[fx.Node]:
    """The source, and what is computed from it that carries no relevance; places that are looked up are their own."""
    found = {source}
    for node in source.graph.nodes:
        within = node.op == "call_function" and node not in active and operator_name(node) != "aten::embedding"
        if within and any(x in found for x in operands(node)):
            found.add(node)
    return found


def operands(node: fx.Node) -> list[fx.Node]:
    """The nodes among the arguments, once per use: x * x has two."""
    found: list[fx.Node] = []
    fx.map_arg((node.args, node.kwargs), found.append)
    return found


def carriers(node: fx.Node, reached: set[fx.Node]) -> list[fx.Node]:
    """The operands that may receive relevance: not the scale of a normalisation written out, not a tensor's mere shape.

    x / g(x) and x * rsqrt(g(x)): the scale is taken for a constant, as in layer norm (Achtibat et al. 2024), where the
    input reaches the other operand. Of c / g(x) and c * rsqrt(g(x)) the scale is all that depends on the input.
    """
    name, given = operator_name(node), operands(node)
    if name in SHAPE_ONLY:
        return []
    if name == "aten::div":
        signals = given[:1]
    elif name == "aten::mul":
        signals = [x for x in given if not is_scale(x, reached)]
    else:
        return given
    return signals if any(x in reached for x in signals) else given


def is_scale(node: fx.Node, reached: set[fx.Node]) -> bool:
    """Whether the node is one over what the input reaches, times constants or others of its kind."""
    name = operator_name(node)
    if SCALE in node.meta:
        return bool(node.meta[SCALE])
    sources = [x for x in operands(node) if x in reached]
    if name == "aten::div" and sources:
        return sources[0] is not node.args[0] or is_scale(sources[0], reached)
    if name in KEEPS_SCALE:
        return bool(sources) and all(is_scale(x, reached) for x in sources)
    exponent = node.args[1] if name == "aten::pow" and len(node.args) > 1 else 0
    return name in ("aten::rsqrt", "aten::reciprocal") or (isinstance(exponent, int | float) and exponent < 0)


def is_floating(value: object) -> bool:
    """Whether a value, or any of several, is a tensor of floating-point numbers."""
    if isinstance(value, tuple | list):
        return any(is_floating(v) for v in value)
    return isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())


def forward_count(
    nodes: Iterable[fx.Node], counts: Callable[[fx.Node], bool], towards: Callable[[fx.Node], Iterable[fx.Node]]
) -> dict[fx.Node, int]:
    """For each node the largest number of counted nodes on a way `towards` its inputs (or its users)."""
    seen: dict[fx.Node, int] = {}
    for node in nodes:
        seen[node] = max((seen[n] + counts(n) for n in towards(node) if n in seen), default=0)
    return seen


def remove_unused(graph: fx.Graph) -> None:
    """Erase what does not lead to the output."""
    graph.eliminate_dead_code(is_impure_node=lambda node: node.op in ("placeholder", "output"))
