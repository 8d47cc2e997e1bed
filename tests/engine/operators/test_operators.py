"""How relevance passes each operator, in networks written the ways people write them.

On a network of linear operators, ReLUs and maxima LRP-0 with absorbed biases is the gradient times the input, whatever
the topology: one reference for all of them. What the ledger says was lost must make up for the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch
from oracles import gradient_times_input, matrix, one_hot, share, walk
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_bench.contracts import BenchError, Explanation
from lrp_bench.engine import LRP
from lrp_bench.engine.composites import EpsilonPlus, Layered
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Gamma, Rule, Zero, ZPlus

pytestmark = pytest.mark.usefixtures("float64", "captured_once")

Forward = Callable[[nn.Module, Tensor], Tensor]


class Vector(nn.Module):
    """(batch, 6) -> (batch, 3), with layers that the forward under test may call."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.c, self.position = nn.Parameter(torch.randn(6)), nn.Parameter(torch.randn(1, 6))
        self.under_test = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.under_test(self, x)


class Image(nn.Module):
    """(batch, 2, 6, 6) -> (batch, 3): a convolution, what is under test, the mean over space, a dense layer."""

    def __init__(self, forward: Forward, channels: int = 4) -> None:
        super().__init__()
        self.conv, self.other = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.wide = batch_norm(nn.BatchNorm2d(4)), batch_norm(nn.BatchNorm2d(8))
        self.head = nn.Linear(channels, 3)
        self.under_test = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.under_test(self, self.conv(x)).flatten(2).mean(2))


def batch_norm(norm: nn.Module) -> nn.Module:
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return norm


def in_place(m: Vector, x: Tensor) -> Tensor:
    h = m.a(x)
    h.mul_(2.0).add_(m.c)
    return m.head(F.relu_(h))


def reused(m: Vector, x: Tensor) -> Tensor:
    return m.head(F.relu(m.a(F.relu(m.a(F.relu(m.b(x)))))))


def residual(m: Vector, x: Tensor) -> Tensor:
    h = F.relu(m.a(x))
    return m.head(F.relu(h + m.b(h)))


def twice(m: Vector, x: Tensor) -> Tensor:
    h = m.a(x)
    return m.head(F.relu(h + h) - 2 * F.relu(h - 3 * h))


def movement(m: Vector, x: Tensor) -> Tensor:
    h = F.relu(m.a(x)).view(-1, 2, 3).permute(0, 2, 1).flip(1).roll(1, 2)
    left, right = h.transpose(1, 2).chunk(2, 1)
    picked = torch.stack([left, right], 1).squeeze(2)[:, :, [2, 0, 1]].reshape(x.shape[0], 6)
    return m.head(torch.cat([picked[:, 1:4], picked.split(4, 1)[1], picked.narrow(1, 0, 1)], 1).unsqueeze(1)[:, 0])


def token_norm(m: Vector, x: Tensor) -> Tensor:
    """A batch norm over the second of three dimensions, behind a linear layer over the third."""
    tokens = F.linear(x.view(-1, 2, 3), m.a.weight[:2, :3])
    normed = F.batch_norm(tokens, m.c[:2].detach(), m.c[2:4].detach().abs() + 0.5, m.c[:2], m.c[4:])
    return F.linear(F.relu(normed).flatten(1), m.head.weight[:, :4])


VECTOR: dict[str, Forward] = {
    "functional residual": residual,
    "in place": in_place,
    "reused module": reused,
    "the same activation twice": twice,
    "weighted difference": lambda m, x: m.head(F.relu(torch.sub(m.a(x), m.b(x), alpha=0.5))),
    "concatenation": lambda m, x: m.head(torch.cat([F.relu(m.a(x))[:, :3], m.b(x)[:, 2:5]], 1)),
    "movement": movement,
    "numbers": lambda m, x: m.head(F.relu(2 - (-m.a(x) * 2 - 0.5) / 3 + 1)),
    "constants": lambda m, x: m.head(F.relu((m.c - m.a(x)) / (m.c + 5) + m.position)),
    "constants expanded to the batch": lambda m, x: m.head(F.relu(m.a(x) + m.position.expand(x.shape[0], -1))),
    "factors expanded to the batch": lambda m, x: m.head(F.relu(m.a(x) * m.position.repeat(x.shape[0], 1))),
    "constants made for the batch": lambda m, x: m.head(F.relu(m.a(x) - torch.ones(x.shape[0], 6))),
    "mask by comparison": lambda m, x: m.head(m.a(x) * (m.a(x) > 0)),
    "mask by comparison, as numbers": lambda m, x: m.head(m.a(x) * (m.b(x) > 0).double()),
    "sum and mean": lambda m, x: m.head(F.relu(m.a(x)).view(-1, 2, 3).sum(1).mean(1, keepdim=True) + F.relu(m.b(x))),
    "maximum": lambda m, x: m.head(m.a(x).view(-1, 2, 3).amax(1).repeat(1, 2)),
    "dropout in eval": lambda m, x: m.head(F.dropout(F.relu(m.a(x)), 0.5, m.training)),
    "batch norm of tokens": token_norm,
    "concatenation with constants": lambda m, x: m.head(
        torch.cat([F.relu(m.a(x))[:, :4], m.position[:, :2].expand(x.shape[0], -1)], 1)
    ),
}

