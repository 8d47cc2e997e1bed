"""LSTM, GRU and Elman networks against NumPy float64 twins, one sample and one time step at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import oracles
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.engine import LRP
from lrp_bench.engine.composites import EpsilonPlus, Layered
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare, Zero, ZPlus

pytestmark = pytest.mark.usefixtures("float64", "captured_once")

Array = NDArray[np.float64]
BIASES = ("absorb", "exclude", "redistribute")


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def linear_back(rule: Rule, a: Array, w: Array, b: Array, R: Array) -> Array:
    """Relevance of a (inputs,) through z = w a + b; LRP-epsilon is spelled out, other rules come from the oracles."""
    if not isinstance(rule, Epsilon) or rule.relative:
        matrix = oracles.Matrix(*(torch.from_numpy(v) for v in (w.T.copy(), b, np.ones_like(w.T))), a.shape)
        return oracles.share(rule, matrix, torch.from_numpy(a), torch.from_numpy(R))[0].numpy()
    received = np.zeros_like(a)
    for k in range(len(R)):
        z = sum(w[k, j] * a[j] for j in range(len(a))) + (0 if rule.bias == "exclude" else b[k])
        denominator = z + (rule.epsilon if z >= 0 else -rule.epsilon)
        given = [w[k, j] * a[j] / denominator * R[k] for j in range(len(a))]
        rest = (R[k] - sum(given)) / len(a) if rule.bias == "redistribute" else 0.0
        received += np.array(given) + rest
    return received


def sum_back(rule: Rule, parts: list[Array], constant: Array, R: Array) -> list[Array]:
    """Relevance of each part of a sum, feature by feature; the constant stands where a bias does."""
    if isinstance(rule, Epsilon) and rule.relative:
        rms = float(np.sqrt(np.mean((sum(parts) + constant) ** 2)))
        rule = Epsilon(rule.epsilon * rms, bias=rule.bias)
    received = np.zeros((len(parts), len(R)))
    for k in range(len(R)):
        a = np.array([part[k] for part in parts])
        received[:, k] = linear_back(rule, a, np.ones((1, len(a))), constant[k : k + 1], R[k : k + 1])
    return list(received)


@dataclass
class Twin:
    """One layer and direction on one sample.

    w: weight_ih, weight_hh, bias_ih, bias_hh, weight_hr; carries: whether h (and c) depend on the network's input.
    """

    w: dict[str, Array]
    rule: Rule
    split: Rule
    carries: tuple[bool, bool] = (False, False)
    trace: list[dict[str, Array]] = field(default_factory=list)

    def gates(self, x: Array, h: Array, number: int) -> list[tuple[Array, Array]]:
        given, remembered = self.w["weight_ih"] @ x + self.w["bias_ih"], self.w["weight_hh"] @ h + self.w["bias_hh"]
        return list(zip(np.split(given, number), np.split(remembered, number), strict=True))

    def rows(self, number: int, row: int) -> list[Array]:
        return [np.split(self.w[name], number)[row] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]

    def signal_back(self, t: int, now: dict[str, Array], rows: list[Array], gate: Array, R: Array) -> list[Array]:
        W, U, b, d = rows
        x, h = now["x"], now["h"]
        if t == 0 and not self.carries[0]:
            return [linear_back(self.rule, x, W, b + gate * (d + U @ h), R), np.zeros_like(h)]
        both = linear_back(self.rule, np.concatenate([x, h]), np.hstack([W, gate[:, None] * U]), b + gate * d, R)
        return np.split(both, [len(x)])

    def memory_back(self, t: int, state: int, kept: Array, new: Array, R: Array) -> list[Array]:
        if t == 0 and not self.carries[state]:
            return [np.zeros_like(kept), sum_back(self.split, [new], kept, R)[0]]
        return sum_back(self.split, [kept, new], np.zeros_like(kept), R)


class LSTM(Twin):
    def forward(self, x: Array, h: Array, c: Array) -> Array:
        for x_t in x:
            (i, f, g, o) = (a + b for a, b in self.gates(x_t, h, 4))
            now = {"x": x_t, "h": h, "kept": sigmoid(f) * c, "new": sigmoid(i) * np.tanh(g)}
            c = now["kept"] + now["new"]
            now["m"] = sigmoid(o) * np.tanh(c)
            h = self.w["weight_hr"] @ now["m"] if "weight_hr" in self.w else now["m"]
            self.trace.append(now | {"y": h, "c": c})
        return np.stack([now["y"] for now in self.trace])

    def back(self, R_y: Array, R_h: Array, R_c: Array) -> tuple[Array, Array, Array]:
        R_x = []
        for t, now in reversed(list(enumerate(self.trace))):
            R_m = R_h = R_y[t] + R_h
            if "weight_hr" in self.w:
                R_m = linear_back(self.rule, now["m"], self.w["weight_hr"], np.zeros(len(R_h)), R_h)
            R_c, R_g = self.memory_back(t, 1, now["kept"], now["new"], R_c + R_m)
            R_in, R_h = self.signal_back(t, now, self.rows(4, 2), np.ones(len(R_g)), R_g)
            R_x.insert(0, R_in)
        return np.stack(R_x), R_h, R_c


class GRU(Twin):
    def forward(self, x: Array, h: Array, c: Array) -> Array:
        for x_t in x:
            (r_x, r_h), (u_x, u_h), (n_x, n_h) = self.gates(x_t, h, 3)
            r, u = sigmoid(r_x + r_h), sigmoid(u_x + u_h)
            now = {"x": x_t, "h": h, "r": r, "kept": u * h, "new": (1 - u) * np.tanh(n_x + r * n_h)}
            h = now["kept"] + now["new"]
            self.trace.append(now | {"y": h})
        return np.stack([now["y"] for now in self.trace])

    def back(self, R_y: Array, R_h: Array, R_c: Array) -> tuple[Array, Array, Array]:
        R_x = []
        for t, now in reversed(list(enumerate(self.trace))):
            R_kept, R_n = self.memory_back(t, 0, now["kept"], now["new"], R_y[t] + R_h)
            R_in, R_h = self.signal_back(t, now, self.rows(3, 2), now["r"], R_n)
            R_h = R_h + R_kept
            R_x.insert(0, R_in)
        return np.stack(R_x), R_h, R_c


class RNN(Twin):
    def forward(self, x: Array, h: Array, c: Array) -> Array:
        for x_t in x:
            now = {"x": x_t, "h": h}
            h = np.tanh(sum(self.gates(x_t, h, 1)[0]))
            self.trace.append(now | {"y": h})
        return np.stack([now["y"] for now in self.trace])

    def back(self, R_y: Array, R_h: Array, R_c: Array) -> tuple[Array, Array, Array]:
        R_x = []
        for t, now in reversed(list(enumerate(self.trace))):
            R_in, R_h = self.signal_back(t, now, self.rows(1, 0), np.ones(R_y.shape[1]), R_y[t] + R_h)
            R_x.insert(0, R_in)
        return np.stack(R_x), R_h, R_c


TWINS: dict[str, type[Any]] = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}


class Reader(nn.Module):
    """The last output of a recurrent layer, or of each direction, through a linear layer."""

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__()
        self.kind = kind
        self.read = getattr(nn, kind)(3, 4, **options)
        features = (options.get("proj_size") or 4) * (2 if options.get("bidirectional") else 1)
        self.head = nn.Linear(features, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.read(x)[0] if self.read.batch_first else self.read(x.transpose(0, 1))[0].transpose(0, 1)
        return self.head(y[:, -1])


def weights(module: nn.RNNBase, layer: int, reverse: bool) -> dict[str, Array]:
    end = f"_l{layer}{'_reverse' if reverse else ''}"
    found = {name.removesuffix(end): w.detach().numpy() for name, w in module.named_parameters() if name.endswith(end)}
    nothing = np.zeros(len(found["weight_ih"]))
    return {"bias_ih": nothing, "bias_hh": nothing} | found


def twin_relevance(net: Reader, x: Array, R_out: Array, rule: Rule, split: Rule) -> Array:
    """Relevance of one sample's x (time, inputs), from R_out at the logits."""
    cells: list[list[Twin]] = []
    sequence = x
    for layer in range(net.read.num_layers):
        directions = [False, True] if net.read.bidirectional else [False]
        cells.append([TWINS[net.kind](weights(net.read, layer, reverse), rule, split) for reverse in directions])
        size = cells[-1][0].w["weight_hh"].shape[1], net.read.hidden_size
        outputs = [
            cell.forward(sequence[:: -1 if reverse else 1], np.zeros(size[0]), np.zeros(size[1]))[
                :: -1 if reverse else 1
            ]
            for cell, reverse in zip(cells[-1], directions, strict=True)
        ]
        sequence = np.hstack(outputs)
    R = np.zeros_like(sequence)
    head_w, head_b = net.head.weight.detach().numpy(), net.head.bias.detach().numpy()
    R[-1] = linear_back(rule, sequence[-1], head_w, head_b, R_out)
    for layer in reversed(cells):
        parts = np.split(R, len(layer), axis=1)
        zeros = np.zeros(parts[0].shape[1]), np.zeros(net.read.hidden_size)
        turned = [
            cell.back(part[:: -1 if k else 1], *zeros)[0][:: -1 if k else 1]
            for k, (cell, part) in enumerate(zip(layer, parts, strict=True))
        ]
        R = np.sum(turned, axis=0)
    return R


