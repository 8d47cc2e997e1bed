"""LRP: capture a model once, then explain as many batches as you like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import torch
from torch import Tensor, fx, nn

from lrp_bench.contracts import BenchError, Explanation
from lrp_bench.engine.capture import capture
from lrp_bench.engine.checks import check_input, check_logits, check_relevance, choose
from lrp_bench.engine.composites import Composite, Uniform
from lrp_bench.engine.rewrite import Covered, rewrite
from lrp_bench.engine.rules import Rule
from lrp_bench.engine.steps import Trace

V = TypeVar("V")


class LRP:
    """Layer-wise relevance propagation through a PyTorch model.

        lrp = LRP(model, Epsilon(1e-6), example=x)
        e = lrp(x)             # e.relevance has the shape of x

    model: any module that torch.export can capture, (batch, ...) -> (batch, classes); it is explained in eval mode
    and left as it was.
    rule: a Rule for every layer, or a Composite. example: one batch of inputs; other batch sizes, and other shapes
    the model takes, may be explained later. Weights that change after capture are noticed (unless through .data) and
    captured anew. Raises BenchError for what cannot be explained.
    """

    def __init__(self, model: nn.Module, rule: Rule | Composite, *, example: Tensor) -> None:
        if not isinstance(rule, Rule | Composite):
            raise BenchError(
                f"Expected a Rule or a Composite, got {type(rule).__name__}: see lrp_bench.engine.rules and composites."
            )
        self.model = model
        self.composite = Uniform(rule) if isinstance(rule, Rule) else rule
        self._captured: dict[object, tuple[fx.GraphModule, list[Covered]]] = {}
        self.weights_seen = self.weights_now()
        with torch.inference_mode(False):
            example = example.detach().clone()
            check_input(example)
            self.coverage = self._program(example)[1]

    def __call__(self, x: Tensor, target: Tensor | int | None = None) -> Explanation:
        """Explain a batch.

        x: (batch, ...) floating point. target: None for each sample's predicted class, a class, (batch,) classes, or
        (batch, classes) weights of the logits. The explanation's score is the sum of weights times logits, and
        relevance starts from there. `layers` and `ledger` are computed by a second pass when first asked for. Raises
        BenchError for bad input and for relevance that is not finite.
        """
        with torch.inference_mode(False):
            return self._explain(x.detach().clone(), target)

    def _explain(self, x: Tensor, target: Tensor | int | None) -> Explanation:
        check_input(x)
        module, _ = self._program(x)
        output, leaf = _forward(module, x)
        check_logits(output, x)
        logits = output.detach().clone()  # a rule may use up the last layer's output
        chosen, weights = choose(logits, target)
        start = weights * logits
        (relevance,) = torch.autograd.grad(output, leaf, start)
        check_relevance(relevance)
        traced = _Traced(self, module, x, start)
        return Explanation(x, logits, chosen, start.sum(1), relevance, _Lazy(traced, "layers"), _Lazy(traced, "ledger"))

    def _program(self, x: Tensor) -> tuple[fx.GraphModule, list[Covered]]:
        now = self.weights_now()
        if now != self.weights_seen:
            self._captured.clear()
            self.weights_seen = now
        key = (x.shape[1:], x.dtype, x.device)
        if key not in self._captured:
            self._captured[key] = rewrite(capture(self.model, (x,)), self.composite)
        return self._captured[key]

    def weights_now(self) -> list[tuple[int, int]]:
        """Where each weight lies and how often it was changed in place; changes through .data do not show."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        return [(t.data_ptr(), t._version) for t in tensors]


def _forward(module: fx.GraphModule, x: Tensor, trace: Trace | None = None) -> tuple[Tensor, Tensor]:
    """The logits, and the leaf that the relevance arrives at."""
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        return module(leaf, trace), leaf


class _Traced:
    """The pass that records, made when first needed."""

    def __init__(self, lrp: LRP, module: fx.GraphModule, x: Tensor, start: Tensor) -> None:
        self.lrp, self.module, self.x, self.start = lrp, module, x, start
        self.weights = lrp.weights_seen
        self.trace: Trace | None = None

    def __call__(self) -> Trace:
        if self.trace is None:
            if self.weights != self.lrp.weights_now():
                raise BenchError(
                    "Expected the weights that were explained, got others: "
                    "look at layers and ledger before the model changes."
                )
            trace = Trace()
            with torch.inference_mode(False):
                output, leaf = _forward(self.module, self.x, trace)
                torch.autograd.grad(output, leaf, self.start)
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