IMAGE: dict[str, Forward] = {
    "batch norm behind a convolution": lambda m, h: F.relu(m.norm(h)),
    "batch norm before a convolution": lambda m, h: m.other(F.relu(m.norm(F.relu(h)))),
    "batch norm of a layer used twice": lambda m, h: F.relu(m.norm(h)) + h,
    "dense block": lambda m, h: F.relu(m.wide(torch.cat([h, F.relu(m.other(h))], 1)))[:, 1:5],
    "average pool over what is there": lambda m, h: F.relu(F.avg_pool2d(h, 3, 2, padding=1, count_include_pad=False)),
    "maximum pool of signed values": lambda m, h: F.max_pool2d(h, 2, stride=1, dilation=2),
    "zero padding": lambda m, h: F.relu(m.other(F.pad(F.relu(h), (1, 0, 2, 1)))),
    "negative padding": lambda m, h: F.relu(F.pad(h, (-1, 0, -1, -2))),
    "constant padding": lambda m, h: F.relu(m.other(F.pad(h, (1, 1), value=1.5))),
    "reflection padding": lambda m, h: F.relu(m.other(F.pad(h, (1, 1, 1, 1), mode="reflect"))),
    "replication padding": lambda m, h: F.relu(m.other(F.pad(h, (1, 1, 1, 1), mode="replicate"))),
    "pixel shuffle": lambda m, h: F.pixel_shuffle(F.relu(h), 2).repeat(1, 4, 1, 1),
}


def explain(net: nn.Module, x: Tensor, rule: Rule) -> Explanation:
    """And what must hold whatever the rule: the network's own logits, and no relevance unaccounted for."""
    e = LRP(net, rule, example=x)(x)
    assert_close(e.logits, net(x))
    lost = sum(entry.bias + entry.stabilizer + entry.rule for entry in e.ledger.values())
    assert_close(e.score, e.relevance.flatten(1).sum(1) + lost, rtol=1e-9, atol=1e-11)
    return e


@pytest.mark.parametrize("name", VECTOR)
def test_vector_networks(name: str) -> None:
    net, x = Vector(VECTOR[name]).eval(), torch.randn(3, 6)
    assert_close(
        explain(net, x, Zero()).relevance, gradient_times_input(net, x, one_hot(net(x))), rtol=1e-9, atol=1e-11
    )


@pytest.mark.parametrize("name", IMAGE)
def test_image_networks(name: str) -> None:
    net, x = Image(IMAGE[name]).eval(), torch.randn(2, 2, 6, 6)
    assert_close(
        explain(net, x, Zero()).relevance, gradient_times_input(net, x, one_hot(net(x))), rtol=1e-9, atol=1e-11
    )


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_convolution_pads_by_itself(mode: str) -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, padding_mode=mode), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3))
    x = torch.randn(2, 2, 4, 4)
    assert_close(
        explain(net, x, Zero()).relevance, gradient_times_input(net, x, one_hot(net(x))), rtol=1e-9, atol=1e-11
    )


