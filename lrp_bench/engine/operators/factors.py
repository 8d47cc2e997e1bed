"""Products along a dimension: every factor gets the same part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lrp_bench.contracts import LedgerEntry
from lrp_bench.engine.operators.trace import Trace
from lrp_bench.engine.rules.batch_axes import Layouts
from lrp_bench.engine.rules.rule import Rule
from lrp_bench.engine.rules.stabilizer import quotient


class FactorsStep(nn.Module):
    """prod(x, dim) of N factors: R_i = R / N, as of two (Achtibat et al. 2024, proposition 3.2), stabilised."""

    def __init__(self, name: str, function: Callable[..., Tensor], rule: Rule, layouts: Layouts) -> None:
        super().__init__()
        self.name, self.function, self.rule, self.layouts = name, function, rule, layouts

    def forward(self, x: Tensor, dim: int, keepdim: bool = False, *, trace: Trace | None, **options: object) -> Tensor:
        """The product along dim."""
        return _Factors.apply(x, dim, keepdim, options, self, trace)  # type: ignore[no-any-return]


class _Factors(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dim: int, keepdim: bool, options: Any, step: FactorsStep, trace: Trace | None
    ) -> Tensor:
        z: Tensor = step.function(x, dim, keepdim, **options)
        ctx.step, ctx.trace, ctx.dim, ctx.shape = step, trace, None if keepdim else dim, x.shape
        ctx.count = x.shape[dim]
        ctx.save_for_backward(z)
        return z

    @staticmethod
    def backward(ctx: Any, R: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        step: FactorsStep = ctx.step
        (z,) = ctx.saved_tensors
        part = z * quotient(R, ctx.count * z, step.rule.epsilon, relative=step.rule.relative)
        part = R / ctx.count if step.rule.bias == "redistribute" else part
        received = (part if ctx.dim is None else part.unsqueeze(ctx.dim)).expand(ctx.shape)
        if ctx.trace is not None:
            arrived, passed = step.layouts.out.per_sample(R), step.layouts.sources[0].per_sample(received)
            zero = torch.zeros_like(arrived)
            ctx.trace.ledger[step.name] = LedgerEntry(arrived, passed, zero, arrived - passed, zero)
            ctx.trace.weigh(step.name, step.layouts, R, [received])
        return received.contiguous(), None, None, None, None, None