NETS: dict[str, tuple[str, dict[str, Any]]] = {
    "lstm": ("LSTM", {"batch_first": True}),
    "lstm, bidirectional": ("LSTM", {"bidirectional": True}),
    "lstm, two layers, both ways, dropout": (
        "LSTM",
        {"num_layers": 2, "bidirectional": True, "batch_first": True, "dropout": 0.3},
    ),
    "lstm without bias": ("LSTM", {"bias": False, "num_layers": 2}),
    "lstm with projection": ("LSTM", {"proj_size": 2, "bidirectional": True, "batch_first": True}),
    "gru": ("GRU", {"batch_first": True}),
    "gru, two layers, both ways": ("GRU", {"num_layers": 2, "bidirectional": True}),
    "gru without bias": ("GRU", {"bias": False, "batch_first": True}),
    "elman": ("RNN", {"num_layers": 2, "batch_first": True}),
}


def made(name: str) -> tuple[Reader, Tensor]:
    torch.manual_seed(3)
    kind, options = NETS[name]
    net = Reader(kind, **options)
    for w in net.parameters():
        w.data.normal_(std=0.7)
    return net, torch.randn(3, 4, 3)


@pytest.fixture(scope="module")
def nets() -> dict[str, tuple[Reader, Tensor]]:
    torch.set_default_dtype(torch.float64)
    built = {name: made(name) for name in NETS}
    torch.set_default_dtype(torch.float32)
    return built


