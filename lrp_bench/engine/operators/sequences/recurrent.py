"""LSTM, GRU and Elman networks: one operator in the graph, unrolled over time for the relevance."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx, nn

from lrp_bench.contracts import BenchError, LedgerEntry
from lrp_bench.engine.capture.capture import packed
from lrp_bench.engine.capture.graph import operator_name
from lrp_bench.engine.operators.sequences.cells import Books, Cell, ElmanCell, GRUCell, LSTMCell, State, Weights
from lrp_bench.engine.operators.table import arguments
from lrp_bench.engine.operators.trace import Trace
from lrp_bench.engine.rules.batch_axes import Layout
from lrp_bench.engine.rules.rule import Rule

CELLS: Mapping[str, type[Cell]] = {
    "aten::lstm": LSTMCell,
    "aten::gru": GRUCell,
    "aten::rnn_tanh": ElmanCell,
    "aten::rnn_relu": ElmanCell,
}


class RecurrentStep(nn.Module):
    """Layers of cells. The forward pass is torch's own, one call a layer; its outputs are what the way back needs.

    operator: torch's; weights: one for each direction of each layer; carries: which initial states depend on the
    network's input; rows: whose the sequences of the operator's batch are.
    """

    def __init__(
        self,
        name: str,
        operator: Callable[..., tuple[Tensor, ...]],
        layers: Sequence[Sequence[Cell]],
        carries: Sequence[bool],
        *,
        batch_first: bool,
        rows: Layout,
    ) -> None:
        super().__init__()
        self.name, self.operator, self.layers = name, operator, layers
        self.carries, self.batch_first, self.rows = carries, batch_first, rows

    def forward(self, x: Tensor, *states: Tensor, trace: Trace | None) -> tuple[Tensor, ...]:
        """Outputs as the operator's: the sequence, and the last states (layers * directions, batch, features)."""
        return _Unroll.apply(x, self, trace, *states)  # type: ignore[no-any-return]

    def time_first(self, x: Tensor) -> Tensor:
        """(time, batch, features), and back again."""
        return x.transpose(0, 1) if self.batch_first else x

    def of_layer(self, states: Sequence[Tensor], number: int) -> list[Tensor]:
        """The states of one layer, (directions, batch, features) each."""
        directions = len(self.layers[number])
        return [state[number * directions : (number + 1) * directions] for state in states]

    def run_layer(self, number: int, x: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """One layer's sequence and last states."""
        return self.run_cells(self.layers[number], x, self.of_layer(states, number))

    def run_cells(self, cells: Sequence[Cell], x: Tensor, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The same of one direction or both, with the states (directions, batch, features)."""
        weights = [w for cell in cells for w in vars(cell.weights).values() if w is not None]
        biases, both = cells[0].weights.input_bias is not None, len(cells) == 2
        first = given if len(given) > 1 else given[0]
        return self.operator(x, first, weights, biases, 1, 0.0, False, both, False)

    def account(self, trace: Trace | None, books: Books, R_out: Sequence[Tensor], R_in: Sequence[Tensor]) -> None:
        """Note what arrived and what passed, time or layers first."""
        if trace is not None:
            entry, per_sample = books.entry(_per_sample(*R_out), _per_sample(*R_in)), self.rows.per_sample
            trace.ledger[self.name] = LedgerEntry(**{part: per_sample(each) for part, each in vars(entry).items()})
            into, out = ([part.abs() for part in parts] for parts in (R_in, R_out))
            trace.amplification[self.name] = per_sample(_per_sample(*into)) / per_sample(_per_sample(*out))


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: RecurrentStep, trace: Trace | None, *states: Tensor) -> tuple[Tensor, ...]:
        sequences, last = [step.time_first(x)], []
        for number in range(len(step.layers)):
            y, *ends = step.run_layer(number, sequences[-1], states)
            sequences.append(y)
            last.append(ends)
        ctx.step, ctx.trace, ctx.layers = step, trace, len(sequences)
        ctx.save_for_backward(*sequences, *states)
        return step.time_first(sequences[-1]), *(torch.cat(ends) for ends in zip(*last, strict=True))

    @staticmethod
    def backward(ctx: Any, R_y: Tensor, *R_last: Tensor) -> tuple[Tensor | None, ...]:
        step: RecurrentStep = ctx.step
        sequences, states = ctx.saved_tensors[: ctx.layers], ctx.saved_tensors[ctx.layers :]
        books = Books(states[0][0], kept=ctx.trace is not None)
        R, R_states = step.time_first(R_y), list[list[Tensor]]()
        for number in reversed(range(len(step.layers))):
            R, R_initial = _layer_back(step, number, books, sequences, states, R, R_last)
            R_states.insert(0, R_initial)
        R_first = [torch.cat(of_state) for of_state in zip(*R_states, strict=True)]
        step.account(ctx.trace, books, (step.time_first(R_y), *R_last), (R, *R_first))
        return step.time_first(R), None, None, *R_first


def _layer_back(
    step: RecurrentStep,
    number: int,
    books: Books,
    sequences: Sequence[Tensor],
    states: Sequence[Tensor],
    R: Tensor,
    R_last: Sequence[Tensor],
) -> tuple[Tensor, list[Tensor]]:
    """Relevance of one layer's input (time, batch, inputs), and of its initial states (directions, batch, features)."""
    x, y, cells = sequences[number], sequences[number + 1], step.layers[number]
    initial, R_ends = step.of_layer(states, number), step.of_layer(R_last, number)
    R_x, R_initial = torch.zeros_like(x), []
    for direction, (cell, y_one, R_one) in enumerate(
        zip(cells, y.chunk(len(cells), -1), R.chunk(len(cells), -1), strict=True)
    ):
        turn = torch.flip if direction else _as_it_is
        given = [State(value[direction], carries) for value, carries in zip(initial, step.carries, strict=True)]
        ends = [R_end[direction] for R_end in R_ends]
        R_in, R_given = cell.back(books, turn(x, [0]), turn(y_one, [0]), given, turn(R_one, [0]), ends)
        R_x += turn(R_in, [0])
        R_initial.append(R_given)
    return R_x, [torch.stack(of_state) for of_state in zip(*R_initial, strict=True)]


def _as_it_is(x: Tensor, dims: list[int]) -> Tensor:
    return x


def _per_sample(*parts: Tensor) -> Tensor:
    """The sum over all but the second dimension of (time or layers, batch, features)."""
    return torch.stack([part.sum((0, 2)) for part in parts]).sum(0)


def recurrent_step(
    node: fx.Node,
    name: str,
    rule: Rule,
    split: Rule,
    constant: Callable[[object], Tensor | None],
    carries: Callable[[object], bool],
    layout: Layout,
    over: type[RecurrentStep] = RecurrentStep,
) -> tuple[RecurrentStep, tuple[fx.Node, ...]]:
    """The step in a node's place, and the nodes it is called with: the sequence and the initial states.

    constant: the tensor behind a node of weights, else None; carries: whether a node depends on the network's input;
    layout: of the samples in the output; over: what kind of step, over padded sequences it is called with their
    lengths, too. Raises BenchError for packed sequences and for programs in training mode.
    """
    if node.target._overloadname == "data":  # type: ignore[union-attr]
        raise packed(name)
    a = arguments(node, lambda given: given)
    if a["train"] and a["dropout"] > 0 and a["num_layers"] > 1:
        raise BenchError(
            f"Expected {name} in eval mode, got it in training mode with dropout {a['dropout']}: export model.eval()."
        )
    weights = [constant(w) for w in a["params"]]
    if any(w is None for w in weights):
        raise BenchError(f"Expected constant weights in {name}, got computed ones: make them parameters of the module.")
    operator, directions = operator_name(node).replace("lrp_bench::packed_", "aten::"), 2 if a["bidirectional"] else 1
    cells = [
        CELLS[operator](w, rule, split)
        for w in _grouped(weights, a["num_layers"] * directions, has_biases=a["has_biases"])
    ]
    layers = [cells[i : i + directions] for i in range(0, len(cells), directions)]
    states = a["hx"] if isinstance(a["hx"], Sequence) else [a["hx"]]
    plain = getattr(torch.ops.aten, operator.removeprefix("aten::")).input
    given, rows = [carries(s) for s in states], replace(layout, axis=0)
    step = over(name, plain, layers, given, batch_first=a["batch_first"], rows=rows)
    return step, (a["input"], *([a["lengths"]] if "lengths" in a else []), *states)


def _grouped(weights: Sequence[Any], number: int, *, has_biases: bool) -> list[Weights]:
    each, plain = len(weights) // number, 4 if has_biases else 2
    groups = [weights[i : i + each] for i in range(0, len(weights), each)]
    return [Weights(*group[:plain], **({"projection": group[plain]} if len(group) > plain else {})) for group in groups]
