"""What can be said about a captured graph before it runs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable

import torch
from torch import fx

ABSORBED = "lrp_absorbed"  # in a node's meta: modules whose work this node does as well

LIKE = {  # these take from their input its shape, and no value
    f"aten::{name}"
    for name in ("zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty")
}


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


def active_nodes(graph: fx.Graph) -> set[fx.Node]:
    """The nodes through which the network's input reaches the output as numbers that can carry relevance."""
    reached: set[fx.Node] = set()
    for node in graph.nodes:
        called = depends(node) and any(source in reached for source in node.all_input_nodes)
        if (called or node.op == "placeholder") and _is_floating(node.meta.get("val")):
            reached.add(node)
    needed: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node.op == "output" or node in needed:
            needed.update(node.all_input_nodes)
    return reached & needed


def depends(node: fx.Node) -> bool:
    """Whether the node computes something from the values of its inputs."""
    return node.op == "call_function" and operator_name(node) not in LIKE


def _is_floating(value: object) -> bool:
    if isinstance(value, tuple | list):
        return any(_is_floating(v) for v in value)
    return isinstance(value, torch.Tensor) and value.is_floating_point()


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
