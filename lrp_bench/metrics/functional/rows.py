"""One row per sample: the form in which the measures read their tensors."""

from __future__ import annotations

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError


def rows(values: Tensor) -> Tensor:
    """(batch, ...) -> (batch, n); float64 stays, everything else becomes float32."""
    if values.dim() < 2:
        raise BenchError(f"Expected (batch, ...) with at least two axes, got {tuple(values.shape)}: add a batch axis")
    return values.flatten(1).to(torch.promote_types(values.dtype, torch.float32))


def paired_rows(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors of one shape -> two (batch, n) of one type."""
    if a.shape != b.shape:
        raise BenchError(
            f"Expected two tensors of one shape, got {tuple(a.shape)} and {tuple(b.shape)}: "
            "sum both over channels, or pool both over the same patches"
        )
    a, b = rows(a), rows(b)
    dtype = torch.promote_types(a.dtype, b.dtype)
    return a.to(dtype), b.to(dtype)


def varied(values: Tensor) -> Tensor:
    """(batch, n) -> (batch,) bool: whether a row holds two different numbers, and no NaN."""
    return values.amax(1) > values.amin(1)


def undefined_unless(defined: Tensor, values: Tensor) -> Tensor:
    """Values, with NaN where `defined` is False."""
    return values.masked_fill(~defined, float("nan"))