def against_twin(net: Reader, x: Tensor, rule: Rule) -> None:
    lrp = LRP(net, rule, example=x)
    e = lrp(x)
    assert_close(e.logits, net.eval()(x))
    starts = oracles.one_hot(e.logits) * e.logits
    slow = [
        twin_relevance(net, a, R, rule, lrp.composite.split) for a, R in zip(x.numpy(), starts.numpy(), strict=True)
    ]
    expected = torch.from_numpy(np.stack(slow))
    assert_close(e.relevance, expected, rtol=1e-9, atol=1e-11 * float(expected.abs().max()))
    for entry in e.ledger.values():
        told = entry.passed + entry.bias + entry.stabilizer + entry.rule
        assert_close(told, entry.arrived, rtol=1e-9, atol=1e-12 * float(entry.passed.abs().max() + 1))
    assert set(e.ledger) == set(e.amplification) == {"read", "head"}
    assert_close(e.amplification["head"] * e.amplification["read"] * e.score.abs(), e.relevance.abs().sum((1, 2)))
    assert_close(
        e.layers["read"].reshape(e.relevance.shape) if net.read.batch_first else e.layers["read"].transpose(0, 1),
        e.relevance,
    )


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("name", NETS)
def test_epsilon_is_the_twin(nets: dict[str, tuple[Reader, Tensor]], name: str, bias: Any) -> None:
    against_twin(*nets[name], Epsilon(0.01, bias=bias))


