"""Inputs of integers or truth values that are no token ids: masks, lengths, positions.

They choose, weigh and move activations, which is no way for relevance. What is added to activations, or stands beside
them, is one of them, and would have to be explained.
"""

from __future__ import annotations

from torch import fx

from lrp_bench.engine.capture.capture import INPUT, Program
from lrp_bench.engine.capture.graph import active_nodes, is_floating, made_of, operator_name
from lrp_bench.engine.operators.embedding import COMPANION, not_tokens
from lrp_bench.engine.operators.written.masks import MOVES

ADDS = {"aten::add", "aten::sub", "aten::rsub", "aten::cat", "aten::stack"}
WEIGHS = {"aten::softmax", "aten::_softmax", "aten::_safe_softmax"} | {
    f"aten::{name}" for name in ("amax", "amin", "max", "min", "logsumexp")
}


def check_flags(program: Program) -> list[tuple[str, str]]:
    """The name and type of each input that receives nothing.

    Raises BenchError for one whose numbers are added to activations; scores before a softmax or a maximum may be
    masked that way.
    """
    active, carried = active_nodes(program.graph), {n.meta.get(COMPANION) for n in program.inputs}
    found = []
    for number, node in enumerate(n for n in program.inputs if COMPANION not in n.meta):
        if is_floating(node.meta["val"]) or number in carried:
            continue
        name = node.meta.get(INPUT, f"input {number}")
        _check(node, name, active)
        found.append((name, str(node.meta["val"].dtype)))
    return found


def _check(flag: fx.Node, name: str, active: set[fx.Node]) -> None:
    """Raise BenchError where numbers made of the flag alone become a part of activations, or the output."""
    made = made_of(flag, active)
    if any(_is_part(user, x) for x in made for user in x.users if user not in made):
        raise not_tokens(flag.meta["val"].dtype, f" for {name}, whose numbers become a part of activations")


def _is_part(node: fx.Node, flag: fx.Node) -> bool:
    name = operator_name(node)
    if node.op == "output":
        return True
    if name == "aten::where":
        return flag is not node.args[0] and is_floating(flag.meta["val"])
    return name in ADDS and not _are_scores(node)


def _are_scores(node: fx.Node) -> bool:
    """Whether all that becomes of these numbers is the weights of a softmax, or the largest of them."""
    name = operator_name(node)
    return name in WEIGHS or (name in MOVES and bool(node.users) and all(map(_are_scores, node.users)))
