"""Attention and gates: softmax, and products of two activations (Achtibat et al. 2024, ICML, "AttnLRP")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from lrp_bench.contracts import LedgerEntry
from lrp_bench.engine.operators.recompute import recomputed
from lrp_bench.engine.operators.trace import Trace
from lrp_bench.engine.rules.batch_axes import Layout, Layouts
from lrp_bench.engine.rules.rule import Rule
from lrp_bench.engine.rules.stabilizer import quotient


class ProductStep(nn.Module):
    """a * b or a @ b of two activations.

    Half and half: R_a = a * (b^T s) and R_b = b * (a^T s) with s = R / (2 z + epsilon sign(z)) (proposition 3.3).
    signal 0 or 1: the position of the operand that takes all, with s = R / (z + epsilon sign(z)); None for half each.
    gates: which operands come from a softmax or a sigmoid; where a gate is zero, nothing is handed on.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Tensor],
        rule: Rule,
        signal: int | None,
        layouts: Layouts,
        *,
        gates: Sequence[bool] = (False, False),
    ) -> None:
        super().__init__()
        self.name, self.function, self.rule, self.signal, self.layouts = name, function, rule, signal, layouts
        self.gates = gates
        elementwise = str(function).startswith("aten.mul")
        self.pull = _pull_elementwise if elementwise else _pull_matrix

    def forward(self, a: Tensor, b: Tensor, *, trace: Trace | None) -> Tensor:
        """The product; what is a constant stays out of the backward pass, unless it is recorded."""
        if trace is None and self.signal is not None:
            a, b = (a, b.detach()) if self.signal == 0 else (a.detach(), b)
        return _Multiply.apply(a, b, self, trace)  # type: ignore[no-any-return]

    def equally(self, kept: Tensor, operands: Sequence[Tensor], takers: int) -> tuple[list[Tensor], Tensor]:
        """What was kept, in equal parts to all pairs of entries that meet in an output, and what nobody took."""
        there = [
            (x != 0).to(x.dtype) if gate else torch.ones_like(x) for x, gate in zip(operands, self.gates, strict=True)
        ]
        pairs = self.function(*there)
        pulled = self.pull(kept / (takers * pairs.clamp(min=1)), *there)
        return [t * p for t, p in zip(there, pulled, strict=True)], kept.masked_fill(pairs > 0, 0.0)


