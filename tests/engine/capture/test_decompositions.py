"""Operators that are taken apart at capture: explained as what they are written out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from oracles import one_hot
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.engine import LRP
from lrp_bench.engine.rules import Epsilon

pytestmark = pytest.mark.usefixtures("float64")

Forward = Callable[[nn.Module, Tensor], Tensor]


class Net(nn.Module):
    def __init__(self, forward: Forward) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.a, self.b, self.head, self.under_test = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3), forward

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.under_test(self, x))


PAIRS: dict[str, tuple[Forward, Forward]] = {
    "lerp": (
        lambda m, x: torch.lerp(m.a(x), m.b(x), 0.3) + torch.lerp(m.a(x), m.b(x), m.b(x).sigmoid()),
        lambda m, x: 0.7 * m.a(x) + 0.3 * m.b(x) + ((1 - m.b(x).sigmoid()) * m.a(x) + m.b(x).sigmoid() * m.b(x)),
    ),
    "addcmul": (
        lambda m, x: torch.addcmul(m.a(x), m.b(x), m.a(x), value=0.5),
        lambda m, x: m.a(x) + 0.5 * (m.b(x) * m.a(x)),
    ),
    "addcdiv": (
        lambda m, x: torch.addcdiv(m.a(x), m.b(x), 2 + m.a(x).relu(), value=0.5),
        lambda m, x: m.a(x) + 0.5 * (m.b(x) / (2 + m.a(x).relu())),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_explained_as_written_out(name: str) -> None:
    x, rule = torch.randn(3, 6), Epsilon(1e-9)
    short, long = (LRP(Net(f), rule, example=x)(x, 1) for f in PAIRS[name])
    assert_close(short.logits, long.logits)
    assert_close(short.relevance, long.relevance, rtol=1e-6, atol=1e-8)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bilinear = nn.Bilinear(4, 5, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.bilinear(a, b)


def test_a_bilinear_form_shares_half_and_half() -> None:
    """R_i = a_i sum_kj W_kij b_j / 2 of the score, R_j the same of b; the bias takes the rest."""
    net, a, b = TwoInputs(), torch.randn(3, 4), torch.randn(3, 5)
    e = LRP(net, Epsilon(1e-12), example=(a, b))((a, b))
    weight = net.bilinear.weight.detach()
    parts = torch.einsum("bk,bi,kij,bj->bij", one_hot(e.logits), a, weight, b) / 2
    assert_close(e.relevance[0], parts.sum(2), rtol=1e-6, atol=1e-9)
    assert_close(e.relevance[1], parts.sum(1), rtol=1e-6, atol=1e-9)
    lost = sum(entry.bias + entry.stabilizer + entry.rule for entry in e.ledger.values())
    assert_close(e.score, e.relevance[0].sum(1) + e.relevance[1].sum(1) + lost)


class Bags(nn.Module):
    def __init__(self, mode: str, **options: int) -> None:
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(9, 4, mode=mode, **options), nn.Linear(4, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.bag(ids))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_a_bag_is_an_embedding_and_its_pool(mode: str) -> None:
    net, rule = Bags(mode), Epsilon(0.1)
    ids = torch.stack([torch.randperm(9)[:5] for _ in range(3)])  # no token twice: two winners would share
    e = LRP(net, rule, example=ids)(ids)
    assert_close(e.logits, net(ids))
    vectors, s = net.bag.weight[ids].detach(), one_hot(e.logits) @ net.head.weight.detach()
    z = (e.logits * one_hot(e.logits)).sum(1)
    s = s * (z / (z + 0.1 * z.sign()))[:, None]
    pooled = {"sum": vectors.sum(1), "mean": vectors.mean(1), "max": vectors.amax(1)}[mode]
    R = pooled * s
    if mode == "max":
        expected = (R[:, None] * (vectors == pooled[:, None])).sum(2)
    else:
        given = vectors / (5 if mode == "mean" else 1)
        expected = (given * (R / (pooled + 0.1 * pooled.sign()))[:, None]).sum(2)
    assert_close(e.relevance, expected)


@pytest.mark.parametrize("bias", ["absorb", "exclude", "redistribute"])
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_padding_of_a_bag_is_not_there(mode: str, bias: str) -> None:
    """As if the bag were shorter; an empty one is zero, as in torch."""
    net, rule = Bags(mode, padding_idx=0), Epsilon(1e-9, bias=bias)
    ids = torch.stack([torch.randperm(8)[:5] + 1 for _ in range(4)]) * (
        torch.arange(5) < torch.tensor([[5], [3], [1], [0]])
    )
    e = LRP(net, rule, example=ids)(ids)
    assert_close(e.logits, net(ids))
    assert not e.relevance[ids == 0].any()
    for i, length in enumerate((5, 3, 1)):
        expected = LRP(net, rule, example=ids[:1, :length])(ids[i : i + 1, :length], e.target[i : i + 1])
        assert_close(e.relevance[i, :length], expected.relevance[0], rtol=1e-6, atol=1e-9)


def test_bags_that_begin_at_even_offsets() -> None:
    ids = torch.randint(0, 9, (3, 5))
    for last in (False, True):
        net = Offsets(last=last)
        plain = Bags("sum")
        plain.load_state_dict(net.state_dict())
        e = LRP(net, Epsilon(), example=ids)(ids)
        assert_close(e.relevance, LRP(plain, Epsilon(), example=ids)(ids).relevance)


class Ragged(Bags):
    """Every bag leaves out its first ids, as many as the first one says."""

    def forward(self, ids: Tensor) -> Tensor:
        offsets = torch.arange(ids.shape[0]) * ids.shape[1] + ids[:, 0]
        return self.head(self.bag(ids.flatten(), offsets))


def test_bags_of_several_lengths_are_refused() -> None:
    """Evenly spaced in the example, but not in every batch."""
    with pytest.raises(BenchError, match=r"Expected an EmbeddingBag over bags of one length.*padding_idx"):
        LRP(Ragged("sum"), Epsilon(), example=torch.zeros(3, 5, dtype=torch.int64))


class Offsets(Bags):
    def __init__(self, *, last: bool) -> None:
        super().__init__("sum", include_last_offset=last)
        self.last = last

    def forward(self, ids: Tensor) -> Tensor:
        offsets = torch.arange(ids.shape[0] + self.last) * ids.shape[1]
        return self.head(self.bag(ids.flatten(), offsets))