@pytest.mark.parametrize("name", ["lstm, bidirectional", "lstm with projection", "gru", "elman"])
@pytest.mark.parametrize(
    "rule",
    [
        Zero(),
        Epsilon(0.1, relative=True),
        Gamma(0.3),
        Gamma(0.3, generalized=True),
        AlphaBeta(),
        ZPlus(),
        WSquare(),
        Flat(),
    ],
    ids=repr,
)
def test_every_other_rule_is_the_twin(nets: dict[str, tuple[Reader, Tensor]], name: str, rule: Rule) -> None:
    against_twin(*nets[name], rule)


@pytest.mark.parametrize("name", NETS)
def test_the_sum_check(nets: dict[str, tuple[Reader, Tensor]], name: str) -> None:
    net, x = nets[name]
    e = LRP(net, Epsilon(1e-3, bias="redistribute"), example=x)(x)
    assert_close(e.relevance.sum((1, 2)), e.score, rtol=1e-10, atol=1e-10)


def test_lstm_arithmetic_counts() -> None:
    """A cell built to add up its inputs hands each of them what it added (after Arras et al. 2019, section 11.4.1)."""
    net = Reader("LSTM", batch_first=True)
    for w in net.parameters():
        w.data.zero_()
    signal = slice(8, 12)
    net.read.bias_ih_l0.data += 40.0
    net.read.bias_ih_l0.data[signal] = 0.0
    net.read.weight_ih_l0.data[8, 0] = 1e-4  # so small that tanh is the identity
    net.head.weight.data[0, 0] = 1e4
    x = torch.rand(4, 6, 3)
    e = LRP(net, Epsilon(1e-15), example=x)(x, 0)
    assert_close(e.score, x[:, :, 0].sum(1), rtol=1e-6, atol=0.0)
    assert_close(e.relevance[:, :, 0], x[:, :, 0], rtol=1e-6, atol=0.0)
    assert_close(e.relevance[:, :, 1:], torch.zeros(4, 6, 2))


