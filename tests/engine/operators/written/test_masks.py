"""Masks of attention, however they are written: what is masked receives exactly nothing, as if it were not there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.contracts import Explanation
from lrp_bench.engine import LRP
from lrp_bench.engine.composites import CPLRP, AttnLRP, Composite
from lrp_bench.engine.rules import AlphaBeta, Epsilon, Flat, Gamma, Rule, WSquare, ZBox

pytestmark = pytest.mark.usefixtures("float64", "captured_once")

LEAST = torch.finfo(torch.float64).min


def infinite(there: Tensor) -> Tensor:
    """A mask that forward makes."""
    return torch.zeros(there.shape).masked_fill(~there, -torch.inf)


SPELLINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "filled with -inf": lambda s, there: s.masked_fill(~there, -torch.inf),
    "filled with the least number": lambda s, there: s.masked_fill(~there, LEAST),
    "filled with -1e9": lambda s, there: s.masked_fill(~there, -1e9),
    "chosen": lambda s, there: torch.where(there, s, torch.tensor(-torch.inf)),
    "the least number added": lambda s, there: s + (~there).double() * LEAST,
    "-1e9 added": lambda s, there: s + (~there).double() * -1e9,
    "-1e4 added, on the left": lambda s, there: (1 - there.double()) * -1e4 + s,
    "1e9 subtracted": lambda s, there: s - (1 - there.double()) * 1e9,
    "-inf added": lambda s, there: s + infinite(there),
    "-inf added, on the left": lambda s, there: infinite(there) + s,
    "a logarithm added": lambda s, there: s + there.double().log(),
    "two masks added": lambda s, there: s + (~there).double() * LEAST + (~there).double() * LEAST,
}
RULES: dict[str, Rule | Composite] = {
    "AttnLRP": AttnLRP(),
    "AttnLRP, redistributed": AttnLRP(bias="redistribute"),
    "CP-LRP, redistributed": CPLRP(bias="redistribute"),
    "epsilon, bias excluded": Epsilon(bias="exclude"),
    "epsilon, redistributed": Epsilon(1e-3, bias="redistribute"),
    "gamma, redistributed": Gamma(generalized=True, bias="redistribute"),
    "alpha beta": AlphaBeta(),
    "w2": WSquare(),
    "flat": Flat(),
    "z-B, redistributed": ZBox(-5.0, 5.0, bias="redistribute"),
}


class Attending(nn.Module):
    """Single-head attention with biases everywhere, read at the first token."""

    def __init__(self, mask: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.query, self.key, self.value, self.out = (nn.Linear(4, 4) for _ in range(4))
        self.norm, self.head, self.mask = nn.LayerNorm(4), nn.Linear(4, 3), mask

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        scores = self.query(x) @ self.key(x).mT / 2
        weights = self.mask(scores, there[:, None]).softmax(-1)
        return self.head(self.norm(x + self.out(weights @ self.value(x)))[:, 0])


MODELS = {name: Attending(mask).double().eval() for name, mask in SPELLINGS.items()}


def accounted(e: Explanation, relevance: Tensor) -> None:
    """The ledger is finite, closes, and says where all that is missing went."""
    total = torch.zeros_like(e.score)
    for entry in e.ledger.values():
        assert_close(entry.arrived, entry.passed + entry.bias + entry.stabilizer + entry.rule, rtol=1e-9, atol=1e-11)
        total = total + entry.bias + entry.stabilizer + entry.rule
    assert_close(e.score - relevance.flatten(1).sum(1), total, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_what_is_masked_is_not_there(rule: str) -> None:
    """All spellings of a mask give the map of the sequence without the padding, and padding gets nothing at all."""
    x, there = torch.randn(3, 6, 4), (torch.arange(6) < 4).expand(3, -1)
    plain = MODELS["filled with -inf"]
    short = x[:, :4], there[:, :4]
    expected = LRP(plain, RULES[rule], example=short)(short)
    for name, model in MODELS.items():
        e = LRP(model, RULES[rule], example=(x, there))((x, there), expected.target)
        relevance = e.relevance[0]
        assert not relevance[:, 4:].any(), name
        assert_close(relevance[:, :4], expected.relevance[0], rtol=1e-9, atol=1e-12, msg=name)
        accounted(e, relevance)
        if "redistributed" in rule:
            assert_close(relevance.sum((1, 2)), e.score)


class Cased(nn.Module):
    def __init__(self, function: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.key, self.value, self.head = function, nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        return self.head(self.function(self, x, there))


def relative(m: nn.Module, x: Tensor, there: Tensor) -> Tensor:
    """Two activations, one of them with the mask in it."""
    masked = (x @ m.key(x).mT).masked_fill(~there[:, None], -torch.inf)
    return ((masked + x @ m.value(x).mT).softmax(-1) @ m.value(x))[:, 0]


OTHERS: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "scaled once masked": lambda m, x, there: (
        ((x @ m.key(x).mT).masked_fill(~there[:, None], -torch.inf) / 2).softmax(-1) @ m.value(x)
    )[:, 0],
    "masked scores plus relative ones": relative,
    "torch's own attention": lambda m, x, there: nn.functional.scaled_dot_product_attention(
        x, m.key(x), m.value(x), attn_mask=there[:, None]
    )[:, 0],
    "torch's own attention, the mask in numbers": lambda m, x, there: nn.functional.scaled_dot_product_attention(
        x, m.key(x), m.value(x), attn_mask=infinite(there[:, None])
    )[:, 0],
    "the largest of what is there": lambda m, x, there: (m.value(x) + infinite(there)[..., None]).amax(1),
}


@pytest.mark.parametrize("bias", ["absorb", "exclude", "redistribute"])
@pytest.mark.parametrize("case", OTHERS)
def test_other_masks(case: str, bias: str) -> None:
    model = Cased(OTHERS[case])
    x, there = torch.randn(3, 5, 4), (torch.arange(5) < 3).expand(3, -1)
    e = LRP(model, AttnLRP(1e-3, bias=bias), example=(x, there))((x, there))
    short = x[:, :3], there[:, :3]
    expected = LRP(model, AttnLRP(1e-3, bias=bias), example=short)(short, e.target)
    assert not e.relevance[0][:, 3:].any()
    assert_close(e.relevance[0][:, :3], expected.relevance[0], rtol=1e-9, atol=1e-12)
    accounted(e, e.relevance[0])


@pytest.mark.parametrize("bias", ["absorb", "redistribute"])
def test_a_mean_of_what_is_there(bias: str) -> None:
    """The mean's stabiliser may keep what it would have handed to the padding: the ledger says so."""
    model = Cased(lambda m, x, there: (m.value(x) * there[..., None]).sum(1) / there.sum(1, keepdim=True))
    x, there = torch.randn(3, 5, 4), torch.arange(5) < torch.tensor([[3], [5], [1]])
    e = LRP(model, AttnLRP(1e-3, bias=bias), example=(x, there))((x, there))
    assert not e.relevance[0][~there].any()
    accounted(e, e.relevance[0])


