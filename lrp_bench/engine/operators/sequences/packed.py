"""Recurrent networks over sequences of several lengths, padded: between two lengths the same samples are there.

So a layer is run, and walked back, from length to length, over the samples that are at least as long; what a sample's
last state receives enters where the sample ends. Read backwards, each sequence begins at its own end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lrp_bench.engine.capture.packing import check_lengths
from lrp_bench.engine.operators.sequences.cells import Books, Cell, State
from lrp_bench.engine.operators.sequences.recurrent import RecurrentStep
from lrp_bench.engine.operators.trace import Trace


@dataclass(frozen=True, eq=False)
class Span:
    """The steps from one length to the next, and the samples that are there, with the states they came with."""

    start: int
    stop: int
    rows: Tensor
    states: list[Tensor]

    def of(self, x: Tensor) -> Tensor:
        """This part of (time, batch, features)."""
        return x[self.start : self.stop].index_select(1, self.rows)

    def put(self, x: Tensor, part: Tensor) -> None:
        """Write this part of (time, batch, features)."""
        x[self.start : self.stop, self.rows] = part


class PackedStep(RecurrentStep):
    """Layers of cells over padded sequences (time, batch, features) with their lengths (batch,)."""

    def forward(self, x: Tensor, lengths: Tensor, *states: Tensor, trace: Trace | None) -> tuple[Tensor, ...]:  # type: ignore[override]
        """The padded sequence, zeros behind each end, and each sample's last states."""
        check_lengths(lengths, len(x))
        return _Unroll.apply(x, lengths, self, trace, *states)  # type: ignore[no-any-return]

    def run_cell(
        self, cell: Cell, x: Tensor, states: Sequence[Tensor], lengths: Tensor
    ) -> tuple[Tensor, list[Tensor], list[Span]]:
        """One cell's sequence, last states (batch, features) each, and the spans it was run in."""
        y, now, spans, start = x.new_zeros(*x.shape[:2], states[0].shape[1]), [s.clone() for s in states], [], 0
        for stop in sorted(set(lengths.tolist())):
            rows = (lengths >= stop).nonzero()[:, 0].to(x.device)
            span = Span(start, stop, rows, [state[rows] for state in now])
            part, *ends = self.run_cells([cell], span.of(x), [state[None] for state in span.states])
            span.put(y, part)
            for state, end in zip(now, ends, strict=True):
                state[rows] = end[0]
            spans.append(span)
            start = stop
        return y, now, spans

    def back_cell(
        self, cell: Cell, books: Books, x: Tensor, y: Tensor, spans: Sequence[Span], R: Tensor, R_ends: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Relevance of the cell's input (time, batch, inputs), and of its initial states (batch, features)."""
        R_x, R_now = torch.zeros_like(x), [end.clone() for end in R_ends]
        for span in reversed(spans):
            part = Books(span.states[0], kept=books.kept)
            carries = [span.start > 0 or first for first in self.carries]
            given = [State(value, c) for value, c in zip(span.states, carries, strict=True)]
            ends = [state[span.rows] for state in R_now]
            R_in, R_given = cell.back(part, span.of(x), span.of(y), given, span.of(R), ends)
            span.put(R_x, R_in)
            for state, received in zip(R_now, R_given, strict=True):
                state[span.rows] = received
            _add(books, part, span.rows)
        return R_x, R_now


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, lengths: Tensor, step: PackedStep, trace: Trace | None, *states: Tensor
    ) -> tuple[Tensor, ...]:
        sequences, last, spans = [x], list[list[Tensor]](), []
        for number, cells in enumerate(step.layers):
            outputs = []
            for direction, cell in enumerate(cells):
                given = [state[direction] for state in step.of_layer(states, number)]
                y, ends, found = step.run_cell(cell, _turned(sequences[-1], lengths, direction), given, lengths)
                outputs.append(_turned(y, lengths, direction))
                last.append(ends)
                spans.append(found)
            sequences.append(torch.cat(outputs, -1))
        ctx.step, ctx.trace, ctx.lengths, ctx.spans = step, trace, lengths, spans
        ctx.save_for_backward(*sequences, *states)
        return sequences[-1], *(torch.stack(ends) for ends in zip(*last, strict=True))

    @staticmethod
    def backward(ctx: Any, R_y: Tensor, *R_last: Tensor) -> tuple[Tensor | None, ...]:
        step, lengths, number_of_layers = ctx.step, ctx.lengths, len(ctx.step.layers)
        sequences, states = ctx.saved_tensors[: number_of_layers + 1], ctx.saved_tensors[number_of_layers + 1 :]
        books = Books(states[0][0], kept=ctx.trace is not None)
        R, R_first, place = R_y, list[list[Tensor]](), len(ctx.spans)
        for number in reversed(range(number_of_layers)):
            x, y, cells = sequences[number], sequences[number + 1], step.layers[number]
            parts = zip(cells, y.chunk(len(cells), -1), R.chunk(len(cells), -1), strict=True)
            R, place = torch.zeros_like(x), place - len(cells)
            R_given = []
            for direction, (cell, y_one, R_one) in enumerate(parts):
                x_one, y_one, R_one = (_turned(v, lengths, direction) for v in (x, y_one, R_one))
                ends = [end[place + direction] for end in R_last]
                R_in, given = step.back_cell(cell, books, x_one, y_one, ctx.spans[place + direction], R_one, ends)
                R = R + _turned(R_in, lengths, direction)
                R_given.append(given)
            R_first = R_given + R_first
        R_states = [torch.stack(of_state) for of_state in zip(*R_first, strict=True)]
        step.account(ctx.trace, books, (R_y, *R_last), (R, *R_states))
        return R, None, None, None, *R_states


def _add(books: Books, part: Books, rows: Tensor) -> None:
    """Enter the books of some of the samples into those of all."""
    for name in ("bias", "stabilizer", "rule"):
        setattr(books, name, getattr(books, name).index_add(0, rows, getattr(part, name)))


def _turned(x: Tensor, lengths: Tensor, direction: int) -> Tensor:
    """Each sequence of (time, batch, features) from its end to its beginning, where the direction is backwards."""
    if not direction:
        return x
    steps = torch.arange(len(x), device=x.device)[:, None]
    ends = lengths.to(x.device)
    index = torch.where(steps < ends, ends - 1 - steps, steps)
    return x.gather(0, index[..., None].expand_as(x))