POOLS = {
    "avg 1d": (nn.Conv1d(2, 3, 2), nn.AvgPool1d(3, 2, padding=1), (2, 8)),
    "avg 2d": (nn.Conv2d(2, 3, 2), nn.AvgPool2d(3, 2, padding=1, ceil_mode=True), (2, 6, 6)),
    "avg 2d divisor": (nn.Conv2d(2, 3, 2), nn.AvgPool2d(2, divisor_override=7), (2, 5, 5)),
    "avg 3d": (nn.Conv3d(2, 3, 2), nn.AvgPool3d(2, 1), (2, 3, 3, 4)),
    "adaptive avg 1d": (nn.Conv1d(2, 3, 2), nn.AdaptiveAvgPool1d(3), (2, 6)),
    "adaptive avg 2d": (nn.Conv2d(2, 3, 2), nn.AdaptiveAvgPool2d((3, 1)), (2, 6, 5)),
    "adaptive avg 3d": (nn.Conv3d(2, 3, 2), nn.AdaptiveAvgPool3d((1, 2, 2)), (2, 3, 3, 4)),
    "max 1d": (nn.Conv1d(2, 3, 2), nn.MaxPool1d(3, 2, padding=1), (2, 8)),
    "max 2d": (nn.Conv2d(2, 3, 2), nn.MaxPool2d(2, ceil_mode=True), (2, 6, 6)),
    "max 3d": (nn.Conv3d(2, 3, 2), nn.MaxPool3d(2, 1), (2, 3, 3, 4)),
    "adaptive max 2d": (nn.Conv2d(2, 3, 2), nn.AdaptiveMaxPool2d((3, 2)), (2, 6, 6)),
}


@cache
def pooled(name: str) -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(1)
    conv, pool, shape = POOLS[name]
    body, x = nn.Sequential(conv.double(), pool, nn.Flatten()), torch.randn(2, *shape)
    return nn.Sequential(*body, nn.Linear(body(x).shape[1], 3)), x


@pytest.mark.parametrize("bias", ["absorb", "redistribute"])
@pytest.mark.parametrize("name", POOLS)
def test_pools_share_in_proportion_or_the_winner_takes_all(name: str, bias: str) -> None:
    """Against the matrix twins, signed inputs, with a stabiliser large enough to see where it goes."""
    net, x = pooled(name)
    rules = {0: Epsilon(), 3: Epsilon()} | ({} if "max" in name else {1: Epsilon(0.1, bias=bias)})
    e = LRP(net, Layered(names={str(i): rule for i, rule in rules.items()}), example=x)(x)
    slow = walk(net, rules, x, one_hot(e.logits))
    for i in (0, 1, 3):
        assert_close(e.layers[str(i)], slow.relevance[i], rtol=1e-9, atol=1e-12)
    for entry in e.ledger.values():
        assert_close(entry.arrived, entry.passed + entry.bias + entry.stabilizer + entry.rule, rtol=1e-9, atol=1e-11)


@cache
def with_norm() -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(2)
    body = (nn.Conv2d(2, 3, 2), nn.ReLU(), batch_norm(nn.BatchNorm2d(3)), nn.ReLU(), nn.Flatten(), nn.Linear(27, 3))
    return nn.Sequential(*body).eval(), torch.randn(2, 2, 4, 4)


@pytest.mark.parametrize("rule", [AlphaBeta(), Gamma(0.5, generalized=True), ZPlus(), Epsilon(0.1)], ids=repr)
def test_batch_norm_alone_is_a_diagonal_matrix(rule: Rule) -> None:
    net, x = with_norm()
    rules = {0: Epsilon(), 2: rule, 5: Epsilon()}
    e = LRP(net, Layered({"norm": rule}), example=x)(x)
    slow = walk(net, rules, x, one_hot(e.logits))
    for i in (0, 2, 5):
        assert_close(e.layers[str(i)], slow.relevance[i], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("dimensions", "affine"), [(1, True), (2, False), (3, True)])
def test_batch_norm_joins_the_layer_before_it(dimensions: int, *, affine: bool) -> None:
    """The two together are one linear layer: the explanation is that of a network with the product of both."""
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1](2, 3, 2)
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dimensions - 1](3, affine=affine, eps=0.1)
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    tail = (nn.ReLU(), nn.Flatten(), nn.Linear(3 * 2**dimensions, 3))
    x = torch.randn(2, 2, *[3] * dimensions)
    gain = (norm.weight if affine else 1.0) / (norm.running_var + 0.1).sqrt()
    shift = (norm.bias if affine else 0.0) - norm.running_mean * gain
    merged = type(conv)(2, 3, 2)
    merged.weight.data = (conv.weight * gain.view(-1, *[1] * (dimensions + 1))).detach()
    merged.bias.data = (conv.bias * gain + shift).detach()
    two = LRP(nn.Sequential(conv, norm, *tail), AlphaBeta(), example=x)(x)
    one = LRP(nn.Sequential(merged, *tail), AlphaBeta(), example=x)(x)
    assert_close(two.relevance, one.relevance)


