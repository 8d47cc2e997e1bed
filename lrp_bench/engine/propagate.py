"""LRP: capture a model once, then explain as many batches as you like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, overload

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from lrp_bench.contracts import BenchError, Explanation, JointExplanation, LedgerEntry, NamedExplanation
from lrp_bench.engine.capture.arguments import Arguments, Inputs, call
from lrp_bench.engine.capture.cache import Programs
from lrp_bench.engine.capture.capture import Program, capture, evaluating, from_exported
from lrp_bench.engine.capture.outputs import named_leaves
from lrp_bench.engine.capture.packing import keeps_length
from lrp_bench.engine.capture.pt2 import check_inputs as check_inputs_of
from lrp_bench.engine.capture.pt2 import load_program, on_device, ordered, run
from lrp_bench.engine.checks import check_capture, check_inputs, check_logits, check_relevance, choose
from lrp_bench.engine.operators.inputs import relevance_of, with_leaves
from lrp_bench.engine.operators.table import OPERATORS
from lrp_bench.engine.operators.trace import Trace
from lrp_bench.engine.rewrite.rewrite import Covered, rewrite
from lrp_bench.engine.rules.composite import Composite, Uniform
from lrp_bench.engine.rules.rule import Rule
from lrp_bench.transfers import known_good, settle, together

V = TypeVar("V")


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
    way by then, it is captured anew. Raises BenchError for what cannot be explained.
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
        self.model = load_program(model) if isinstance(model, str | Path) else model
        self.composite = Uniform(rule) if isinstance(rule, Rule) else rule
        self.output = output
        self._captured: dict[object, tuple[fx.GraphModule, list[Covered]]] = {}
        self._programs = Programs(self.model)
        self.weights_seen = self.weights_now()
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
        check_relevance(relevance)
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

    def _program(self, given: Arguments) -> tuple[fx.GraphModule, list[Covered]]:
        now = self.weights_now()
        if now != self.weights_seen:
            self._captured.clear()
            self.weights_seen = now
        if isinstance(self.model, ExportedProgram):
            check_inputs_of(self.model, given.tensors)
        key = given.names, tuple((x.shape[1:], x.dtype, x.device) for x in given.tensors)
        if key not in self._captured:
            self._captured[key] = self._bound(key, given) or self._rewritten(self._capture(key, given), given)
        return self._captured[key]

    def _given(self, x: Inputs) -> Arguments:
        given = Arguments.of(x)
        check_inputs(given.tensors)
        return given if isinstance(self.model, nn.Module) else ordered(self.model, given)

    def _rewritten(self, program: Program, given: Arguments) -> tuple[fx.GraphModule, list[Covered]]:
        """Made of the program, which is used up, and held against the model itself."""
        divisible = isinstance(self.model, nn.Module) and not keeps_length(program.graph)
        rewritten = rewrite(program, self.composite)
        few = tuple(x[:2] for x in given.tensors) if divisible else given.tensors
        with torch.no_grad():
            expected = self._model_outputs(few, given.names)
        check_capture(_forward(rewritten[0], few)[0], expected)
        return rewritten

    def _bound(self, key: object, given: Arguments) -> tuple[fx.GraphModule, list[Covered]] | None:
        """Made of a program that is kept; None where there is none, or where it is not the model's any more."""
        program = self._programs.bound(key)
        with suppress(BenchError):  # what forward reads outside of the model may be another
            return None if program is None else self._rewritten(program, given)
        return None

    def _capture(self, key: object, given: Arguments) -> Program:
        settle()  # before the long work
        if not isinstance(self.model, nn.Module):
            return from_exported(on_device(self.model, given.tensors[0].device), self.output, whole=OPERATORS.keys())
        program = capture(self.model, given.tensors, self.output, given.names, OPERATORS.keys())
        self._programs.keep(key, program)
        return program

    def _model_outputs(self, inputs: tuple[Tensor, ...], names: tuple[str, ...]) -> list[Tensor]:
        if isinstance(self.model, nn.Module):
            with evaluating(self.model):
                outputs = call(self.model, inputs, names)
        else:
            outputs = run(on_device(self.model, inputs[0].device), inputs)
        return [x for _, x in named_leaves(outputs) if isinstance(x, Tensor)]

    def weights_now(self) -> list[tuple[int, int]]:
        """Where each weight lies and how often it was changed in place; changes through .data do not show."""
        if isinstance(self.model, nn.Module):
            tensors = [*self.model.parameters(), *self.model.buffers()]
        else:
            tensors = list(self.model.state_dict.values())
        return [(t.data_ptr(), t._version) for t in tensors]


def _forward(
    module: fx.GraphModule, inputs: tuple[Tensor, ...], trace: Trace | None = None
) -> tuple[Tensor, list[Tensor | None]]:
    """The logits, and the leaves that the relevance arrives at."""
    arguments, leaves = with_leaves(module, inputs)
    with torch.enable_grad():
        return module(*arguments, trace), leaves


class _Traced:
    """The pass that records, made when first needed."""

    def __init__(self, lrp: LRP, module: fx.GraphModule, inputs: tuple[Tensor, ...], start: Tensor) -> None:
        self.lrp, self.module, self.inputs, self.start = lrp, module, inputs, start
        self.weights = lrp.weights_seen
        self.trace: Trace | None = None

    def __call__(self) -> Trace:
        if self.trace is None:
            if self.weights != self.lrp.weights_now():
                raise BenchError(
                    "Expected the weights that were explained, got others: "
                    "look at layers, ledger and amplification before the model changes."
                )
            trace = Trace()
            with torch.inference_mode(False), known_good():
                output, leaves = _forward(self.module, self.inputs, trace)
                relevance_of(self.inputs, leaves, output, self.start)
            self.trace = trace
        return self.trace


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
