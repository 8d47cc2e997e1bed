"""Every row of the table of operators, one at a time: the operator, then a dense layer, in a graph written by hand.

Under LRP-0 most of the table's roles are the gradient times the input of something simple, whatever the operator: of
the operator itself where it is linear, moves values or lets the winner take all, and of softmax, whose Taylor
expansion this is; of y = (y / x) x with a constant factor where relevance passes unchanged; of the operator with its
scale held constant for norms; half of it where two factors share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import getitem
from typing import Any

import pytest
import torch
from oracles import gradient_times_input, one_hot
from torch import Tensor, fx
from torch.testing import assert_close

from lrp_bench.engine.capture.capture import Program
from lrp_bench.engine.composites import Uniform
from lrp_bench.engine.operators.table import OPERATORS, Role
from lrp_bench.engine.operators.trace import Trace
from lrp_bench.engine.rewrite.rewrite import rewrite
from lrp_bench.engine.rules import Zero

pytestmark = pytest.mark.usefixtures("float64")

aten = torch.ops.aten
X = object()  # the activation among an operator's arguments

VECTOR, TABLE, SERIES, IMAGE, VOLUME = (6,), (3, 3), (4, 8), (4, 6, 6), (4, 4, 4, 4)
BATCH = 3


@dataclass(frozen=True)
class Case:
    """A call of an operator; shape: of one sample of X. like: what has the same gradient times input under LRP-0.

    within: brings random numbers where the operator is defined.
    """

    operator: Callable[..., Any]
    arguments: tuple[Any, ...] = (X,)
    shape: tuple[int, ...] = VECTOR
    like: Callable[[Tensor], Tensor] | None = None
    within: Callable[[Tensor], Tensor] = torch.clone

    def all(self, x: Tensor) -> Any:
        """What the operator returns."""
        return self.operator(*(put(x, argument) for argument in self.arguments))

    def __call__(self, x: Tensor) -> Tensor:
        """The first of it."""
        y = self.all(x)
        return y if isinstance(y, Tensor) else y[0]


def put(x: Any, argument: Any) -> Any:
    """The argument with x in the place of X."""
    if isinstance(argument, list):
        return [put(x, part) for part in argument]
    return x if argument is X else argument


def seeded(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def passed(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Relevance passes f unchanged."""
    return lambda x: x * (f(x) / x).detach()


def normalised(
    x: Tensor, shape: tuple[int, ...], dims: tuple[int, ...], epsilon: float, *, centred: bool = True
) -> Tensor:
    """(x - mean) / deviation over dims of x in this shape, the deviation held constant."""
    grouped = x.reshape(shape)
    grouped = grouped - grouped.mean(dims, keepdim=True) if centred else grouped
    deviation = (grouped.square().mean(dims, keepdim=True) + epsilon).sqrt().detach()
    return (grouped / deviation).reshape(x.shape)


W, B = seeded(4, 6), seeded(4)
SCALE, SHIFT = seeded(4, 1, 1), seeded(4, 2)[:, :1, None]
MEAN, VARIANCE = seeded(4, 3)[:, 0], seeded(4, 4)[:, 0].square() + 0.5
CHOICE = torch.tensor([2, 0, 5])
MASK = seeded(BATCH, 6) > 0
CELL = [seeded(12, 6), seeded(12, 3), seeded(12), seeded(12, 1)[:, 0]]
OPTIONS = (True, 1, 0.0, False, False, True)


def lstm(x: Tensor) -> Tensor:
    """One time step from nothing, h = o tanh(i g): all of it to the linear part of g."""
    i, _, g, o = (x @ CELL[0].T + CELL[2] + CELL[3]).chunk(4, -1)
    return g * (o.sigmoid() * (i.sigmoid() * g.tanh()).tanh() / g).detach()


def gru(x: Tensor) -> Tensor:
    """One time step from nothing, h = (1 - u) tanh(n): all of it to n."""
    reset, update, n = (x @ CELL[0][:9].T + CELL[2][:9]).chunk(3, -1)
    r, u, d = CELL[3][:9].chunk(3)
    n = n + (reset + r).sigmoid().detach() * d
    return n * ((1 - (update + u).sigmoid()) * n.tanh() / n).detach()


