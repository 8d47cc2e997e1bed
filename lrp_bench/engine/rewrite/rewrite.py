"""From a captured program to a module whose gradient is the relevance: every operator on the way gets its step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from lrp_bench.contracts import BenchError
from lrp_bench.engine.capture.capture import Program
from lrp_bench.engine.capture.fold import fold
from lrp_bench.engine.capture.graph import is_floating, is_getitem, operands, operator_name, remove_unused
from lrp_bench.engine.operators.attention import MixStep, ProductStep, SoftmaxStep
from lrp_bench.engine.operators.embedding import carry_tokens
from lrp_bench.engine.operators.factors import FactorsStep
from lrp_bench.engine.operators.flags import check_flags
from lrp_bench.engine.operators.gates import Gates
from lrp_bench.engine.operators.per_batch import Call, LateStep, late
from lrp_bench.engine.operators.recompute import reshape
from lrp_bench.engine.operators.sequences.packed import PackedStep
from lrp_bench.engine.operators.sequences.recurrent import RecurrentStep, recurrent_step
from lrp_bench.engine.operators.steps import AffineStep, PassStep, SumStep
from lrp_bench.engine.operators.table import Operator, Role
from lrp_bench.engine.operators.written.activations import gather_activations
from lrp_bench.engine.operators.written.masks import MaskedStep, masking
from lrp_bench.engine.operators.written.softmaxes import gather_softmaxes
from lrp_bench.engine.rewrite.fusion import fuse_relus
from lrp_bench.engine.rewrite.lost import check_nothing_is_lost
from lrp_bench.engine.rewrite.module_edges import tap_modules
from lrp_bench.engine.rewrite.names import sites
from lrp_bench.engine.rewrite.nonnegative import nonnegative
from lrp_bench.engine.rewrite.root import Root
from lrp_bench.engine.rewrite.survey import Survey
from lrp_bench.engine.rules.batch_axes import Layouts
from lrp_bench.engine.rules.composite import Composite, Site
from lrp_bench.engine.rules.rule import Rule


@dataclass(frozen=True)
class Covered:
    """One operator on the way of the relevance: which one, in which module, under which rule."""

    module: str
    operator: str
    rule: str


def rewrite(program: Program, composite: Composite) -> tuple[fx.GraphModule, list[Covered]]:
    """The module `module(*inputs, trace=None)` and its coverage. The program's graph is used up."""
    fold(program)
    carry_tokens(program)
    gather_softmaxes(program)
    gather_activations(program)  # of what the input reaches: token ids do so through their companions
    flags = [Covered(name, kind, "a mask: receives nothing") for name, kind in check_flags(program)]
    survey = Survey(program)
    check_nothing_is_lost(survey)
    rewriter = _Rewriter(survey, composite)
    coverage = flags + rewriter.run()
    fuse_relus(rewriter.survey, rewriter.root)
    tap_modules(rewriter.survey, rewriter.root, rewriter.trace)
    remove_unused(program.graph)
    for node in program.graph.find_nodes(op="call_function", target=torch.ops.aten.reshape.default):
        node.target = reshape
    for name in {str(n.target) for n in program.graph.nodes if n.op == "get_attr"}:
        rewriter.root.register_buffer(name, program.constants[name], persistent=False)
    return fx.GraphModule(rewriter.root, program.graph), coverage


