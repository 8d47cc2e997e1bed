"""The cells of recurrent networks, walked back through time.

A product gate * signal gives the signal all relevance, a sum of two signals is split in proportion, and the linear
part of the candidate g = tanh(W x + U h + b) is a layer like any other, with inputs x and h (Arras et al. 2017,
WASSA, section 3.2; Arras et al. 2019, LNCS 11700, chapter 11). A state that does not depend on the network's input
counts as part of the bias.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional as F

from lrp_bench.contracts import LedgerEntry
from lrp_bench.engine.rules.affine import Affine, Dense, Scale
from lrp_bench.engine.rules.redistribution import account, share
from lrp_bench.engine.rules.rule import Rule
from lrp_bench.engine.rules.terms import Input


@dataclass(frozen=True, eq=False)
class Pair(Affine):
    """The sum of two signals, (batch, 2, features) -> (batch, features); weight is (2, 1)."""

    def linear(self, x: Tensor) -> Tensor:  # noqa: D102
        return (x * self.weight).sum(1)

    def pull(self, s: Tensor, x: Tensor) -> Tensor:  # noqa: D102
        return s[:, None] * self.weight


@dataclass(frozen=True, eq=False)
class Gated(Affine):
    """W x + gate * (U h) + bias of the input (batch, x and h side by side), at one time step.

    joint: holds weight = [W U] and keeps its modified copies for all time steps; first: the length of x; gate: (batch,
    features), or None for one. For rules that look at no weight, neither do they look at the gate.
    """

    joint: Dense
    first: int
    gate: Tensor | None = None

    def linear(self, x: Tensor) -> Tensor:  # noqa: D102
        if self.gate is None:
            return F.linear(x, self.weight)
        W, U = self.weight[:, : self.first], self.weight[:, self.first :]
        return F.linear(x[:, : self.first], W) + self.gate * F.linear(x[:, self.first :], U)

    def pull(self, s: Tensor, x: Tensor) -> Tensor:  # noqa: D102
        if self.gate is None:
            return s @ self.weight
        W, U = self.weight[:, : self.first], self.weight[:, self.first :]
        return torch.cat([s @ W, (s * self.gate) @ U], dim=1)

    def modified(self, key: object, change: Callable[[Tensor], Tensor]) -> Self:  # noqa: D102
        if key not in self._kept:
            joint, bias = self.joint.modified(key, change), None if self.bias is None else change(self.bias)
            gate = change(self.gate) if self.gate is not None and key in ("flat", "squared") else self.gate
            self._kept[key] = type(self)(joint.weight, bias, joint, self.first, gate)
        return self._kept[key]  # type: ignore[return-value]


@dataclass(frozen=True)
class Weights:
    """One layer and direction, in torch's layout: (gates * features, inputs), the gates one below the other."""

    input: Tensor
    hidden: Tensor
    input_bias: Tensor | None = None
    hidden_bias: Tensor | None = None
    projection: Tensor | None = None


@dataclass(frozen=True, eq=False)
class State:
    """An initial state (batch, features), and whether it depends on the network's input."""

    value: Tensor
    carries: bool


@dataclass(eq=False)
class Books:
    """Shares relevance and, if `kept`, remembers what bias, stabiliser and rule took: (batch,) each."""

    like: Tensor
    kept: bool
    bias: Tensor = field(init=False)
    stabilizer: Tensor = field(init=False)
    rule: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.bias = self.stabilizer = self.rule = self.like.new_zeros(len(self.like))

    def share(self, rule: Rule, layer: Affine, a: Tensor, z: Tensor, R: Tensor) -> Tensor:
        """Relevance of a, the input of a layer with the output z."""
        received = share(rule, layer, Input(a), z.clone() if rule.uses_output else None, R)
        if self.kept:
            entry = account(rule, layer, Input(a), R, received)
            self.bias, self.rule = self.bias + entry.bias, self.rule + entry.rule
            self.stabilizer = self.stabilizer + entry.stabilizer
        return received

    def entry(self, arrived: Tensor, passed: Tensor) -> LedgerEntry:
        """The ledger's line for all shares together."""
        return LedgerEntry(arrived, passed, self.bias, self.stabilizer, self.rule)