def elman(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def like(x: Tensor) -> Tensor:
        z = x @ CELL[0][:3].T + CELL[2][:3] + CELL[3][:3]
        return z * (f(z) / z).detach()

    return like


def weights(rows: int) -> list[Tensor]:
    return [w[:rows] for w in CELL]


def start() -> Tensor:
    return torch.zeros(1, BATCH, 3, dtype=torch.float64)


def conv(dimensions: int, *, transposed: bool = False) -> Case:
    kernel = seeded(*((4, 2) if transposed else (2, 4)), *[2] * dimensions)
    operator = getattr(aten, f"conv{'_transpose' * transposed}{dimensions}d")
    shape = (SERIES, IMAGE, VOLUME)[dimensions - 1]
    return Case(operator.input if transposed and dimensions > 1 else operator.default, (X, kernel, seeded(2)), shape)


LINEAR = {
    "linear": Case(aten.linear.default, (X, W, B)),
    "addmm": Case(aten.addmm.default, (B, X, seeded(6, 4))),
    **{f"conv{d}d": conv(d) for d in (1, 2, 3)},
    **{f"conv_transpose{d}d": conv(d, transposed=True) for d in (1, 2, 3)},
    "_native_batch_norm_legit_no_training": Case(
        aten._native_batch_norm_legit_no_training.default, (X, B, B, MEAN, VARIANCE, 0.1, 1e-3), IMAGE
    ),
    "avg_pool1d": Case(aten.avg_pool1d.default, (X, [3], [2], [1]), SERIES),
    "avg_pool2d": Case(aten.avg_pool2d.default, (X, [2, 2]), IMAGE),
    "avg_pool3d": Case(aten.avg_pool3d.default, (X, [2, 2, 2]), VOLUME),
    "adaptive_avg_pool1d": Case(aten.adaptive_avg_pool1d.default, (X, [3]), SERIES),
    "adaptive_avg_pool2d": Case(aten.adaptive_avg_pool2d.default, (X, [4, 1]), IMAGE),
    "adaptive_avg_pool3d": Case(aten.adaptive_avg_pool3d.default, (X, [2, 3, 1]), VOLUME),
    "mean": Case(aten.mean.dim, (X, [-1, -2]), IMAGE),
    "sum": Case(aten.sum.dim_IntList, (X, [1]), IMAGE),
    "cumsum": Case(aten.cumsum.default, (X, 1), IMAGE),
    "col2im": Case(aten.col2im.default, (X, [3, 4], [2, 2], [1, 1], [0, 1], [1, 1]), (8, 10)),
    "upsample_linear1d": Case(aten.upsample_linear1d.default, (X, [13], False), SERIES),
    "upsample_bilinear2d": Case(aten.upsample_bilinear2d.vec, (X, None, False, [1.7, 0.6]), IMAGE),
    "upsample_trilinear3d": Case(aten.upsample_trilinear3d.default, (X, [7, 3, 5], True), VOLUME),
    "div": Case(aten.div.Tensor, (X, seeded(6))),
    "neg": Case(aten.neg.default),
    "rsub": Case(aten.rsub.Scalar, (X, 0.3)),
}

PRODUCTS = {
    "mul": Case(aten.mul.Tensor, (X, X)),
    "prod": Case(aten.prod.dim_int, (X, 1), (2, 3)),
    "matmul": Case(aten.matmul.default, (X, X), TABLE),
    "bmm": Case(aten.bmm.default, (X, X), TABLE),
    "mm": Case(aten.mm.default, (X, X), (BATCH,)),
}

SOFTMAX = {
    "softmax": Case(aten.softmax.int, (X, -1)),
    "_softmax": Case(aten._softmax.default, (X, 1, False), TABLE),
    "_safe_softmax": Case(aten._safe_softmax.default, (X, 1), TABLE),
    "log_softmax": Case(aten.log_softmax.int, (X, -1)),
    "_log_softmax": Case(aten._log_softmax.default, (X, 1, False), TABLE),
}

NORMS = {
    "layer_norm": Case(
        aten.layer_norm.default, (X, [6, 6], seeded(6, 6), seeded(6, 6), 0.1), IMAGE,
        lambda x: normalised(x, x.shape, (-1, -2), 0.1) * seeded(6, 6) + seeded(6, 6),
    ),
    "native_layer_norm": Case(
        aten.native_layer_norm.default, (X, [6], None, None, 0.1), IMAGE, lambda x: normalised(x, x.shape, (-1,), 0.1)
    ),
    "rms_norm": Case(
        aten.rms_norm.default, (X, [6], seeded(6), 0.1), IMAGE,
        lambda x: normalised(x, x.shape, (-1,), 0.1, centred=False) * seeded(6),
    ),
    "group_norm": Case(
        aten.group_norm.default, (X, 2, SCALE.flatten(), SHIFT.flatten(), 0.1), IMAGE,
        lambda x: normalised(x, (BATCH, 2, 72), (-1,), 0.1) * SCALE + SHIFT,
    ),
    "instance_norm": Case(
        aten.instance_norm.default, (X, SCALE.flatten(), SHIFT.flatten(), None, None, True, 0.1, 0.1, False), IMAGE,
        lambda x: normalised(x, x.shape, (-1, -2), 0.1) * SCALE + SHIFT,
    ),
    "_native_batch_norm_legit": Case(
        aten._native_batch_norm_legit.no_stats, (X, SCALE.flatten(), SHIFT.flatten(), True, 0.1, 0.1), IMAGE,
        lambda x: (x - x.mean((0, 2, 3), keepdim=True).detach())
        / (x.var((0, 2, 3), correction=0, keepdim=True) + 0.1).sqrt().detach() * SCALE + SHIFT,
    ),
}  # fmt: skip

SUMS = {"add": Case(aten.add.Tensor, (X, X)), "sub": Case(aten.sub.Scalar, (X, 0.7))}

RECURRENT = {
    "lstm": Case(aten.lstm.input, (X, [start(), start()], CELL, *OPTIONS), (1, 6), lstm),
    "gru": Case(aten.gru.input, (X, start(), weights(9), *OPTIONS), (1, 6), gru),
    "rnn_tanh": Case(aten.rnn_tanh.input, (X, start(), weights(3), *OPTIONS), (1, 6), elman(torch.tanh)),
    "rnn_relu": Case(aten.rnn_relu.input, (X, start(), weights(3), *OPTIONS), (1, 6), elman(torch.relu)),
}


def packed(kind: str, rows: int, like: Callable[[Tensor], Tensor]) -> Case:
    """Three samples of three steps, of which only the first counts; time comes first."""
    lengths, states = torch.ones(BATCH, dtype=torch.int64), [start()] * (2 if kind == "lstm" else 1)
    operator = getattr(torch.ops.lrp_bench, f"packed_{kind}").default

    def first(x: Tensor) -> Tensor:
        return torch.cat([like(x[:1]), torch.zeros(BATCH - 1, BATCH, 3, dtype=x.dtype)])

    return Case(operator, (X, lengths, states, weights(rows), *OPTIONS[:-1], False), (BATCH, 6), first)


PACKED = {
    "lrp_bench::packed_lstm": packed("lstm", 12, lstm),
    "lrp_bench::packed_gru": packed("gru", 9, gru),
    "lrp_bench::packed_rnn_tanh": packed("rnn_tanh", 3, elman(torch.tanh)),
    "lrp_bench::packed_rnn_relu": packed("rnn_relu", 3, elman(torch.relu)),
}

ACTIVATIONS = {
    name: Case(getattr(aten, name).default)
    for name in (
        *("relu", "relu6", "sigmoid", "hardsigmoid", "softplus", "gelu", "silu", "tanh", "elu", "selu", "celu", "mish"),
        *("leaky_relu", "hardtanh", "hardswish", "log_sigmoid", "hardshrink", "softshrink", "rrelu", "abs", "erf"),
        *("sin", "cos", "tan", "atan", "sinh", "cosh", "asinh", "exp", "exp2", "expm1", "erfc", "reciprocal"),
    )
} | {
    **{name: Case(getattr(aten, name).default, within=torch.exp) for name in ("sqrt", "rsqrt", "log", "log2", "log10")},
    **{name: Case(getattr(aten, name).default, within=torch.tanh) for name in ("asin", "acos", "atanh", "log1p")},
    "logit": Case(aten.logit.default, within=torch.sigmoid),
    "acosh": Case(aten.acosh.default, within=lambda x: 1 + x.exp()),
    "threshold": Case(aten.threshold.default, (X, 0.1, -0.2)),
    "prelu": Case(aten.prelu.default, (X, seeded(6))),
    "_prelu_kernel": Case(aten._prelu_kernel.default, (X, seeded(6))),
    "clamp": Case(aten.clamp.default, (X, -0.3, 0.4)),
    "clamp_min": Case(aten.clamp_min.Tensor, (X, seeded(6))),
    "clamp_max": Case(aten.clamp_max.default, (X, 0.4)),
    "pow": Case(aten.pow.Tensor_Scalar, (X, 3)),
}

WINNERS = {
    "max_pool1d": Case(aten.max_pool1d.default, (X, [3], [2], [1]), SERIES),
    "max_pool2d": Case(aten.max_pool2d.default, (X, [2, 2]), IMAGE),
    "max_pool3d": Case(aten.max_pool3d.default, (X, [2, 2, 2]), VOLUME),
    "max_pool2d_with_indices": Case(aten.max_pool2d_with_indices.default, (X, [3, 3], [1, 1]), IMAGE),
    "max_pool3d_with_indices": Case(aten.max_pool3d_with_indices.default, (X, [2, 2, 2]), VOLUME),
    "adaptive_max_pool1d": Case(aten.adaptive_max_pool1d.default, (X, [3]), SERIES),
    "adaptive_max_pool2d": Case(aten.adaptive_max_pool2d.default, (X, [4, 1]), IMAGE),
    "adaptive_max_pool3d": Case(aten.adaptive_max_pool3d.default, (X, [2, 3, 1]), VOLUME),
    "amax": Case(aten.amax.default, (X, [1, 2]), IMAGE),
    "amin": Case(aten.amin.default, (X, [-1]), IMAGE),
    "max": Case(aten.max.dim, (X, 1), IMAGE),
    "min": Case(aten.min.dim, (X, 2, True), IMAGE),
    "maximum": Case(aten.maximum.default, (X, seeded(6))),
    "minimum": Case(aten.minimum.default, (X, seeded(6))),
    "logsumexp": Case(
        aten.logsumexp.default, (X, [1, 2]), IMAGE, lambda x: passed(torch.log)(passed(torch.exp)(x).sum([1, 2]))
    ),
    "topk": Case(aten.topk.default, (X, 2, 1), IMAGE),
}

FILLED = {
    "pad": Case(aten.pad.default, (X, [1, 2], "constant", 0.5), IMAGE),
    "constant_pad_nd": Case(aten.constant_pad_nd.default, (X, [1, -1, 2, 0], 0.5), IMAGE),
    "masked_fill": Case(aten.masked_fill.Scalar, (X, MASK, 0.5)),
    "where": Case(aten.where.ScalarOther, (MASK, X, 0.5)),
    "im2col": Case(aten.im2col.default, (X, [2, 3], [1, 2], [1, 0], [2, 1]), IMAGE),
    "tril": Case(aten.tril.default, (X, 1), IMAGE),
    "triu": Case(aten.triu.default, (X,), IMAGE),
}

MOVED = {
    "reshape": Case(aten.reshape.default, (X, [BATCH, 2, -1])),
    "flatten": Case(aten.flatten.using_ints, (X, 1, 2), IMAGE),
    "unflatten": Case(aten.unflatten.int, (X, 1, [2, 3])),
    "permute": Case(aten.permute.default, (X, [0, 3, 1, 2]), IMAGE),
    "transpose": Case(aten.transpose.int, (X, 1, 2), IMAGE),
    "t": Case(aten.t.default, (X,), (BATCH,)),
    "squeeze": Case(aten.squeeze.dim, (X, 1), (1, 6)),
    "unsqueeze": Case(aten.unsqueeze.default, (X, 1)),
    "select": Case(aten.select.int, (X, 1, 2)),
    "slice": Case(aten.slice.Tensor, (X, 1, 1, 6, 2)),
    "cat": Case(aten.cat.default, ([X, X, seeded(BATCH, 2)], 1)),
    "stack": Case(aten.stack.default, ([X, X], 1)),
    "split": Case(aten.split.Tensor, (X, 4, 1)),
    "split_with_sizes": Case(aten.split_with_sizes.default, (X, [2, 4], 1)),
    "chunk": Case(aten.chunk.default, (X, 2, 1)),
    "unbind": Case(aten.unbind.int, (X, 1), TABLE),
    "expand": Case(aten.expand.default, (X, [BATCH, 5, 6]), (1, 6)),
    "repeat": Case(aten.repeat.default, (X, [1, 3])),
    "tile": Case(aten.tile.default, (X, [2])),
    "repeat_interleave": Case(aten.repeat_interleave.self_int, (X, 2, 1)),
    "narrow": Case(aten.narrow.default, (X, 1, 2, 3)),
    "unfold": Case(aten.unfold.default, (X, 1, 3, 2)),
    "diagonal": Case(aten.diagonal.default, (X, 1, 2, 3), IMAGE),
    "index": Case(aten.index.Tensor, (X, [None, CHOICE])),
    "index_select": Case(aten.index_select.default, (X, 1, CHOICE)),
    "gather": Case(aten.gather.default, (X, 1, torch.tensor([[0, 0], [3, 1], [5, 5]]))),
    "roll": Case(aten.roll.default, (X, [2], [1])),
    "flip": Case(aten.flip.default, (X, [1, 2]), IMAGE),
    "rot90": Case(aten.rot90.default, (X, 1, [2, 3]), IMAGE),
    "clone": Case(aten.clone.default),
    "alias": Case(aten.alias.default),
    "lift_fresh_copy": Case(aten.lift_fresh_copy.default),
    "_to_copy": Case(aten._to_copy.default),
    "select_scatter": Case(aten.select_scatter.default, (X, seeded(BATCH), 1, 2)),
    "slice_scatter": Case(aten.slice_scatter.default, (seeded(BATCH, 9), X, 1, 2, 8)),
    "index_put": Case(aten.index_put.default, (X, [None, CHOICE[:2]], seeded(BATCH, 2))),
    "pixel_shuffle": Case(aten.pixel_shuffle.default, (X, 2), IMAGE),
    "pixel_unshuffle": Case(aten.pixel_unshuffle.default, (X, 3), IMAGE),
    "channel_shuffle": Case(aten.channel_shuffle.default, (X, 2), IMAGE),
    **{
        f"{kind}_pad{d}d": Case(getattr(aten, f"{kind}_pad{d}d").default, (X, [1, 2] * d), shape)
        for kind in ("reflection", "replication")
        for d, shape in ((1, SERIES), (2, IMAGE), (3, VOLUME))
    },
    **{
        f"{kind}{d}d": Case(getattr(aten, f"{kind}{d}d").default, (X, [7, 9, 3][:d]), shape)
        for kind in ("upsample_nearest", "_upsample_nearest_exact")
        for d, shape in ((1, SERIES), (2, IMAGE), (3, VOLUME))
    },
}

CASES = {
    f"aten::{name}": case
    for group in (LINEAR, PRODUCTS, SOFTMAX, NORMS, SUMS, RECURRENT, ACTIVATIONS, WINNERS, FILLED, MOVED)
    for name, case in group.items()
} | PACKED


def test_every_row_has_a_case() -> None:
    """A row that joins the table without a call above fails here."""
    assert set(CASES) == set(OPERATORS)


def written(case: Case, x: Tensor, head: Tensor) -> Program:
    """x -> the operator -> a dense layer."""
    graph, constants = fx.Graph(), {"head": head}
    given = graph.placeholder("x")

    def constant(argument: Any) -> Any:
        if isinstance(argument, list):
            return [constant(part) for part in argument]
        if not isinstance(argument, Tensor):
            return argument
        constants[f"constant_{len(constants)}"] = argument
        return graph.get_attr(f"constant_{len(constants) - 1}")

    called = graph.call_function(case.operator, tuple(put(given, constant(a)) for a in case.arguments))
    values, first = case.all(x), case(x)
    picked = called if first is values or isinstance(values, Tensor) else graph.call_function(getitem, (called, 0))
    flat = graph.call_function(aten.reshape.default, (picked, [BATCH, -1]))
    logits = graph.call_function(aten.linear.default, (flat, graph.get_attr("head")))
    rows = first.reshape(BATCH, -1)
    for node, value in ((given, x), (picked, first), (called, values), (flat, rows), (logits, rows @ head.T)):
        node.meta["val"] = value
    graph.output(logits)
    return Program(graph, constants, logits)


@pytest.mark.parametrize("row", CASES)
def test_relevance_passes_as_the_table_says(row: str) -> None:
    case, role = CASES[row], OPERATORS[row].role
    x = case.within(seeded(BATCH, *case.shape))
    head = seeded(2, case(x).numel() // BATCH)
    weights = one_hot(case(x).reshape(BATCH, -1) @ head.T)
    module, coverage = rewrite(written(case, x, head), Uniform(Zero()))
    assert coverage[0].operator == {"aten::clone": "aten::reshape"}.get(row, row)  # nothing is written in place
    trace, leaf = Trace(), x.clone().requires_grad_()
    logits = module(leaf, trace)
    relevance = torch.autograd.grad(logits, leaf, logits.detach() * weights)[0]
    assert_close(logits.detach(), case(x).reshape(BATCH, -1) @ head.T)
    like = passed(case) if role is Role.PASS else case.like or case
    expected = gradient_times_input(lambda v: like(v).reshape(BATCH, -1) @ head.T, x, weights)
    factors = case.shape[0] if row == "aten::prod" else 2
    assert_close(relevance, expected / factors if role is Role.PRODUCT else expected, rtol=1e-9, atol=1e-11)
    for entry in trace.ledger.values():
        out = entry.passed + entry.bias + entry.stabilizer + entry.rule
        assert_close(entry.arrived.sum(), out.sum(), rtol=1e-9, atol=1e-11)
