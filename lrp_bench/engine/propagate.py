"""LRP: capture a model once, then explain as many batches as you like."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar, overload

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from lrp_bench.contracts import BenchError, Explanation, JointExplanation, LedgerEntry, NamedExplanation
from lrp_bench.engine.capture.arguments import Arguments, Inputs
from lrp_bench.engine.capture.cache import Programs
from lrp_bench.engine.capture.capture import Program, capture, from_exported
from lrp_bench.engine.capture.packing import keeps_length
from lrp_bench.engine.capture.pt2 import batch_size, load_program, on_device, ordered
from lrp_bench.engine.capture.pt2 import check_inputs as check_inputs_of
from lrp_bench.engine.capture.watch import Watch
from lrp_bench.engine.checks import check_capture, check_inputs, check_logits, check_model, check_relevance, choose
from lrp_bench.engine.operators.inputs import relevance_of, with_leaves
from lrp_bench.engine.operators.recompute import sparing
from lrp_bench.engine.operators.table import OPERATORS
from lrp_bench.engine.operators.trace import Trace
from lrp_bench.engine.probe import MIDDLE, Probe, settled
from lrp_bench.engine.rewrite.rewrite import Covered, rewrite
from lrp_bench.engine.rules.composite import Composite, Uniform
from lrp_bench.engine.rules.rule import Rule
from lrp_bench.engine.samples import check_books, check_samples, mixed, place_of_mixing
from lrp_bench.transfers import at_once, known_good, settle, together

V = TypeVar("V")
Rewritten = tuple[fx.GraphModule, list[Covered]]


class LRP:
    """Layer-wise relevance propagation through a PyTorch model.

        lrp = LRP(model, Epsilon(1e-6), example=x)
        e = lrp(x)             # e.relevance has the shape of x

    model: any module that torch.export can capture, (batch, ...) -> (batch, classes); it is explained in eval mode
    and left as it was. Or an ExportedProgram, or the path of a .pt2 file, which are explained as they are.
    rule: a Rule for every layer, or a Composite. example: one batch of inputs, a tuple where the model has several, or
    a mapping by the names that forward gives them; other batch sizes, and other shapes the model takes, may be
    explained later. output: the index, key or attribute of the logits where the model returns several tensors. Weights
    that change after capture are noticed (unless through .data) and read anew; where the model is another in any other
    way by then, it is captured anew. Raises BenchError for what cannot be explained, and for models that mix the
    samples of a batch.
    """

    def __init__(
        self,
        model: nn.Module | ExportedProgram | str | Path,
        rule: Rule | Composite,
        *,
        example: Inputs,
        output: int | str | None = None,
    ) -> None:
        if not isinstance(rule, Rule | Composite):
            raise BenchError(
                f"Expected a Rule or a Composite, got {type(rule).__name__}: see lrp_bench.engine.rules and composites."
            )
        if not isinstance(model, nn.Module | ExportedProgram | str | Path):
            raise BenchError(
                f"Expected a module, an ExportedProgram or the path of a .pt2 file, got {type(model).__name__}."
            )
        if isinstance(model, nn.Module):
            check_model(model)
        self.model = load_program(model) if isinstance(model, str | Path) else model
        self.composite = Uniform(rule) if isinstance(rule, Rule) else rule
        self.output = output
        self._captured: dict[object, Rewritten] = {}
        self._programs, self._watch, self.state = Programs(self.model), Watch(self.model), object()
        with torch.inference_mode(False), together():
            self.coverage = self._program(self._given(example))[1]

    @overload
    def __call__(self, x: Tensor, target: Tensor | int | None = None) -> Explanation: ...

    @overload
    def __call__(self, x: Sequence[Tensor], target: Tensor | int | None = None) -> JointExplanation: ...

    @overload
    def __call__(self, x: Mapping[str, Tensor], target: Tensor | int | None = None) -> NamedExplanation: ...

    def __call__(self, x: Inputs, target: Tensor | int | None = None) -> Explanation:
        """Explain a batch.

        x: (batch, ...) floating point, or token ids (batch, tokens), which get one number per token; a tuple of these
        where the model has several inputs, or a mapping by name: the explanation's inputs and relevance are then tuples
        or mappings, too, and masks of truth values or integers receive zeros. target: None for each sample's predicted
        class, a class, (batch,) classes, or (batch, classes) weights of the logits. The explanation's score is the sum
        of weights times logits, and relevance starts from there. `layers`, `ledger` and `amplification` are computed by
        a second pass when first asked for. Raises BenchError for bad input and for relevance that is not finite; a
        device is waited for once, at the end.
        """
        with torch.inference_mode(False), together():
            return self._explain(self._given(x), target, single=isinstance(x, Tensor))

    def _explain(self, given: Arguments, target: Tensor | int | None, *, single: bool) -> Explanation:
        inputs, (module, _) = given.tensors, self._program(given)
        output, leaves = _forward(module, inputs)
        check_logits(output, len(inputs[0]))
        logits = output.detach().clone()  # a rule may use up the last layer's output
        chosen, weights = choose(logits, target)
        start = weights * logits
        relevance = relevance_of(inputs, leaves, output, start)
        check_relevance(relevance, logits)
        traced = _Traced(self, module, inputs, start)
        rest = logits, chosen, start.sum(1)
        lazy = (
            _Lazy[Tensor](traced, "layers"),
            _Lazy[LedgerEntry](traced, "ledger"),
            _Lazy[Tensor](traced, "amplification"),
        )
        if single:
            return Explanation(inputs[0], *rest, relevance[0], *lazy)
        if given.names:
            return NamedExplanation(given.named(inputs), *rest, given.named(relevance), *lazy)
        return JointExplanation(inputs, *rest, relevance, *lazy)

    def _program(self, given: Arguments) -> Rewritten:
        if self._watch.changed():
            self._captured.clear()
            self.state = object()
            self._watch.look()
        if isinstance(self.model, ExportedProgram):
            check_inputs_of(self.model, given.tensors)
        key = given.names, tuple((x.shape[1:], x.dtype, x.device) for x in given.tensors)
        if key not in self._captured:
            self._captured[key] = self._bound(key, given) or self._made(key, given)
        return self._captured[key]

    def _given(self, x: Inputs) -> Arguments:
        given = Arguments.of(x)
        check_inputs(given.tensors)
        return given if isinstance(self.model, nn.Module) else ordered(self.model, given)

    def _bound(self, key: object, given: Arguments) -> Rewritten | None:
        """Made of a program that is kept; None where there is none, or where it is not the model's any more."""
        program = self._programs.bound(key, self._watch.written)
        with suppress(BenchError):  # what forward reads outside of the model may be another
            return None if program is None else self._rewritten(program, given)[0]
        return None

    def _made(self, key: object, given: Arguments) -> Rewritten:
        """Captured, and held against the model itself, which comes back as it was."""
        settle()  # before the long work
        with settled(self.model, given, self._watch.written) as known:
            program = self._capture(given)
        self._programs.keep(key, program, self._watch.written)
        made, logits, probe = self._rewritten(program, given, known)
        if logits.dim() > 1 and len(logits) == len(probe.among[0]):
            explain, where = partial(_middle, made[0]), partial(self._mixing, probe)
            with at_once():  # it tries ids that the model may not take
                check_samples(probe.among, logits, made[0].graph, explain, where)
        self._watch.look()  # by now it is known what forward writes
        return made

    def _rewritten(
        self, program: Program, given: Arguments, known: Probe | None = None
    ) -> tuple[Rewritten, Tensor, Probe]:
        """Made of the program, which is used up; its logits, which are the model's own, and the probe that said so."""
        whole = keeps_length(program.graph)  # of packed sequences the longest stays
        module, coverage = rewrite(program, self.composite)
        probe = Probe(self.model, given, whole=whole) if known is None or whole else known
        with torch.no_grad():
            logits = _forward(module, probe.among)[0]
        try:
            check_capture(logits, probe.expected, probe.run)
        except BenchError:
            raise self._cause(module, probe) from None
        return (module, coverage), logits.detach(), probe

    def _cause(self, module: fx.GraphModule, probe: Probe) -> BenchError:
        """Where the model's own batch has the model's own logits, the samples are in each other's company."""
        written = sorted(set[str]().union(*self._watch.written.values()))
        try:
            check_capture(_forward(module, probe.few)[0], probe.seen, probe.run, written)
        except BenchError as error:
            return error
        return mixed(self._mixing(probe))

    def _capture(self, given: Arguments) -> Program:
        if isinstance(self.model, nn.Module):
            return capture(self.model, given.tensors, self.output, given.names, OPERATORS.keys())
        return from_exported(on_device(self.model, given.tensors[0].device), self.output, whole=OPERATORS.keys())

    def _mixing(self, probe: Probe) -> str:
        with torch.no_grad():
            return place_of_mixing(self._capture(probe.given), probe.among)

    def unchanged_since(self, state: object) -> bool:
        """Whether the model is what it was when its state was this."""
        return state is self.state and not self._watch.changed()