class Candidate:
    """The linear part of a cell's signal: z = W x + b + gate * (U h + d)."""

    def __init__(self, W: Tensor, U: Tensor, b: Tensor | None, d: Tensor | None, rule: Rule) -> None:
        self.joint, self.alone = Dense(torch.cat([W, U], 1), None), Dense(W, None)
        self.U, self.b, self.d, self.rule = U, b, d, rule

    def back(
        self, books: Books, x: Tensor, h: State, gate: Tensor | None, z: Tensor, R: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Relevance of x and of h at one time step."""
        constant = self.d if h.carries else F.linear(h.value, self.U, self.d)
        offset = constant if gate is None or constant is None else gate * constant
        bias = self.b if offset is None else offset if self.b is None else self.b + offset
        if not h.carries:
            layer = Gated(self.alone.weight, bias, self.alone, x.shape[1])
            return books.share(self.rule, layer, x, z, R), torch.zeros_like(h.value)
        layer = Gated(self.joint.weight, bias, self.joint, x.shape[1], gate)
        received = books.share(self.rule, layer, torch.cat([x, h.value], 1), z, R)
        return received[:, : x.shape[1]], received[:, x.shape[1] :]


class Cell(ABC):
    """One layer and direction.

    rule: for the linear parts; split: for sums of two signals.
    """

    def __init__(self, weights: Weights, rule: Rule, split: Rule) -> None:
        self.weights, self.rule, self.split = weights, rule, split
        self.pair = Pair(weights.input.new_ones(2, 1), None)
        self.one = Scale(weights.input.new_ones(1), None)

    @abstractmethod
    def back(
        self, books: Books, x: Tensor, y: Tensor, states: Sequence[State], R_y: Tensor, R_last: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Relevance of x (time, batch, inputs) and of the initial states (batch, features).

        y: (time, batch, features), the hidden states; R_y: their relevance, R_last that of the last states.
        """

    def candidate(self, rows: slice) -> Candidate:
        """The linear part of the rows that hold the signal."""
        w = self.weights
        b, d = (None if bias is None else bias[rows] for bias in (w.input_bias, w.hidden_bias))
        return Candidate(w.input[rows], w.hidden[rows], b, d, self.rule)

    def parts(self, x: Tensor, h: Tensor, number: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """What the input and the hidden state give to each gate: (time, batch, features) each."""
        w = self.weights
        given = F.linear(x, w.input, w.input_bias), F.linear(h, w.hidden, w.hidden_bias)
        return given[0].chunk(number, -1), given[1].chunk(number, -1)

    def sum_back(
        self, books: Books, kept: Tensor, new: Tensor, z: Tensor, R: Tensor, *, carries: bool
    ) -> tuple[Tensor, Tensor]:
        """Relevance of the two parts of a memory, z = kept + new."""
        if not carries:
            layer = Scale(self.one.weight, kept)
            return torch.zeros_like(kept), books.share(self.split, layer, new, z, R)
        both = books.share(self.split, self.pair, torch.stack([kept, new], 1), z, R)
        return both[:, 0], both[:, 1]


def before(y: Tensor, state: Tensor) -> Tensor:
    """The value one time step earlier, beginning with the initial state."""
    return torch.cat([state[None], y[:-1]])


class LSTMCell(Cell):
    """c_t = f * c_(t-1) + i * g, h_t = o * tanh(c_t), the latter projected where there is a projection."""

    def __init__(self, weights: Weights, rule: Rule, split: Rule) -> None:
        super().__init__(weights, rule, split)
        features = weights.input.shape[0] // 4
        self.signal = self.candidate(slice(2 * features, 3 * features))
        self.projection = None if weights.projection is None else Dense(weights.projection, None)

    def back(  # noqa: D102
        self, books: Books, x: Tensor, y: Tensor, states: Sequence[State], R_y: Tensor, R_last: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        h, (R_h, R_c), R_x = before(y, states[0].value), R_last, torch.empty_like(x)
        i, f, z, o = (a + b for a, b in zip(*self.parts(x, h, 4), strict=True))
        new, forget = i.sigmoid() * z.tanh(), f.sigmoid()
        c = self._memory(forget, new, states[1].value)
        kept, out = forget * before(c, states[1].value), o.sigmoid() * c.tanh()
        for t in reversed(range(len(x))):
            carries = [t > 0 or state.carries for state in states]
            R_m = self._project_back(books, out[t], y[t], R_y[t] + R_h)
            R_c, R_g = self.sum_back(books, kept[t], new[t], c[t], R_c + R_m, carries=carries[1])
            R_x[t], R_h = self.signal.back(books, x[t], State(h[t], carries[0]), None, z[t], R_g)
        return R_x, [R_h, R_c]

    def _memory(self, forget: Tensor, new: Tensor, c: Tensor) -> Tensor:
        memory = []
        for f, n in zip(forget, new, strict=True):
            c = torch.addcmul(n, f, c)
            memory.append(c)
        return torch.stack(memory)

    def _project_back(self, books: Books, m: Tensor, y: Tensor, R: Tensor) -> Tensor:
        return R if self.projection is None else books.share(self.rule, self.projection, m, y, R)


class GRUCell(Cell):
    """n_t = tanh(W x + b + r * (U h_(t-1) + d)), h_t = (1 - u) * n_t + u * h_(t-1)."""

    def __init__(self, weights: Weights, rule: Rule, split: Rule) -> None:
        super().__init__(weights, rule, split)
        features = weights.input.shape[0] // 3
        self.signal = self.candidate(slice(2 * features, 3 * features))

    def back(  # noqa: D102
        self, books: Books, x: Tensor, y: Tensor, states: Sequence[State], R_y: Tensor, R_last: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        h, R_h, R_x = before(y, states[0].value), R_last[0], torch.empty_like(x)
        given, remembered = self.parts(x, h, 3)
        reset, update = (given[k].add(remembered[k]).sigmoid() for k in (0, 1))
        z = given[2] + reset * remembered[2]
        new, kept = (1 - update) * z.tanh(), update * h
        for t in reversed(range(len(x))):
            carries = t > 0 or states[0].carries
            R_kept, R_n = self.sum_back(books, kept[t], new[t], y[t], R_y[t] + R_h, carries=carries)
            R_x[t], R_h = self.signal.back(books, x[t], State(h[t], carries), reset[t], z[t], R_n)
            R_h = R_h + R_kept
        return R_x, [R_h]


class ElmanCell(Cell):
    """h_t = tanh(W x + b + U h_(t-1) + d), or with a ReLU in place of tanh."""

    def __init__(self, weights: Weights, rule: Rule, split: Rule) -> None:
        super().__init__(weights, rule, split)
        self.signal = self.candidate(slice(None))

    def back(  # noqa: D102
        self, books: Books, x: Tensor, y: Tensor, states: Sequence[State], R_y: Tensor, R_last: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        h, R_h, R_x = before(y, states[0].value), R_last[0], torch.empty_like(x)
        z = torch.add(*(part[0] for part in self.parts(x, h, 1)))
        for t in reversed(range(len(x))):
            state = State(h[t], t > 0 or states[0].carries)
            R_x[t], R_h = self.signal.back(books, x[t], state, None, z[t], R_y[t] + R_h)
        return R_x, [R_h]