def test_a_query_without_keys_gives_zeros_as_in_torch() -> None:
    attend = nn.functional.scaled_dot_product_attention
    model = Cased(lambda m, x, there: attend(x, m.key(x), m.value(x), attn_mask=there[:, None]).sum(1))
    x, there = torch.randn(3, 5, 4), torch.arange(5) < torch.tensor([[3], [5], [0]])
    e = LRP(model, AttnLRP(bias="redistribute"), example=(x, there))((x, there))
    assert_close(e.logits, model(x, there))
    assert not e.relevance[0][2].any()
    assert e.relevance[0][:2].any()
    accounted(e, e.relevance[0])


class Encoder(nn.Module):
    """Torch's own encoder under a causal mask, read at the third token."""

    def __init__(self, make: Callable[[int], Tensor], hint: bool | None) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(4, 3)
        self.make, self.hint = make, hint

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x, mask=self.make(x.shape[1]), is_causal=self.hint)[:, 2])


CAUSAL: dict[str, Callable[[int], Tensor]] = {
    "-inf": nn.Transformer.generate_square_subsequent_mask,
    "bool": lambda n: torch.ones(n, n).triu(1).bool(),
}


@pytest.mark.parametrize("hint", [None, True, False])
@pytest.mark.parametrize("kind", CAUSAL)
def test_torchs_encoder_takes_a_causal_mask(kind: str, hint: bool | None) -> None:
    """What comes after the token that is read is not there."""
    torch.manual_seed(1)
    model, x = Encoder(CAUSAL[kind], hint).eval(), torch.randn(2, 5, 4)
    rule = AttnLRP(bias="redistribute")
    e = LRP(model, rule, example=x)(x)
    short = LRP(model, rule, example=x[:, :3])(x[:, :3], e.target)
    assert_close(e.relevance[:, :3], short.relevance, rtol=1e-9, atol=1e-12)
    assert not e.relevance[:, 3:].any()
    accounted(e, e.relevance)
