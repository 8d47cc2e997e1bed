"""Where the samples of a batch lie in an activation: not always along its first dimension.

Attention works on (tokens, batch, features), on (tokens * batch, features), on (batch * windows, ...), siamese networks
on two batches one behind the other: the ledger counts per sample all the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError

Run = tuple[int, int]  # outer, inner: outer times the batch, each sample with inner entries in a row


@dataclass(frozen=True)
class Layout:
    """Dimension `axis` holds these runs, one behind the other; no run: nobody can tell which entries are whose.

    source: the operator that is to blame for that.
    """

    axis: int = 0
    runs: tuple[Run, ...] = ((1, 1),)
    source: str = ""

    @property
    def count(self) -> int:
        """How many entries each sample has along the axis."""
        return sum(outer * inner for outer, inner in self.runs)

    @property
    def plain(self) -> bool:
        """Whether each row along the first dimension is (a part of) one sample."""
        return self.axis == 0

    def per_sample(self, x: Tensor) -> Tensor:
        """Sum over everything but the samples: (batch,). Raises BenchError where that cannot be told."""
        if self == Layout():
            return x.flatten(1).sum(1) if x.dim() > 1 else x
        return sum(part.sum((0, *range(2, part.dim()))) for part in self.parts(x))  # type: ignore[return-value]

    def parts(self, x: Tensor) -> Iterator[Tensor]:
        """The runs of x, each as (outer, batch, inner, ...)."""
        if not self.runs:
            raise BenchError(
                f"Expected operators that keep the samples of a batch apart, got {self.source}, behind which no one "
                "can tell which entries are whose: read the relevance, but neither ledger nor amplification; or let "
                "the network put samples one behind the other with cat, stack, repeat or reshape alone."
            )
        rows = x.movedim(self.axis, 0)
        batch = len(rows) // self.count
        sizes = [outer * inner * batch for outer, inner in self.runs]
        for part, (outer, inner) in zip(torch.split(rows, sizes), self.runs, strict=True):
            yield part.reshape(outer, batch, inner, *rows.shape[1:])


@dataclass(frozen=True)
class Layouts:
    """Of an operator's output, and of each operand that relevance goes to."""

    out: Layout
    sources: tuple[Layout, ...]


PLAIN = Layouts(Layout(), (Layout(),))
PAIR = Layouts(Layout(), (Layout(), Layout()))
