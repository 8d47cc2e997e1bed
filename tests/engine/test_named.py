"""Inputs by name, and inputs of integers beside token ids: which of them are masks, and what these receive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim, export
from torch.testing import assert_close

from lrp_bench.contracts import BenchError, JointExplanation, NamedExplanation
from lrp_bench.engine import LRP
from lrp_bench.engine.composites import AttnLRP
from lrp_bench.engine.rules import Epsilon

pytestmark = pytest.mark.usefixtures("float64")

RULE = AttnLRP(bias="redistribute")
LENGTHS = torch.tensor([[5], [3], [2]])


class Reader(nn.Module):
    """Attention over tokens as Hugging Face's models call it; the second argument by position is no mask."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(9, 4), nn.Embedding(6, 4)
        self.query, self.key, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(
        self, input_ids: Tensor, past: Tensor | None = None, attention_mask: Tensor | None = None
    ) -> dict[str, Tensor | None]:
        x = self.embed(input_ids)
        if attention_mask is not None:
            x = x + self.place(attention_mask.cumsum(1))
        scores = self.query(x) @ self.key(x).mT
        if attention_mask is not None:
            least = torch.finfo(x.dtype).min
            scores = scores + (1.0 - attention_mask[:, None].to(x.dtype)) * least
        return {"logits": self.head((scores.softmax(-1) @ x)[:, 0]), "past": past}


def batch() -> dict[str, Tensor]:
    return {"input_ids": torch.randint(9, (3, 5)), "attention_mask": (torch.arange(5) < LENGTHS).long()}


def test_relevance_comes_back_under_the_names_of_the_inputs() -> None:
    given = batch()
    lrp = LRP(Reader(), RULE, example=given)
    e = lrp(given)
    assert isinstance(e, NamedExplanation)
    assert list(e.inputs) == list(e.relevance) == list(given)
    for name, x in given.items():
        assert_close(e.inputs[name], x)
        assert e.relevance[name].shape == x.shape
    other = lrp(dict(reversed(given.items())))
    assert list(other.relevance) == ["attention_mask", "input_ids"]
    assert_close(other.relevance["input_ids"], e.relevance["input_ids"], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool])
def test_an_attention_mask_receives_nothing_and_is_told_so(dtype: torch.dtype) -> None:
    """Every sample is explained as if its padding were not there."""
    model, given = Reader(), batch()
    given["attention_mask"] = given["attention_mask"].to(dtype)
    lrp = LRP(model, RULE, example=given)
    e = lrp(given)
    assert next((c.module, c.operator, c.rule) for c in lrp.coverage) == (
        "attention_mask",
        str(dtype),
        "a mask: receives nothing",
    )
    assert not e.relevance["attention_mask"].any()
    for i, length in enumerate(LENGTHS.flatten().tolist()):
        alone = {name: x[i : i + 1, :length] for name, x in given.items()}
        expected = LRP(model, RULE, example=alone)(alone, e.target[i : i + 1])
        assert_close(e.relevance["input_ids"][i, :length], expected.relevance["input_ids"][0], rtol=1e-9, atol=1e-12)
        assert not e.relevance["input_ids"][i, length:].any()


def test_a_program_takes_names_too() -> None:
    model, given = Reader().eval(), batch()
    dynamic = {name: {0: Dim.DYNAMIC} for name in given}
    program = export(model, (), given, dynamic_shapes=dynamic, strict=False)
    e, expected = LRP(program, RULE, example=given)(given), LRP(model, RULE, example=given)(given)
    assert_close(dict(e.relevance), dict(expected.relevance))
    with pytest.raises(BenchError, match=r"Expected inputs named input_ids, attention_mask, got ids, attention_mask"):
        LRP(program, RULE, example={"ids": given["input_ids"], "attention_mask": given["attention_mask"]})


WRONG: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "an unknown name": (lambda g: {**g, "token_types": g["input_ids"]}, "got .*token_types.*unexpected keyword"),
    "a missing one": (lambda g: {"attention_mask": g["attention_mask"]}, "missing a required argument: 'input_ids'"),
    "none at all": (lambda g: {}, "got nothing"),
    "no tensor": (lambda g: {**g, "use_cache": False}, "got .*bool"),
    "another batch": (lambda g: {**g, "attention_mask": g["attention_mask"][:2]}, r"one batch, got \[2, 3\]"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mapping_that_does_not_fit_is_refused(case: str) -> None:
    change, message = WRONG[case]
    with pytest.raises(BenchError, match=f"^Expected .*{message}"):
        LRP(Reader(), RULE, example=change(batch()))


def test_a_truth_value_that_is_looked_up_is_a_token() -> None:
    given = torch.randn(3, 4), torch.tensor([True, False, True])
    model = Flagged(lambda m, x, flag: m.head(x) + m.embed(flag.long()))
    e = LRP(model, Epsilon(1e-9, bias="exclude"), example=given)(given, 0)
    assert_close(e.relevance[1], model.embed(given[1].long())[:, 0].detach())


class Flagged(nn.Module):
    """Numbers beside an integer or a truth value for each sample."""

    def __init__(self, function: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.head, self.count, self.embed = (
            function,
            nn.Linear(4, 2),
            nn.Linear(1, 2),
            nn.Embedding(2, 2),
        )

    def forward(self, x: Tensor, flag: Tensor) -> Tensor:
        return self.function(self, x, flag)


CHOOSES: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "weighs": lambda m, x, flag: m.head(x * flag[:, None]),
    "divides": lambda m, x, flag: m.head(x / (1 + flag[:, None].double())),
    "chooses": lambda m, x, flag: torch.where(flag[:, None] > 0, m.head(x), -m.head(x)),
    "fills": lambda m, x, flag: m.head(x).masked_fill(flag[:, None] == 0, 0.0),
    "masks a maximum": lambda m, x, flag: m.head(
        torch.stack([x, -x], 1).add((flag[:, None, None] > 5).double() * -1e9).amax(1)
    ),
    "goes unused": lambda m, x, flag: m.head(x),
}
ADDS: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "a layer of its own": lambda m, x, flag: m.head(x) + m.count(flag[:, None].double()),
    "added": lambda m, x, flag: m.head(x + flag[:, None]),
    "beside others": lambda m, x, flag: m.head(torch.cat([x[:, :3], flag[:, None].to(x.dtype)], 1)),
    "in place of others": lambda m, x, flag: m.head(torch.where(x > 0, x, flag[:, None].to(x.dtype))),
    "all there is": lambda m, x, flag: m.count(flag[:, None].double()),
}


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
@pytest.mark.parametrize("case", CHOOSES)
def test_what_chooses_or_weighs_is_a_mask(case: str, dtype: torch.dtype) -> None:
    x, flag = torch.randn(3, 4), torch.tensor([1, 0, 1]).to(dtype)
    e = LRP(Flagged(CHOOSES[case]), Epsilon(), example=(x, flag))((x, flag))
    assert isinstance(e, JointExplanation)
    assert not e.relevance[1].any()
    lost = sum(entry.bias + entry.stabilizer + entry.rule for entry in e.ledger.values())
    assert_close(e.score, e.relevance[0].sum(1) + lost)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
@pytest.mark.parametrize("case", ADDS)
def test_integers_that_become_a_part_of_activations_are_refused(case: str, dtype: torch.dtype) -> None:
    """They would have a relevance, which nobody could see."""
    given = torch.randn(3, 4), torch.tensor([2, 0, 1]).to(dtype)
    with pytest.raises(BenchError, match=rf"floating-point inputs, got {dtype} for input 1.*part of activations"):
        LRP(Flagged(ADDS[case]), Epsilon(), example=given)
