"""What takes an operator's place in the rewritten graph: its forward, and a backward that is a relevance rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from lrp_bench.contracts import LedgerEntry
from lrp_bench.engine.operators.recompute import recomputed
from lrp_bench.engine.operators.trace import Trace
from lrp_bench.engine.rules.affine import Affine
from lrp_bench.engine.rules.batch_axes import PAIR, PLAIN, Layouts
from lrp_bench.engine.rules.redistribution import account, share
from lrp_bench.engine.rules.rule import Rule
from lrp_bench.engine.rules.stabilizer import quotient
from lrp_bench.engine.rules.terms import Input


class AffineStep(nn.Module):
    """A linear operator under a rule. rectified: a ReLU follows and is applied here, in place."""

    def __init__(self, name: str, layer: Affine, rule: Rule, layouts: Layouts = PLAIN, *, nonnegative: bool) -> None:
        super().__init__()
        self.name, self.layer, self.rule, self.nonnegative = name, layer, rule, nonnegative
        self.layouts, self.rectified = layouts, False

    def forward(self, x: Tensor, *, trace: Trace | None) -> Tensor:
        """The operator's output, (batch, ...)."""
        return _Share.apply(x, self, trace)  # type: ignore[no-any-return]

    def output(self, x: Tensor) -> Tensor:
        """The same without a way back."""
        z = self.layer(x)
        return z.relu_() if self.rectified else z


class _Share(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: AffineStep, trace: Trace | None) -> Tensor:
        ctx.step, ctx.trace = step, trace
        if step.layer.cheap:
            ctx.save_for_backward(x, None, None)
            return recomputed(step.output(x), step.output, x, saved=True)
        z_minus = step.rule.negative_part(Input(x, step.nonnegative, step.rectified), step.layer)
        z = step.output(x) if z_minus is None else step.layer.positive(x).add_(z_minus)
        if z_minus is not None and step.rectified:
            z.relu_()
        ctx.save_for_backward(x, z if step.rule.uses_output or z_minus is not None else None, z_minus)
        return z

    @staticmethod
    def backward(ctx: Any, R: Tensor) -> tuple[Tensor, None, None]:
        step: AffineStep = ctx.step
        x, z, z_minus = ctx.saved_tensors
        a = Input(x, step.nonnegative, step.rectified, z_minus)
        received = share(step.rule, step.layer, a, z, R)
        if ctx.trace is not None:
            a = Input(x, step.nonnegative, step.rectified)  # the ledger computes its own sums
            ctx.trace.ledger[step.name] = account(step.rule, step.layer, a, R, received, step.layouts)
            ctx.trace.weigh(step.name, step.layouts, R, [received])
        return received, None, None


class PassStep(nn.Module):
    """An activation: relevance goes through unchanged."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, *arguments: object, **options: object) -> Tensor:
        """The activation of x, the shape of x."""
        return _Pass.apply(x, self.function, arguments, options)  # type: ignore[no-any-return]


class _Pass(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        function: Callable[..., Tensor],
        arguments: tuple[object, ...],
        options: dict[str, object],
    ) -> Tensor:
        def activate(x: Tensor) -> Tensor:
            return function(x, *arguments, **options)

        return recomputed(activate(x), activate, x)

    @staticmethod
    def backward(ctx: Any, R: Tensor) -> tuple[Tensor, None, None, None]:
        return R, None, None, None


def valued(x: Tensor, value: Tensor) -> Tensor:
    """The value in the place of x, whose relevance it takes."""
    return _Pass.apply(x, lambda _: value.view_as(value), (), {})  # type: ignore[no-any-return]


class SumStep(nn.Module):
    """a + factor * b of two activations: relevance is split in proportion to the parts, stabilised by the rule.

    rectified: a ReLU follows and is applied here, in place.
    """

    def __init__(self, name: str, factor: float, rule: Rule, layouts: Layouts = PAIR) -> None:
        super().__init__()
        self.name, self.factor, self.rule, self.layouts = name, factor, rule, layouts
        self.rectified = False

    def value(self, a: Tensor, b: Tensor) -> Tensor:
        """The sum alone."""
        return torch.add(a, b, alpha=self.factor)

    def forward(self, a: Tensor, b: Tensor, *, trace: Trace | None) -> Tensor:
        """The sum, broadcast."""
        return _Split.apply(a, b, self, trace)  # type: ignore[no-any-return]


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, step: SumStep, trace: Trace | None) -> Tensor:
        z = step.value(a, b)
        if step.rectified:
            z.relu_()
        ctx.step, ctx.trace = step, trace
        ctx.save_for_backward(a, b, z if step.rectified else None)
        return z

    @staticmethod
    def backward(ctx: Any, R: Tensor) -> tuple[Tensor, Tensor, None, None]:
        step: SumStep = ctx.step
        a, b, z = ctx.saved_tensors
        if z is None:
            z = step.value(a, b)
        accounted = ctx.trace is not None or step.rule.bias == "redistribute"
        epsilon, relative = step.rule.epsilon, step.rule.relative
        s = quotient(R, z.clone() if accounted else z, epsilon, relative=relative, sign=int(step.rectified))
        kept = (R - s * z) if accounted else None
        first, second = s * a, s.mul_(b)
        second = second if step.factor == 1 else second.mul_(step.factor)
        if kept is not None and step.rule.bias == "redistribute":
            first, second, kept = first + kept / 2, second + kept / 2, torch.zeros_like(kept)
        first, second = first.sum_to_size(a.shape), second.sum_to_size(b.shape)
        if ctx.trace is not None and kept is not None:
            arrived, lost = step.layouts.out.per_sample(R), step.layouts.out.per_sample(kept)
            passed = step.layouts.sources[0].per_sample(first) + step.layouts.sources[1].per_sample(second)
            zero = torch.zeros_like(arrived)
            ctx.trace.ledger[step.name] = LedgerEntry(arrived, passed, zero, lost, zero)
            ctx.trace.weigh(step.name, step.layouts, R, [first, second])
        return first, second, None, None
