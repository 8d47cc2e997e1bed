"""Taps: on a traced pass, the relevance on each edge that enters a module of the user's is recorded."""

from __future__ import annotations

from collections import Counter

from torch import fx

from lrp_bench.engine.capture.graph import ABSORBED, module_names
from lrp_bench.engine.operators.trace import Tap
from lrp_bench.engine.rewrite.root import Root
from lrp_bench.engine.rewrite.survey import Survey


def tap_modules(survey: Survey, root: Root, trace: fx.Node) -> None:
    """In place. A module that several edges enter has `name`, `name[1]`, ..."""
    _Taps(survey, root, trace).run()


class _Taps:
    def __init__(self, survey: Survey, root: Root, trace: fx.Node) -> None:
        self.graph, self.active, self.root, self.trace = survey.program.graph, survey.active, root, trace
        self.known: dict[tuple[fx.Node, str], fx.Node] = {}
        self.entered: Counter[str] = Counter()

    def run(self) -> None:
        for node in [n for n in self.graph.nodes if n in self.active and n.op != "placeholder"]:
            for source in [s for s in node.all_input_nodes if s in self.active]:
                self.enter(source, node)
        for node in [n for n in self.graph.nodes if ABSORBED in n.meta and n in self.active]:
            self.leave(node)

    def enter(self, source: fx.Node, node: fx.Node) -> None:
        inside, edge = module_names(source), source
        for name in [n for n in module_names(node) if n not in inside]:
            if (edge, name) not in self.known:
                number, self.entered[name] = self.entered[name], self.entered[name] + 1
                self.known[edge, name] = self.tap(f"{name}[{number}]" if number else name, edge, node)
            edge = self.known[edge, name]
        if edge is not source:
            node.replace_input_with(source, edge)

    def leave(self, node: fx.Node) -> None:
        """What the node absorbed would have come behind it."""
        users, edge = list(node.users), node
        for name in node.meta[ABSORBED]:
            edge = self.tap(name, edge, node.next if edge is node else edge.next)
        for user in users:
            user.replace_input_with(node, edge)

    def tap(self, name: str, source: fx.Node, before: fx.Node) -> fx.Node:
        with self.graph.inserting_before(before):
            return self.graph.call_module(self.root.add(Tap(name)), (source,), {"trace": self.trace})
