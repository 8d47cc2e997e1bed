"""What depends on the input and would get no relevance: refused, unless it is a choice between what does get some.

A comparison chooses: a mask, a gate that is open or shut, a branch of torch.where. It carries no relevance where it
multiplies or selects what carries some; as a number of its own (x + (y > 0)), and wherever numbers were cut to integers
(an embedding of x.long()), relevance would vanish unnoticed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from lrp_bench.engine.capture.graph import SHAPE_ONLY, is_floating, operands, operator_name
from lrp_bench.engine.rewrite.survey import Survey, refusal

CHOOSING = {"aten::mul", "aten::div"}
NUMBERS = {  # these take a tensor of booleans or integers for numbers, others for places
    f"aten::{name}"
    for name in ("add", "sub", "rsub", "mul", "div", "cat", "stack", "linear", "matmul", "mm", "bmm", "addmm")
}
TO_SCORES = {f"aten::{name}" for name in ("masked_fill", "maximum", "clamp", "clamp_min", "reshape", "expand")}


def check_nothing_is_lost(survey: Survey) -> None:
    """Raise BenchError where an operator on the way of the relevance loses what another made of the input."""
    lost = _lost(survey)
    for node in survey.program.graph.nodes:
        if node.op == "output" or node in survey.entries:
            for source in [s for s in operands(node) if s in lost]:
                chooses = operator_name(node) in CHOOSING or _masks_scores(node)
                if _counts(node, source) and not (lost[source].chosen and chooses):
                    raise refusal(lost[source].by, ", whose output counts as a number but carries no relevance,")


@dataclass(frozen=True)
class _Loss:
    """by: the operator after which no relevance can return; chosen: it is a comparison, or came after one."""

    by: fx.Node
    chosen: bool


def _lost(survey: Survey) -> dict[fx.Node, _Loss]:
    """What depends on the input, though the input reaches it through no numbers."""
    found: dict[fx.Node, _Loss] = {}
    for node in survey.program.graph.nodes:
        asks_shape = operator_name(node) in SHAPE_ONLY or not isinstance(node.meta.get("val"), Tensor | tuple | list)
        if node.op != "call_function" or node in survey.reached or asks_shape:
            continue
        losses, cuts = [found[s] for s in operands(node) if s in found], not survey.reached.isdisjoint(operands(node))
        if (losses or cuts) and _is_boolean(node):
            found[node] = _Loss(node, chosen=True)
        elif losses or cuts:
            found[node] = _Loss(node, chosen=False) if cuts else min(losses, key=lambda loss: loss.chosen)
    return found


def _is_boolean(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.dtype is torch.bool


def _counts(node: fx.Node, source: fx.Node) -> bool:
    """Whether the operator computes with the numbers of the source, not with places or choices."""
    return node.op == "output" or is_floating(source.meta.get("val")) or operator_name(node) in NUMBERS


def _masks_scores(node: fx.Node) -> bool:
    """Whether a sum leads to nothing but a softmax: a mask is added."""
    if "softmax" in operator_name(node):
        return True
    passes = operator_name(node) in TO_SCORES | {"aten::add", "aten::sub"}
    return passes and bool(node.users) and all(_masks_scores(user) for user in node.users)