Pull = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def _pull_elementwise(s: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return (s * b).sum_to_size(a.shape), (s * a).sum_to_size(b.shape)


def _pull_matrix(s: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    return (s @ b.mT).sum_to_size(a.shape), (a.mT @ s).sum_to_size(b.shape)


class _Multiply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, step: ProductStep, trace: Trace | None) -> Tensor:
        z: Tensor = step.function(a, b)
        if z.numel() >= max(a.numel(), b.numel()):  # attention weights, gated activations: no long sums
            recomputed(z, step.function, a, b, saved=True)
        ctx.step, ctx.trace = step, trace
        ctx.save_for_backward(a, b, z)
        return z

    @staticmethod
    def backward(ctx: Any, R: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        step: ProductStep = ctx.step
        a, b, z = ctx.saved_tensors
        takers = [(0, 1), (0,), (1,)][0 if step.signal is None else step.signal + 1]
        s = quotient(R, len(takers) * z, step.rule.epsilon, relative=step.rule.relative)
        pulled = step.pull(s, a, b)
        received = [x * pulled[i] if i in takers else None for i, x in enumerate((a, b))]
        kept = R - len(takers) * s * z
        if step.rule.bias == "redistribute":
            equal, kept = step.equally(kept, (a, b), len(takers))
            received = [None if r is None else r + e for r, e in zip(received, equal, strict=True)]
        if ctx.trace is not None:
            arrived, lost = step.layouts.out.per_sample(R), step.layouts.out.per_sample(kept)
            zero = torch.zeros_like(arrived)
            sums = [step.layouts.sources[i].per_sample(r) for i, r in enumerate(received) if r is not None]
            taken = (zero, lost) if step.rule.bias == "redistribute" else (lost, zero)
            ctx.trace.ledger[step.name] = LedgerEntry(arrived, sum(sums, zero), zero, *taken)
            ctx.trace.weigh(step.name, step.layouts, R, received)
        return received[0], received[1], None, None


class SoftmaxStep(nn.Module):
    """softmax or log_softmax by its Taylor expansion at x, R_j = x_j sum_i J_ij R_i / y_i.

    For softmax this is R_j = x_j (R_j - y_j sum_i R_i) (proposition 3.1). What the expansion's constant term takes is
    `bias` in the ledger. constant: nothing passes.
    """

    def __init__(
        self, name: str, function: Callable[..., Tensor], rule: Rule, layouts: Layouts, *, constant: bool
    ) -> None:
        super().__init__()
        self.name, self.function, self.rule, self.layouts, self.constant = name, function, rule, layouts, constant
        self.logarithm = "log_softmax" in str(function)

    def forward(self, x: Tensor, dim: int, *arguments: object, trace: Trace | None, **options: object) -> Tensor:
        """The function of x along dim, the shape of x."""
        if trace is None and self.constant:
            return self.weights(x.detach(), dim, arguments, options)
        return _Softmax.apply(x, dim, arguments, options, self, trace)  # type: ignore[no-any-return]

    def weights(self, x: Tensor, dim: int, arguments: tuple[object, ...], options: dict[str, object]) -> Tensor:
        """The same without a way back."""

        def normalized(x: Tensor) -> Tensor:
            return self.function(x, dim, *arguments, **options)

        return recomputed(normalized(x), normalized, x)

    def share(self, R: Tensor, x: Tensor, y: Tensor, dim: int) -> Tensor:
        """Relevance of x, the shape of x; what is masked out, so that its weight is zero, receives nothing."""
        if self.logarithm:
            s = quotient(R, y, self.rule.epsilon, relative=self.rule.relative)
            share, weights = s - y.exp() * s.sum(dim, keepdim=True), y.exp()
        else:
            share, weights = R - y * R.sum(dim, keepdim=True), y
        received, there = x * share, weights != 0
        if self.rule.bias == "redistribute":
            received = received + _equally(R - received.masked_fill(~there, 0.0), there, dim)
        return torch.where(there, received, 0.0)


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dim: int,
        arguments: tuple[object, ...],
        options: dict[str, object],
        step: SoftmaxStep,
        trace: Trace | None,
    ) -> Tensor:
        y = step.weights(x, dim, arguments, options)
        ctx.step, ctx.trace, ctx.dim = step, trace, dim
        ctx.save_for_backward(x, y)
        return y

    @staticmethod
    def backward(ctx: Any, R: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        step: SoftmaxStep = ctx.step
        x, y = ctx.saved_tensors
        received = torch.zeros_like(x) if step.constant else step.share(R, x, y, ctx.dim)
        if ctx.trace is not None:
            arrived, passed = (step.layouts.out.per_sample(x) for x in (R, received))
            zero = torch.zeros_like(arrived)
            bias, rule = (zero, arrived) if step.constant else (arrived - passed, zero)
            ctx.trace.ledger[step.name] = LedgerEntry(arrived, passed, bias, zero, rule)
            ctx.trace.weigh(step.name, step.layouts, R, [received])
        return received, None, None, None, None, None


def _equally(kept: Tensor, there: Tensor, dim: int) -> Tensor:
    """The sum of what was kept along dim, in equal parts to the entries that are there."""
    return kept.sum(dim, keepdim=True) / there.sum(dim, keepdim=True).clamp(min=1)


class MixStep(nn.Module):
    """A movement of values that mixes activations with constants: a class token, padding, a mask.

    Its own gradient is the rule; what goes to the constants is `bias` in the ledger. So do the zeros that pad a layer
    whose rule gives to a zero: under `redistribute`, w^2, flat or z-B they keep their share.
    """

    def __init__(self, name: str, function: Callable[..., Tensor], layouts: Layouts) -> None:
        super().__init__()
        self.name, self.function, self.layouts = name, function, layouts

    def forward(self, *arguments: Any, trace: Trace | None, **options: Any) -> Tensor:
        """The operator's output."""
        if trace is None:
            return self.function(*arguments, **options)
        record = _Record(self.name, trace, self.layouts)
        arguments, options = tree_map_only(Tensor, record.enter, (arguments, options))
        return _Watch.apply(self.function(*arguments, **options), record.arrive)  # type: ignore[no-any-return]


@dataclass
class _Record:
    """One pass through a MixStep, as it is seen on the way back."""

    name: str
    trace: Trace
    layouts: Layouts
    entered: int = 0
    size: Tensor = field(init=False)

    def enter(self, x: Tensor) -> Tensor:
        if not x.requires_grad:
            return x
        layout = self.layouts.sources[self.entered]
        self.entered += 1
        return _Watch.apply(x, lambda R: self.add(layout, R))  # type: ignore[no-any-return]

    def arrive(self, R: Tensor) -> None:
        arrived = self.layouts.out.per_sample(R)
        zero = torch.zeros_like(arrived)
        self.trace.ledger[self.name] = LedgerEntry(arrived, zero, arrived, zero, zero)
        self.trace.amplification[self.name] = zero
        self.size = self.layouts.out.per_sample(R.abs())

    def add(self, layout: Layout, R: Tensor) -> None:
        entry, passed = self.trace.ledger[self.name], layout.per_sample(R)
        self.trace.ledger[self.name] = replace(entry, passed=entry.passed + passed, bias=entry.bias - passed)
        known = self.trace.amplification[self.name]
        self.trace.amplification[self.name] = known + layout.per_sample(R.abs()) / self.size


class _Watch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, seen: Callable[[Tensor], None]) -> Tensor:
        ctx.seen = seen
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, R: Tensor) -> tuple[Tensor, None]:
        ctx.seen(R)
        return R, None
