"""From a captured program to a module whose gradient is the relevance."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from lrp_bench.contracts import BenchError
from lrp_bench.engine.analysis import (
    ABSORBED,
    absorb,
    active_nodes,
    carriers,
    forward_count,
    is_floating,
    is_getitem,
    module_names,
    operands,
    operator_name,
    remove_unused,
)
from lrp_bench.engine.attention import MixStep, ProductStep, SoftmaxStep
from lrp_bench.engine.capture import Program
from lrp_bench.engine.composites import Composite, Site
from lrp_bench.engine.embedding import carry_tokens, token_embedding
from lrp_bench.engine.fold import fold
from lrp_bench.engine.gates import Gates
from lrp_bench.engine.late import Call, LateStep, late
from lrp_bench.engine.layouts import Layout, Layouts, layouts
from lrp_bench.engine.operators import OPERATORS, Operator, Role, Sign
from lrp_bench.engine.recurrent import recurrent_step
from lrp_bench.engine.rules import Rule
from lrp_bench.engine.steps import AffineStep, PassStep, SumStep, Tap

GETITEM = Operator(Role.OWN_GRADIENT, Sign.INHERITED)
EMBEDDING = Operator(Role.STOPS, keeps_zero=False)
WEIGHTED = ("linear", "convolution", "recurrent")
FIRST_OPERAND = ("norm", "pool", "convolution")  # the others' activation may be any operand


@dataclass(frozen=True)
class Covered:
    """One operator on the way of the relevance: which one, in which module, under which rule."""

    module: str
    operator: str
    rule: str


def rewrite(program: Program, composite: Composite) -> tuple[fx.GraphModule, list[Covered]]:
    """The module `module(*inputs, trace=None)` and its coverage. The program's graph is used up."""
    return _Rewriter(program, composite).run()


