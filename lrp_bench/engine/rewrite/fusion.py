"""ReLUs applied within the operator before them: half the memory."""

from __future__ import annotations

from torch import fx

from lrp_bench.engine.capture.graph import absorb
from lrp_bench.engine.operators.steps import AffineStep, PassStep, SumStep
from lrp_bench.engine.rewrite.root import Root
from lrp_bench.engine.rewrite.survey import Survey


def fuse_relus(survey: Survey, root: Root) -> None:
    """In place, where nobody gives relevance to a zero."""
    graph = survey.program.graph
    vanishing = _vanishing(survey, root)
    for node in list(graph.nodes):
        step = root.step(node)
        if not (isinstance(step, PassStep) and _is_relu(step)):
            continue
        layer = node.args[0]
        before = root.step(layer)
        alone = len(layer.users) == 1 and vanishing[node]
        if not (isinstance(before, AffineStep | SumStep) and alone):
            continue
        if not before.rule.relative:  # its rms is that of z itself
            before.rectified = True
            absorb(layer, node)
            node.replace_all_uses_with(layer)
            graph.erase_node(node)


def _is_relu(step: PassStep) -> bool:
    return str(step.function).startswith("aten.relu.")


def _vanishing(survey: Survey, root: Root) -> dict[fx.Node, bool]:
    """Whether no relevance ever arrives at a value that is zero."""
    found: dict[fx.Node, bool] = {}
    for node in reversed(survey.program.graph.nodes):
        found[node] = all(found[user] and _gives_zero_nothing(survey, root, user) for user in node.users)
    return found


def _gives_zero_nothing(survey: Survey, root: Root, node: fx.Node) -> bool:
    step = root.step(node)
    if isinstance(step, AffineStep):
        return step.rule.vanishes and step.rule.bias != "redistribute"
    if isinstance(step, SumStep):
        return step.rule.bias != "redistribute"
    entry = survey.entries.get(node)
    return entry is None or entry.keeps_zero