class Translator(nn.Module):
    """The first network's last states begin the second; the logits read its last states."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.encoder, self.decoder = (getattr(nn, kind)(3, 4, batch_first=True, num_layers=2) for _ in range(2))
        self.head = nn.Linear(8 if kind == "LSTM" else 4, 2)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        states = self.decoder(y, self.encoder(x)[1])[1]
        return self.head(torch.cat([s[-1] for s in states], 1) if self.kind == "LSTM" else states[-1])


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_states_carry_relevance_from_one_network_to_another(kind: str) -> None:
    net, x, y = Translator(kind), torch.randn(3, 5, 3), torch.randn(3, 2, 3)
    e = LRP(net, Epsilon(1e-3, bias="redistribute"), example=(x, y))((x, y))
    first, second = e.relevance
    assert first.shape == x.shape
    assert float(first.abs().max()) > 0
    assert_close(first.sum((1, 2)) + second.sum((1, 2)), e.score, rtol=1e-10, atol=1e-10)
    arrived = e.ledger["encoder"].arrived
    assert_close(arrived, first.sum((1, 2)), rtol=1e-9, atol=1e-10)
    assert_close(e.ledger["decoder"].passed, arrived + second.sum((1, 2)), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_given_states_are_the_twins(kind: str) -> None:
    net, x, y = Translator(kind), torch.randn(2, 3, 3), torch.randn(2, 2, 3)
    net.encoder, net.decoder = (getattr(nn, kind)(3, 4, batch_first=True) for _ in range(2))
    rule = Epsilon(0.02)
    e = LRP(net, rule, example=(x, y))((x, y))
    for k in range(2):
        first, second = (TWINS[kind](weights(part, 0, False), rule, rule) for part in (net.encoder, net.decoder))
        second.carries = (True, True)
        first.forward(x[k].numpy(), np.zeros(4), np.zeros(4))
        last = first.trace[-1]
        second.forward(y[k].numpy(), last["y"], last.get("c", np.zeros(4)))
        end = second.trace[-1]
        features = np.concatenate([end["y"], end["c"]]) if kind == "LSTM" else end["y"]
        start = (oracles.one_hot(e.logits) * e.logits)[k].numpy()
        w, b = (p.detach().numpy() for p in (net.head.weight, net.head.bias))
        R = linear_back(rule, features, w, b, start)
        R_y, R_h, R_c = second.back(np.zeros((2, 4)), R[:4], R[4:] if kind == "LSTM" else np.zeros(4))
        R_x = first.back(np.zeros((3, 4)), R_h, R_c)[0]
        assert_close(e.relevance[0][k].numpy(), R_x, rtol=1e-9, atol=1e-11)
        assert_close(e.relevance[1][k].numpy(), R_y, rtol=1e-9, atol=1e-11)


class Primed(nn.Module):
    """Starts from learned states."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)
        self.h, self.c = (nn.Parameter(torch.randn(1, 1, 4)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        states = [s.expand(1, x.shape[0], 4).contiguous() for s in (self.h, self.c)]
        return self.head(self.read(x, tuple(states))[0][:, -1])


@pytest.mark.parametrize("bias", BIASES)
def test_learned_states_count_as_bias(bias: Any) -> None:
    net, x, rule = Primed(), torch.randn(2, 3, 3), Epsilon(0.02, bias=bias)
    e = LRP(net, rule, example=x)(x)
    start = (oracles.one_hot(e.logits) * e.logits).numpy()
    for k in range(2):
        twin = LSTM(weights(net.read, 0, False), rule, rule)
        y = twin.forward(x[k].numpy(), net.h[0, 0].detach().numpy(), net.c[0, 0].detach().numpy())
        R = np.zeros_like(y)
        R[-1] = linear_back(rule, y[-1], net.head.weight.detach().numpy(), net.head.bias.detach().numpy(), start[k])
        assert_close(e.relevance[k].numpy(), twin.back(R, np.zeros(4), np.zeros(4))[0], rtol=1e-9, atol=1e-11)
    entry = e.ledger["read"]
    assert_close(entry.passed + entry.bias + entry.stabilizer + entry.rule, entry.arrived)


def test_composites_treat_a_recurrent_layer_as_linear_unless_told(nets: dict[str, tuple[Reader, Tensor]]) -> None:
    net, x = nets["lstm"]
    rules = {
        covered.module: covered.rule for covered in LRP(net, EpsilonPlus(0.125), example=x).coverage if covered.module
    }
    assert rules["read"] == repr(Epsilon(0.125))
    own = Layered({"recurrent": Epsilon(0.5), "linear": Epsilon(0.25)})
    assert any(c.rule == repr(Epsilon(0.5)) for c in LRP(net, own, example=x).coverage if c.operator == "aten::lstm")
    named = Layered(names={"read": Epsilon(0.75)})
    assert_close(
        LRP(net, named, example=x)(x).relevance,
        LRP(net, Layered({"recurrent": Epsilon(0.75)}), example=x)(x).relevance,
    )


def test_samples_do_not_see_each_other_and_other_lengths_are_captured(nets: dict[str, tuple[Reader, Tensor]]) -> None:
    net, x = nets["lstm, two layers, both ways, dropout"]
    lrp = LRP(net, Epsilon(), example=x)
    assert_close(lrp(x).relevance[1:2], lrp(x[1:2]).relevance)
    assert lrp(torch.randn(2, 7, 3)).relevance.shape == (2, 7, 3)


def test_the_sign_of_a_recurrent_output_is_unknown(nets: dict[str, tuple[Reader, Tensor]]) -> None:
    """Signed rules behind it must not take the short way for non-negative inputs."""
    net, x = nets["gru"]
    rule = Layered(names={"head": AlphaBeta(), "read": Epsilon()})
    e = LRP(net, rule, example=x)(x)
    features = net.read(x)[0][:, -1].detach()
    m = oracles.Matrix(net.head.weight.detach().T, net.head.bias.detach(), torch.ones(4, 2), (4,))
    starts = oracles.one_hot(e.logits) * e.logits
    expected = torch.stack([oracles.share(AlphaBeta(), m, a, R)[0] for a, R in zip(features, starts, strict=True)])
    assert_close(e.layers["head"], expected)


class Packing(nn.Module):
    """Packs with the lengths in a list, which torch.export takes for one batch size only."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_sequence(list(x))
        return self.head(self.read(packed)[1][0][-1])


def test_sequences_packed_in_another_way_are_refused() -> None:
    with pytest.raises(BenchError, match=r"Expected .*(pack_padded_sequence.*gather|batch size)"):
        LRP(Packing(), Epsilon(), example=torch.randn(2, 4, 3))


def test_states_made_like_the_input_carry_nothing(nets: dict[str, tuple[Reader, Tensor]]) -> None:
    inner, x = nets["lstm"]

    class Explicit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.read, self.head = inner.read, inner.head

        def forward(self, x: Tensor) -> Tensor:
            state = x.new_zeros(1, x.shape[0], 4)
            return self.head(self.read(x, (state, torch.zeros_like(state)))[0][:, -1])

    assert_close(LRP(Explicit(), Zero(), example=x)(x).relevance, LRP(inner, Zero(), example=x)(x).relevance)


class Unrolled(nn.Module):
    """A cell called once a step, as people write it."""

    def __init__(self, whole: Reader, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell, self.head = cell, whole.head
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(cell, name).data = getattr(whole.read, f"{name}_l0").data

    def forward(self, x: Tensor) -> Tensor:
        state = self.cell(x[:, 0])
        for t in range(1, x.shape[1]):
            state = self.cell(x[:, t], state)
        return self.head(state[0] if isinstance(state, tuple) else state)


CELLS = {"LSTM": nn.LSTMCell, "GRU": nn.GRUCell, "RNN": nn.RNNCell}


@cache
def looped(kind: str) -> tuple[Reader, Unrolled, Tensor]:
    torch.manual_seed(4)
    whole = Reader(kind)
    cells = Unrolled(whole, CELLS[kind](whole.read.input_size, whole.read.hidden_size))
    return whole, cells, torch.randn(3, 3, whole.read.input_size)


@pytest.mark.parametrize("rule", [Epsilon(0.1), Epsilon(0.1, bias="redistribute"), AlphaBeta()], ids=repr)
@pytest.mark.parametrize("kind", CELLS)
def test_cells_in_a_loop_are_the_network(kind: str, rule: Rule) -> None:
    whole, cells, x = looped(kind)
    assert_close(cells(x), whole(x))
    first, second = (LRP(net, rule, example=x)(x) for net in (whole, cells))
    assert_close(second.relevance, first.relevance, rtol=1e-9, atol=1e-11)
    assert {name for name in second.ledger if "cell" in name} == {"cell", "cell@1", "cell@2"}