def _forward(
    module: fx.GraphModule, inputs: tuple[Tensor, ...], trace: Trace | None = None
) -> tuple[Tensor, list[Tensor | None]]:
    """The logits, and the leaves that the relevance arrives at."""
    arguments, leaves = with_leaves(module, inputs)
    with torch.enable_grad(), sparing():
        return module(*arguments, trace), leaves


def _middle(module: fx.GraphModule, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Callable[[], tuple[Tensor, ...]]]:
    """The logits, and what computes the relevance of all those of the sample in the middle."""
    logits, leaves = _forward(module, inputs)
    start = torch.zeros_like(logits)
    start[MIDDLE] = 1.0
    return logits.detach(), partial(relevance_of, inputs, leaves, logits, start)


class _Traced:
    """The pass that records, made when first needed."""

    def __init__(self, lrp: LRP, module: fx.GraphModule, inputs: tuple[Tensor, ...], start: Tensor) -> None:
        self.lrp, self.module, self.inputs, self.start = lrp, module, inputs, start
        self.state = lrp.state
        self.trace: Trace | None = None

    def __call__(self) -> Trace:
        if self.trace is None:
            if not self.lrp.unchanged_since(self.state):
                raise BenchError(
                    "Expected the weights that were explained, got others: "
                    "look at layers, ledger and amplification before the model changes."
                )
            trace = self.recorded(self.start)
            if isinstance(self.lrp.model, ExportedProgram) and batch_size(self.lrp.model) is not None:
                first = torch.zeros_like(self.start)
                first[0] = self.start[0]
                check_books(self.recorded(first).ledger, len(first))
            self.trace = trace
        return self.trace

    def recorded(self, start: Tensor) -> Trace:
        """What a pass leaves that starts from there."""
        trace = Trace()
        with torch.inference_mode(False), known_good():
            output, leaves = _forward(self.module, self.inputs, trace)
            relevance_of(self.inputs, leaves, output, start)
        return trace


class _Lazy(Mapping[str, V]):
    def __init__(self, traced: _Traced, name: str) -> None:
        self.traced, self.name = traced, name

    @property
    def values_(self) -> dict[str, V]:
        return getattr(self.traced(), self.name)  # type: ignore[no-any-return]

    def __getitem__(self, key: str) -> V:
        return self.values_[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)

    def __repr__(self) -> str:
        return repr(self.values_)