class _Rewriter:
    def __init__(self, program: Program, composite: Composite) -> None:
        fold(program)
        carry_tokens(program)
        self.program, self.composite, self.graph = program, composite, program.graph
        self.root = nn.Module()
        self.active, self.layouts = active_nodes(self.graph), layouts(self.graph)
        self.entries = {n: self.entry(n) for n in self.graph.nodes if n in self.active and n.op == "call_function"}
        self.gates = Gates(self.entries)
        self.sites = self.name_sites()
        with self.graph.inserting_after(program.inputs[-1]):
            self.trace = self.graph.placeholder("trace", default_value=None)

    def run(self) -> tuple[fx.GraphModule, list[Covered]]:
        self.composite.check([self.sites[n] for n, entry in self.entries.items() if self.has_rule(n, entry)])
        self.nonnegative = self.find_nonnegative()
        coverage = [self.replace(node, entry) for node, entry in self.entries.items()]
        self.fuse_relus()
        self.tap_modules()
        remove_unused(self.graph)
        for name in {str(n.target) for n in self.graph.nodes if n.op == "get_attr"}:
            self.root.register_buffer(name, self.program.constants[name], persistent=False)
        return fx.GraphModule(self.root, self.graph), coverage

    def entry(self, node: fx.Node) -> Operator:
        name = operator_name(node)
        entry = GETITEM if is_getitem(node) else EMBEDDING if node.target is token_embedding else OPERATORS.get(name)
        if entry is None:
            raise self.refusal(node)
        sources = self.sources(node)
        if entry.role in (Role.AFFINE, Role.PASS) and len(sources) != 1:
            raise self.refusal(node, " of several activations")
        first = entry.kind in FIRST_OPERAND or name in ("aten::linear", "aten::div")
        if first and sources[0] is not node.args[0]:
            raise self.refusal(node, " whose other operand is an activation")
        if name in ("aten::mean", "aten::sum") and over_batch(node, self.layouts[sources[0]]):
            raise self.refusal(node, " over the batch")
        if node.kwargs.get("rounding_mode") is not None:
            raise self.refusal(node, " with rounding")
        return entry

    def refusal(self, node: fx.Node, detail: str = "") -> BenchError:
        where = (module_names(node) or ["the model itself"])[-1]
        return BenchError(
            f"Expected operators that have a relevance rule, got {operator_name(node)}{detail} in {where}: replace it, "
            f"or add a row to lrp_bench/engine/operators.py. Known operators: {', '.join(sorted(OPERATORS))}."
        )

    def sources(self, node: fx.Node) -> list[fx.Node]:
        """The operands that relevance goes to, once per use."""
        return [source for source in carriers(node) if source in self.active]

    def has_rule(self, node: fx.Node, entry: Operator) -> bool:
        return entry.role is Role.UNROLLED or (entry.layer is not None and len(self.sources(node)) == 1)

    def name_sites(self) -> dict[fx.Node, Site]:
        def weighted(node: fx.Node) -> bool:
            return node in self.entries and self.entries[node].kind in WEIGHTED

        before = forward_count(self.graph.nodes, weighted, lambda n: n.all_input_nodes)
        behind = forward_count(reversed(self.graph.nodes), weighted, lambda n: n.users)
        taken: set[str] = set()
        modules = {name for node in self.graph.nodes for name in module_names(node)}
        sites = {}
        for node, entry in self.entries.items():
            inner = (module_names(node) or [""])[-1]
            beside = entry.role in (Role.PRODUCT, Role.SOFTMAX) and not self.has_rule(node, entry)
            shared = not inner or inner in taken or entry.role is Role.SPLIT or beside
            name = f"{inner}.{node.name}".lstrip(".") if shared else inner
            while shared and name in modules | taken:
                name += "'"
            if self.has_rule(node, entry):
                taken.add(name)
            sites[node] = Site(name, entry.kind, before[node] == 0, behind[node] == 0)
        return sites

    def find_nonnegative(self) -> set[fx.Node]:
        found: set[fx.Node] = set()
        for node, entry in self.entries.items():
            known = (Tensor, tuple, list)
            sources = [s for s in node.all_input_nodes if s.op == "get_attr" or isinstance(s.meta.get("val"), known)]
            inherits = entry.sign is Sign.INHERITED and all(self.at_least_zero(s, found) for s in sources)
            if entry.sign is Sign.NONNEGATIVE or (
                inherits and not fills_below_zero(node) and self.adds_no_constant(node)
            ):
                found.add(node)
        return found

    def at_least_zero(self, node: fx.Node, found: set[fx.Node]) -> bool:
        constant = self.program.constant(node)
        return node in found if constant is None else not constant.is_floating_point() or bool((constant >= 0).all())

    def adds_no_constant(self, node: fx.Node) -> bool:
        """A sum with a plain number or a factor may fall below zero."""
        return self.entries[node].role is not Role.SPLIT or (len(node.all_input_nodes) == 2 and not node.kwargs)

    def replace(self, node: fx.Node, entry: Operator) -> Covered:
        name, site, said = operator_name(node), self.sites[node], entry.role.value
        place = Layouts(self.layouts[node], tuple(self.layouts[s] for s in self.sources(node)))
        if entry.role is Role.UNROLLED:
            said = self.unroll(node, site)
        elif self.has_rule(node, entry):
            rule = self.composite.rule(site)
            self.check_layout(rule, site, place)
            self.affine(node, entry, rule, place)
            said = repr(rule)
        elif entry.role is Role.SPLIT:
            factor: float = node.kwargs.get("alpha", 1)  # type: ignore[assignment]
            factor = -factor if name == "aten::sub" else factor
            self.check_layout(self.composite.split, site, place)
            self.call(node, SumStep(site.name, factor, self.composite.split, place), node.args[:2])
            said = f"{said}: {self.composite.split!r}"
        elif entry.role is Role.PRODUCT:
            said = f"{said}: {self.product(node, site, place)}"
        elif entry.role is Role.SOFTMAX:
            said = f"{said}: {self.softmax(node, site, place)}"
        elif entry.role is Role.PASS:
            node.op, node.target = "call_module", self.add(PassStep(node.target))  # type: ignore[arg-type]
        elif entry.role is Role.OWN_GRADIENT and self.mixes(node):
            self.call(node, MixStep(f"{site.name}.{node.name}", node.target, place), node.args, node.kwargs)  # type: ignore[arg-type]
            said = f"{said}, constants take theirs"
        return Covered(site.name, name, said)

    def unroll(self, node: fx.Node, site: Site) -> str:
        rule = self.composite.rule(site)
        constant, carries = self.program.constant, self.active.__contains__
        step, sources = recurrent_step(node, site.name, rule, self.composite.split, constant, carries)
        node.op, node.target, node.args, node.kwargs = "call_module", self.add(step), sources, {"trace": self.trace}
        return repr(rule)

    def affine(self, node: fx.Node, entry: Operator, rule: Rule, place: Layouts) -> None:
        name, (source,) = self.sites[node].name, self.sources(node)
        nonnegative = source in self.nonnegative
        others = [s for s in dict.fromkeys(operands(node)) if s is not source and self.program.constant(s) is None]
        if not others and not entry.late:
            try:
                layer = entry.layer(node, self.value)  # type: ignore[misc]
            except NotImplementedError as error:
                raise self.refusal(node, f" ({error})") from error
            step = AffineStep(name, layer, rule, place, nonnegative=nonnegative)
        else:
            build = late(entry.layer, Call.of(node), source, others, self.value, sees_input=entry.late)  # type: ignore[arg-type]
            step = LateStep(name, build, rule, place, nonnegative=nonnegative)
        self.call(node, step, (source, *others))

    def check_layout(self, rule: Rule, site: Site, place: Layouts) -> None:
        if rule.relative and not place.out.plain:
            raise BenchError(
                f"Expected an absolute epsilon for {site.name}, where samples do not lie along the first dimension, "
                f"got {rule!r}: set relative to false, or give the layer a rule of its own."
            )

    def product(self, node: fx.Node, site: Site, place: Layouts) -> str:
        attention, rule = self.composite.attention, self.composite.split
        self.check_layout(rule, site, place)
        sharing = attention.gate if operator_name(node) == "aten::mul" else attention.matmul
        signal = self.gates.signal(node) if sharing == "signal" else None
        self.call(node, ProductStep(site.name, node.target, rule, signal, place), node.args)  # type: ignore[arg-type]
        return "half each" if signal is None else "the signal takes all"

    def softmax(self, node: fx.Node, site: Site, place: Layouts) -> str:
        self.check_layout(self.composite.split, site, place)
        constant = self.composite.attention.softmax == "constant" and node in self.gates.used
        step = SoftmaxStep(site.name, node.target, self.composite.split, place, constant=constant)  # type: ignore[arg-type]
        self.call(node, step, node.args, node.kwargs)
        return "constant" if constant else "Taylor expansion"

    def mixes(self, node: fx.Node) -> bool:
        """Whether constants stand beside the activations; none of them may hand relevance on."""
        beside = [s for s in operands(node) if s not in self.sources(node) and is_floating(s.meta.get("val"))]
        for source in [s for s in beside if s.op == "call_function"]:
            with self.graph.inserting_before(node):
                node.replace_input_with(source, self.graph.call_function(torch.ops.aten.detach.default, (source,)))
        return bool(beside) or operator_name(node) in ("aten::constant_pad_nd", "aten::pad", "aten::masked_fill")

    def value(self, argument: object) -> object:
        """An argument with weights as tensors and activations as None."""
        return fx.map_arg(argument, self.program.constant) if isinstance(argument, fx.Node) else argument

    def call(self, node: fx.Node, step: nn.Module, sources: Any, options: Any = None) -> None:
        """Let the node call the step; of several outputs the step gives only the first."""
        node.op, node.target, node.args = "call_module", self.add(step), sources
        node.kwargs = {**(options or {}), "trace": self.trace}
        for user in [u for u in node.users if u.op == "call_function" and is_getitem(u)]:
            user.replace_all_uses_with(node)
            self.graph.erase_node(user)

    def add(self, step: nn.Module) -> str:
        name = f"step_{len(self.root._modules)}"
        self.root.add_module(name, step)
        return name

    def step(self, node: fx.Node) -> nn.Module | None:
        return self.root.get_submodule(str(node.target)) if node.op == "call_module" else None

    def fuse_relus(self) -> None:
        """Apply a ReLU within the operator before it, where nobody gives relevance to a zero: half the memory."""
        vanishing = self.find_vanishing()
        for node in list(self.graph.nodes):
            step = self.step(node)
            if not (isinstance(step, PassStep) and operator_name_of(step) == "aten::relu"):
                continue
            layer = node.args[0]
            before = self.step(layer)
            alone = len(layer.users) == 1 and vanishing[node]
            if not (isinstance(before, AffineStep | SumStep) and alone):
                continue
            if not before.rule.relative:  # its rms is that of z itself
                before.rectified = True
                absorb(layer, node)
                node.replace_all_uses_with(layer)
                self.graph.erase_node(node)

    def find_vanishing(self) -> dict[fx.Node, bool]:
        """Whether no relevance ever arrives at a value that is zero."""
        vanishing: dict[fx.Node, bool] = {}
        for node in reversed(self.graph.nodes):
            vanishing[node] = all(vanishing[user] and self.gives_zero_nothing(user) for user in node.users)
        return vanishing

    def gives_zero_nothing(self, node: fx.Node) -> bool:
        step = self.step(node)
        if isinstance(step, AffineStep):
            return step.rule.vanishes and step.rule.bias != "redistribute"
        if isinstance(step, SumStep):
            return step.rule.bias != "redistribute"
        entry = self.entries.get(node)
        return entry is None or entry.keeps_zero

    def tap_modules(self) -> None:
        """Record, on a traced pass, the relevance on each edge that enters a module of the user's."""
        taps: dict[tuple[fx.Node, str], fx.Node] = {}
        entered: Counter[str] = Counter()
        for node in [n for n in self.graph.nodes if n in self.active and n.op != "placeholder"]:
            for source in [s for s in node.all_input_nodes if s in self.active]:
                inside, edge = module_names(source), source
                for name in [n for n in module_names(node) if n not in inside]:
                    if (edge, name) not in taps:
                        number, entered[name] = entered[name], entered[name] + 1
                        taps[edge, name] = self.tap(f"{name}[{number}]" if number else name, edge, node)
                    edge = taps[edge, name]
                if edge is not source:
                    node.replace_input_with(source, edge)
        for node in [n for n in self.graph.nodes if ABSORBED in n.meta and n in self.active]:
            users, edge = list(node.users), node
            for name in node.meta[ABSORBED]:
                edge = self.tap(name, edge, node.next if edge is node else edge.next)
            for user in users:
                user.replace_input_with(node, edge)

    def tap(self, name: str, source: fx.Node, before: fx.Node) -> fx.Node:
        with self.graph.inserting_before(before):
            return self.graph.call_module(self.add(Tap(name)), (source,), {"trace": self.trace})


def over_batch(node: fx.Node, layout: Layout) -> bool:
    """Whether a mean or sum mixes samples, so that none has an explanation of its own."""
    given = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    dims = [given] if isinstance(given, int) else given
    rank = node.args[0].meta["val"].dim()  # type: ignore[union-attr]
    return not dims or layout.axis in [d % rank for d in dims]  # type: ignore[union-attr]


def fills_below_zero(node: fx.Node) -> bool:
    """Whether padding or masking puts a negative number among the values."""
    fills = operator_name(node) in ("aten::constant_pad_nd", "aten::pad", "aten::masked_fill", "aten::where")
    return fills and any(isinstance(x, int | float) and x < 0 for x in (*node.args, *node.kwargs.values()))


def operator_name_of(step: PassStep) -> str:
    """The name of the activation a step stands for."""
    return str(step.function._schema.name)  # type: ignore[attr-defined]
