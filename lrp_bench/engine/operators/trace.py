"""What a recorded pass leaves: relevance at the input of each module, and each operator's ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lrp_bench.contracts import LedgerEntry
from lrp_bench.engine.rules.batch_axes import Layouts


@dataclass
class Trace:
    """What a recorded pass leaves: relevance at the input of each module, each operator's ledger and amplification."""

    layers: dict[str, Tensor] = field(default_factory=dict)
    ledger: dict[str, LedgerEntry] = field(default_factory=dict)
    amplification: dict[str, Tensor] = field(default_factory=dict)

    def weigh(self, name: str, layouts: Layouts, R: Tensor, received: Iterable[Tensor | None]) -> None:
        """Note sum |R_in| / sum |R_out|: what an operator's operands received, against what arrived at its output."""
        operands = zip(layouts.sources, received, strict=True)
        sizes = [layout.per_sample(r.abs()) for layout, r in operands if r is not None]
        self.amplification[name] = torch.stack(sizes).sum(0) / layouts.out.per_sample(R.abs())


class Tap(nn.Module):
    """The edge on which relevance enters a module of the user's, on its way up."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor, *, trace: Trace | None) -> Tensor:
        """X itself, recorded if there is a trace."""
        return x if trace is None else _Record.apply(x, self.name, trace)


class _Record(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, name: str, trace: Trace) -> Tensor:
        ctx.name, ctx.trace = name, trace
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, R: Tensor) -> tuple[Tensor, None, None]:
        ctx.trace.layers[ctx.name] = R.contiguous()
        return R, None, None