@pytest.mark.parametrize("bias", ["absorb", "exclude", "redistribute"])
def test_sum_splits_in_proportion(bias: str) -> None:
    """R_a = a / (z + epsilon sign z) R, by hand; what the stabiliser took goes half and half where it is handed on."""
    net, x, rule = residual_net(), torch.randn(4, 6), Epsilon(0.2, bias=bias)
    e = LRP(net, rule, example=x)(x)
    h = F.relu(net.a(x)).detach()
    branch = net.b(h).detach()
    z = h + branch
    R = walk(nn.Sequential(nn.ReLU(), net.head), {1: rule}, z, one_hot(e.logits)).relevance[0]
    s = R / (z + 0.2 * torch.where(z < 0, -1.0, 1.0))
    kept = (R - s * z) / 2 if bias == "redistribute" else torch.zeros_like(R)
    into_h = s * h + kept + through(net.b, rule, h, s * branch + kept)
    assert_close(e.relevance, through(net.a, rule, x, into_h), rtol=1e-9, atol=1e-12)


@cache
def residual_net() -> Vector:
    torch.manual_seed(3)
    return Vector(residual)


def through(layer: nn.Linear, rule: Rule, a: Tensor, R: Tensor) -> Tensor:
    """One layer by its twin, (batch, inputs)."""
    pairs = zip(a, R, strict=True)
    return torch.stack([share(rule, matrix(layer, tuple(sample.shape)), sample, r)[0] for sample, r in pairs])


@pytest.mark.parametrize("bias", ["absorb", "redistribute"])
def test_outputs_that_no_input_reaches(bias: str) -> None:
    """A transposed convolution whose stride exceeds its kernel puts out its bias alone in places: lost, and said so."""
    net, x = with_gaps()
    e = LRP(net, Epsilon(0.1, bias=bias), example=x)(x)
    for entry in e.ledger.values():
        assert_close(entry.arrived, entry.passed + entry.bias + entry.stabilizer + entry.rule)


@cache
def with_gaps() -> tuple[nn.Module, Tensor]:
    body = (nn.ConvTranspose2d(2, 3, 1, stride=2, output_padding=1), nn.Flatten(), nn.Linear(48, 3))
    return nn.Sequential(*body), torch.randn(2, 2, 2, 2)


@pytest.mark.parametrize("composite", [EpsilonPlus(), Epsilon(0.1)], ids=["epsilon_plus", "epsilon"])
def test_functional_calls_equal_modules(composite: Rule) -> None:
    """The same computation in two spellings is explained alike."""
    conv, other, head = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.Linear(4, 3)

    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.other, self.head = conv, other, head

        def forward(self, x: Tensor) -> Tensor:
            h = torch.relu(F.conv2d(x, self.conv.weight, self.conv.bias))
            h = F.max_pool2d(h, 2).relu()
            h = F.conv2d(h, self.other.weight, self.other.bias, 2, 1).relu_()
            return self.head(F.adaptive_avg_pool2d(h, 1).flatten(1))

    modules = (
        conv,
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.ReLU(),
        other,
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        head,
    )
    x = torch.randn(2, 2, 8, 8)
    first, second = (LRP(net, composite, example=x)(x).relevance for net in (Functional(), nn.Sequential(*modules)))
    assert_close(first, second)


class Block(nn.Module):
    """A module of its own, to be named in messages."""

    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.under_test = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.under_test(x)


