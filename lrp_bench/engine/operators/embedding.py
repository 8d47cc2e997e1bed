"""Token ids: relevance stops at the embedding's output and is summed over the embedding axis, one number per token.

Ids have no gradient, so each input of ids gets a companion of floating-point zeros which is moved as the ids are; the
embedding hands each token's relevance to the companion.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from lrp_bench.contracts import BenchError
from lrp_bench.engine.capture.capture import Program
from lrp_bench.engine.capture.graph import (
    SHAPE_ONLY,
    active_nodes,
    ancestors,
    is_floating,
    is_getitem,
    made_of,
    operator_name,
    remove_unused,
)
from lrp_bench.engine.operators.table import OPERATORS, Role
from lrp_bench.transfers import refuse_where

COMPANION = "lrp_companion"  # in the meta of a placeholder that receives the relevance of ids: which input's
IN_PLACE = {  # these change ids, but leave each where it is
    *("aten::_to_copy", "aten::add", "aten::sub", "aten::mul", "aten::remainder", "aten::where", "aten::masked_fill"),
    *("aten::clamp", "aten::clamp_min", "aten::clamp_max"),
}


def token_embedding(weight: Tensor, ids: Tensor, companion: Tensor) -> Tensor:
    """Rows of weight (vocabulary, features) for ids (batch, ...): (batch, ..., features).

    companion: the shape of ids; its gradient is the relevance of each token. Raises BenchError for ids out of range.
    """
    return _Look.apply(companion, weight, ids)  # type: ignore[no-any-return]


class _Look(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, companion: Tensor, weight: Tensor, ids: Tensor) -> Tensor:
        refuse_where((ids < 0) | (ids >= len(weight)), lambda: _unknown_ids(ids, len(weight)))
        return torch.nn.functional.embedding(ids.clamp(0, len(weight) - 1), weight)

    @staticmethod
    def backward(ctx: Any, R: Tensor) -> tuple[Tensor, None, None]:
        return R.sum(-1), None, None


def _unknown_ids(ids: Tensor, vocabulary: int) -> BenchError:
    return BenchError(
        f"Expected token ids from 0 to {vocabulary - 1}, got {int(ids.min())} to {int(ids.max())}: use the vocabulary "
        "that the model was trained with."
    )


def carry_tokens(program: Program) -> None:
    """Give each input of ids that feed an embedding a companion, in place; other inputs of integers may be masks."""
    companions, places = _Companions(program), []
    for node in [n for n in program.graph.nodes if operator_name(n) == "aten::embedding"]:
        try:
            companions.carry(node)
        except BenchError as error:
            places.append((node, error))
    remove_unused(program.graph)
    for node, reason in places:
        companions.check_place(node, reason)
    for companion in companions.inputs.values():
        if not companion.users:
            program.graph.erase_node(companion)


def not_tokens(dtype: torch.dtype, detail: str = "") -> BenchError:
    """What to say about integers that are neither token ids nor a mask."""
    return BenchError(
        f"Expected floating-point inputs, got {dtype}{detail}: convert them, for images with x.float() / 255; only "
        "token ids that feed an embedding, and masks (bool, int64 or int32) are taken as they are."
    )


class _Companions:
    def __init__(self, program: Program) -> None:
        self.graph, inputs = program.graph, program.inputs
        self.derived = _derived(program)
        self.inputs: dict[fx.Node, fx.Node] = {}
        dtype = next((w.dtype for w in program.constants.values() if w.is_floating_point()), torch.float32)
        last = inputs[-1]
        for number, node in [(i, n) for i, n in enumerate(inputs) if n in self.derived]:
            with self.graph.inserting_after(last):
                last = self.inputs[node] = self.graph.placeholder(f"{node.name}_relevance")
            last.meta = {"val": node.meta["val"].to(dtype), COMPANION: number}
        self.known = dict(self.inputs)

    def carry(self, node: fx.Node) -> None:
        """Let an embedding of ids hand its relevance to their companion."""
        weight, ids = node.args[:2]
        if ids in self.derived:
            with self.graph.inserting_before(node):
                looked = self.graph.call_function(token_embedding, (weight, ids, self.of(ids)))  # type: ignore[arg-type]
            looked.meta = node.meta
            node.replace_all_uses_with(looked)
            self.graph.erase_node(node)

    def check_place(self, node: fx.Node, reason: BenchError) -> None:
        """Raise the reason unless the ids are places counted by what is only a mask elsewhere: a constant."""
        active, behind = active_nodes(self.graph), ancestors(node)
        for source, companion in self.inputs.items():
            if source in behind:
                made = made_of(source, active) - {node}
                if companion.users or not any(user in active for x in made for user in x.users):
                    raise reason

    def of(self, node: fx.Node) -> fx.Node:
        if node not in self.known:
            self.known[node] = self.made(node)
        return self.known[node]

    def made(self, node: fx.Node) -> fx.Node:
        name, entry = operator_name(node), OPERATORS.get(operator_name(node))
        sources = [source for source in node.all_input_nodes if source in self.derived]
        if name in IN_PLACE and len(sources) == 1 and sources[0].meta["val"].shape == node.meta["val"].shape:
            return self.of(sources[0])
        if not is_getitem(node) and (entry is None or entry.role is not Role.OWN_GRADIENT):
            raise BenchError(
                f"Expected token ids that reach the embedding as they are or moved about, got {name} between: compute "
                "the ids before the model."
            )
        moved = {source: self.of(source) for source in sources}
        with self.graph.inserting_before(node):
            others = [s for s in node.all_input_nodes if s not in moved and name in ("aten::cat", "aten::stack")]
            moved |= {other: self.zeros(other) for other in others}
            copy = self.graph.node_copy(node, lambda source: moved.get(source, source))
        copy.meta["val"] = torch.utils._pytree.tree_map(lambda v: v.to(self.dtype), node.meta["val"])
        return copy

    def zeros(self, node: fx.Node) -> fx.Node:
        zeros = self.graph.call_function(torch.ops.aten.zeros_like.default, (node,), {"dtype": self.dtype})
        zeros.meta = {"val": node.meta["val"].to(self.dtype)}
        return zeros

    @property
    def dtype(self) -> torch.dtype:
        return next(iter(self.inputs.values())).meta["val"].dtype  # type: ignore[no-any-return]


def _derived(program: Program) -> set[fx.Node]:
    """The inputs of integers or truth values, and what is computed from them and is integers."""
    found: set[fx.Node] = set()
    for node in program.graph.nodes:
        values = node.meta.get("val")
        values = values if isinstance(values, tuple | list) else [values]
        integers = all(isinstance(v, Tensor) and _is_integer(v.dtype) for v in values)
        computed = operator_name(node) not in SHAPE_ONLY and any(source in found for source in node.all_input_nodes)
        if (node.op == "placeholder" and not is_floating(values)) or (integers and computed):
            found.add(node)
    return found


def _is_integer(dtype: torch.dtype) -> bool:
    return not (dtype.is_floating_point or dtype.is_complex or dtype is torch.bool)
