"""What the operators are called: the names that composites, the ledger and the coverage speak of."""

from __future__ import annotations

from collections import Counter

from torch import fx

from lrp_bench.engine.capture.graph import forward_count, module_names, operator_name
from lrp_bench.engine.operators.table import Role
from lrp_bench.engine.rewrite.survey import Survey
from lrp_bench.engine.rules.composite import Site

WEIGHTED = ("linear", "convolution", "recurrent")


def sites(survey: Survey) -> dict[fx.Node, Site]:
    """Each operator's name, kind and position.

    The operator with a rule has its module's name; a second one, or what stands beside it, adds its own: `block.add`,
    `block.add_1`.
    """
    nodes, taken, given = survey.program.graph.nodes, set[str](), Counter[str]()
    before = forward_count(nodes, lambda n: _weighted(survey, n), lambda n: n.all_input_nodes)
    behind = forward_count(reversed(nodes), lambda n: _weighted(survey, n), lambda n: n.users)
    modules = {name for node in nodes for name in module_names(node)}
    found = {}
    for node, entry in survey.entries.items():
        name = _name(survey, node, modules, taken, given)
        if survey.has_rule(node):
            taken.add(name)
        found[node] = Site(name, entry.kind, before[node] == 0, behind[node] == 0)
    return found


def _weighted(survey: Survey, node: fx.Node) -> bool:
    return node in survey.entries and survey.entries[node].kind in WEIGHTED


def _name(survey: Survey, node: fx.Node, modules: set[str], taken: set[str], given: Counter[str]) -> str:
    inner, role = (module_names(node) or [""])[-1], survey.entries[node].role
    beside = role is Role.SPLIT or (role in (Role.PRODUCT, Role.SOFTMAX) and not survey.has_rule(node))
    if inner and inner not in taken and not beside:
        return inner
    base = f"{inner}.{operator_name(node).rpartition('::')[2].strip('_')}".lstrip(".")
    while True:
        number, given[base] = given[base], given[base] + 1
        name = f"{base}_{number}" if number else base
        if name not in modules:
            return name