UNKNOWN: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "sort": (lambda h: h.sort(1)[0], "aten::sort"),
    "steps": (lambda h: h.round(), "aten::round"),
    "Fourier transform": (lambda h: h + torch.fft.fft(h).real, "fft"),
    "cumulated product": (lambda h: h.cumprod(1), "aten::cumprod"),
    "a resampling with negative weights": (
        lambda h: F.interpolate(h[:, None, None], scale_factor=2, mode="bicubic")[..., ::2, ::2].flatten(1)[:, :6],
        "aten::upsample_bicubic2d",
    ),
    "a power of two activations": (lambda h: h.abs() ** h.flip(1), "aten::pow of several activations"),
    "values added in place": (
        lambda h: h.index_put((torch.tensor([0]),), h[:1], accumulate=True),
        "aten::index_put that accumulates",
    ),
    "the largest of the batch": (lambda h: h - h.max(), "aten::max over the batch"),
    "samples in another order": (lambda h: h + h.flip(0), "aten::flip over the batch"),
    "arithmetic on complex numbers": (lambda h: torch.view_as_real(torch.complex(h, h) * 1j)[..., 0], "complex"),
    "random numbers": (lambda h: h + torch.rand_like(h), "aten::rand_like"),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_operator_is_named_with_its_module(name: str) -> None:
    forward, operator = UNKNOWN[name]
    net = nn.Sequential(nn.Linear(6, 6), nn.Sequential(Block(forward)), nn.Linear(6, 3))
    with pytest.raises(BenchError, match=rf"^Expected .*{operator}.* in 1\.0\b"):
        LRP(net, Epsilon(), example=torch.randn(2, 6))


def square(m: Vector, x: Tensor) -> Tensor:
    h = m.a(x)
    return m.head(h * h)


def gated(m: Vector, x: Tensor) -> Tensor:
    h = m.a(x)
    return m.head(h * torch.sigmoid(h))


DOUBTFUL: dict[str, Forward] = {
    "an activation times itself": square,
    "a gate": gated,
    "an activation over itself": lambda m, x: m.head(m.a(x) / (m.a(x) + 10)),
    "a constant over an activation": lambda m, x: m.head(m.c / (m.a(x) + 10)),
    "division rounded down": lambda m, x: m.head(torch.div(m.a(x), 0.3, rounding_mode="floor")),
    "weights that are activations": lambda m, x: F.linear(m.a(x), m.head.weight) + F.linear(m.c[None], m.a(x)).T,
    "through whole numbers": lambda m, x: m.head(m.a(x).long().double()),
    "past whole numbers": lambda m, x: m.head(m.a(x) + m.b(x).long()),
    "the mean of the batch": lambda m, x: m.head(F.relu(m.a(x) - m.b(x).mean(0, keepdim=True))),
    "an input nobody asks": lambda m, x: m.head(torch.zeros(x.shape[0], 6)),
}
PIECEWISE_LINEAR: dict[str, Forward] = {
    "bounds that are activations": lambda m, x: m.head(torch.clamp(m.a(x), min=m.b(x))),
    "the larger of two": lambda m, x: m.head(torch.maximum(m.a(x), m.b(x))),
    "the larger along a dimension": lambda m, x: m.head(m.a(x).view(-1, 2, 3).max(1)[0].repeat(1, 2)),
    "a choice by value": lambda m, x: m.head(torch.where(m.a(x) > 0, m.a(x), m.b(x))),
    "a product with constants": lambda m, x: m.head(m.a(x) @ m.b.weight),
    "even kernel that keeps the size": lambda m, x: (
        F.conv2d(x[:, None, None], m.c.view(3, 1, 1, 2), padding="same").flatten(2).mean(2)
    ),
}


def explained_or_refused(net: nn.Module, x: Tensor, rule: Rule) -> Explanation | None:
    try:
        lrp = LRP(net, rule, example=x)
    except BenchError:
        return None
    e = lrp(x)
    assert_close(e.logits, net(x))
    lost = sum(entry.bias + entry.stabilizer + entry.rule for entry in e.ledger.values())
    assert_close(e.score, e.relevance.flatten(1).sum(1) + lost, rtol=1e-9, atol=1e-11)
    return e


@pytest.mark.parametrize("name", DOUBTFUL)
def test_explained_in_full_or_refused(name: str) -> None:
    """Whichever it is: never other logits than the network's, nor relevance that vanishes without a word."""
    explained_or_refused(Vector(DOUBTFUL[name]), torch.randn(3, 6), Epsilon())


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", PIECEWISE_LINEAR)
def test_explained_as_the_gradient_says_or_refused(name: str) -> None:
    net, x = Vector(PIECEWISE_LINEAR[name]), torch.randn(3, 6)
    e = explained_or_refused(net, x, Zero())
    if e is not None:
        assert_close(e.relevance, gradient_times_input(net, x, one_hot(e.logits)), rtol=1e-9, atol=1e-11)