class _Rewriter:
    def __init__(self, survey: Survey, composite: Composite) -> None:
        self.survey, self.composite = survey, composite
        self.program, self.graph, self.root = survey.program, survey.program.graph, Root()
        self.sites, self.gates, self.nonnegative = sites(survey), Gates(survey.entries), nonnegative(survey)
        self.masking = masking(self.program)
        with self.graph.inserting_after(self.program.inputs[-1]):
            self.trace = self.graph.placeholder("trace", default_value=None)

    def run(self) -> list[Covered]:
        self.composite.check([site for node, site in self.sites.items() if self.survey.has_rule(node)])
        return [self.replace(node, entry) for node, entry in self.survey.entries.items()]

    def replace(self, node: fx.Node, entry: Operator) -> Covered:
        name, site, said = operator_name(node), self.sites[node], entry.role.value
        place = self.survey.place(node)
        if entry.role is Role.UNROLLED:
            said = self.unroll(node, site)
        elif self.survey.has_rule(node):
            said = self.affine(node, entry, place)
        elif entry.role is Role.SPLIT:
            said = f"{said}: {self.split(node, site, place)}"
        elif entry.role is Role.PRODUCT:
            said = f"{said}: {self.product(node, site, place)}"
        elif entry.role is Role.SOFTMAX:
            said = f"{said}: {self.softmax(node, site, place)}"
        elif entry.role is Role.PASS:
            node.op, node.target = "call_module", self.root.add(PassStep(node.target))  # type: ignore[arg-type]
        elif entry.role is Role.OWN_GRADIENT and self.mixes(node):
            self.call(node, MixStep(f"{site.name}.{node.name}", node.target, place), node.args, node.kwargs)  # type: ignore[arg-type]
            said = f"{said}, constants take theirs"
        return Covered(site.name, name, said)

    def unroll(self, node: fx.Node, site: Site) -> str:
        rule, carries = self.composite.rule(site), self.survey.active.__contains__
        over = PackedStep if operator_name(node).startswith("lrp_bench::") else RecurrentStep
        split, constant, out = self.composite.split, self.program.constant, self.survey.layouts[node]
        step, sources = recurrent_step(node, site.name, rule, split, constant, carries, out, over)
        node.op, node.target, node.args = "call_module", self.root.add(step), sources
        node.kwargs = {"trace": self.trace}
        return repr(rule)

    def affine(self, node: fx.Node, entry: Operator, place: Layouts) -> str:
        site, (source,) = self.sites[node], self.survey.sources(node)
        rule, sign = self.composite.rule(site), {"nonnegative": source in self.nonnegative}
        check_layout(rule, site, place)
        masked = entry.kind == "scale" and self.masked(node)
        others = [
            s for s in dict.fromkeys(operands(node)) if s is not source and (masked or self.program.constant(s) is None)
        ]
        step: nn.Module
        if not (others or entry.late or masked):
            step = AffineStep(site.name, entry.layer(node, self.value), rule, place, **sign)  # type: ignore[misc]
        else:
            build = late(entry.layer, Call.of(node), source, others, self.value, sees_input=entry.late)  # type: ignore[arg-type]
            step = LateStep(site.name, build, rule, place, **sign)
            step = MaskedStep(step, adds=_adds(node, source)) if masked else step
        self.call(node, step, (source, *others))
        return repr(rule)

    def split(self, node: fx.Node, site: Site, place: Layouts) -> str:
        rule, factor = self.composite.split, node.kwargs.get("alpha", 1)
        check_layout(rule, site, place)
        factor = -factor if operator_name(node) == "aten::sub" else factor  # type: ignore[operator]
        step = SumStep(site.name, factor, rule, place)  # type: ignore[arg-type]
        self.call(node, MaskedStep(step, adds=False) if self.masked(node) else step, node.args[:2])
        return repr(rule)

    def product(self, node: fx.Node, site: Site, place: Layouts) -> str:
        attention, rule = self.composite.attention, self.composite.split
        check_layout(rule, site, place)
        if operator_name(node) == "aten::prod":
            self.call(node, FactorsStep(site.name, node.target, rule, place), node.args, node.kwargs)  # type: ignore[arg-type]
            return "the same to each"
        sharing = attention.gate if operator_name(node) == "aten::mul" else attention.matmul
        signal = self.gates.signal(node) if sharing == "signal" else None
        step = ProductStep(site.name, node.target, rule, signal, place, gates=self.gates.gated(node))  # type: ignore[arg-type]
        self.call(node, step, node.args)
        return "half each" if signal is None else "the signal takes all"

    def softmax(self, node: fx.Node, site: Site, place: Layouts) -> str:
        check_layout(self.composite.split, site, place)
        constant = self.composite.attention.softmax == "constant" and node in self.gates.used
        step = SoftmaxStep(site.name, node.target, self.composite.split, place, constant=constant)  # type: ignore[arg-type]
        self.call(node, step, node.args, node.kwargs)
        return "constant" if constant else "Taylor expansion"

    def masked(self, node: fx.Node) -> bool:
        """Whether some of the node's values may be masked by a huge number."""
        return node in self.masking or any(operand in self.masking for operand in operands(node))

    def mixes(self, node: fx.Node) -> bool:
        """Whether constants stand beside the activations; none of them may hand relevance on."""
        sources = self.survey.sources(node)
        beside = [s for s in operands(node) if s not in sources and is_floating(s.meta.get("val"))]
        for source in [s for s in beside if s.op == "call_function"]:
            with self.graph.inserting_before(node):
                node.replace_input_with(source, self.graph.call_function(torch.ops.aten.detach.default, (source,)))
        return bool(beside) or self.survey.entries[node].fills

    def value(self, argument: object) -> object:
        """An argument with weights as tensors and activations as None."""
        return fx.map_arg(argument, self.program.constant) if isinstance(argument, fx.Node) else argument

    def call(self, node: fx.Node, step: nn.Module, sources: Any, options: Any = None) -> None:
        """Let the node call the step; of several outputs the step gives only the first."""
        node.op, node.target, node.args = "call_module", self.root.add(step), sources
        node.kwargs = {**(options or {}), "trace": self.trace}
        for user in [u for u in node.users if u.op == "call_function" and is_getitem(u)]:
            user.replace_all_uses_with(node)
            self.graph.erase_node(user)


def _adds(node: fx.Node, source: fx.Node) -> bool:
    """Whether the operator is source + constants."""
    name = operator_name(node)
    return not node.kwargs and (name == "aten::add" or (name == "aten::sub" and node.args[0] is source))


def check_layout(rule: Rule, site: Site, place: Layouts) -> None:
    """Raise BenchError for a relative stabiliser where the rows of the output are not the samples."""
    if rule.relative and not place.out.plain:
        raise BenchError(
            f"Expected an absolute epsilon for {site.name}, where samples do not lie along the first dimension, "
            f"got {rule!r}: set relative to false, or give the layer a rule of its own."
        )
