"""Conservation within the network, of explanations by the engine: what each measure says against what it is made of."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lrp_bench.contracts import BenchError, Explanation, LedgerEntry, Scores
from lrp_bench.engine import LRP
from lrp_bench.engine.rules import AlphaBeta, Epsilon
from lrp_bench.metrics import Conservation, Context

RULES = {"epsilon": Epsilon(0.1), "exclude": Epsilon(bias="exclude"), "alphabeta": AlphaBeta()}


@cache
def explained(rule: str, start: int = 0, stop: int = 6) -> Explanation:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)).double()
    x = torch.randn(6, 5, dtype=torch.float64)
    return LRP(net, RULES[rule], example=x)(x[start:stop])


def measured(*explanations: Explanation, ledger: bool = True) -> Scores:
    conservation = Conservation(ledger=ledger)
    for explanation in explanations:
        conservation.update(explanation, Context(nn.Identity()))
    return conservation.compute()


@pytest.mark.parametrize("rule", RULES)
def test_what_was_taken_adds_up_to_what_is_missing(rule: str) -> None:
    e = explained(rule)
    values = measured(e).values
    taken = sum(values[f"conservation/{taker}"] for taker in ("bias", "stabilizer", "rule"))
    assert_close(taken, (e.score - e.relevance.sum(1)) / e.score.abs(), rtol=1e-6, atol=1e-6)
    assert_close(taken.abs(), values["conservation/error"], rtol=1e-6, atol=1e-6)
    assert (values["conservation/residue"] < 1e-12).all()


def test_each_part_is_counted_where_it_belongs() -> None:
    absorbed, excluded = measured(explained("epsilon")).values, measured(explained("exclude")).values
    assert (absorbed["conservation/bias"].abs() > 1e-3).all()
    assert (absorbed["conservation/stabilizer"].abs() > 1e-6).all()
    assert not excluded["conservation/bias"].any()
    assert not absorbed["conservation/rule"].any()


@pytest.mark.parametrize("rule", RULES)
def test_amplifications_of_a_chain_multiply(rule: str) -> None:
    found = measured(explained(rule))
    first, second = (found.layers[name]["amplification"] for name in ("0", "2"))
    assert_close(first * second, found.values["conservation/amplification"], rtol=1e-6, atol=1e-9)


def test_layers_are_the_ledger_from_the_output_down() -> None:
    e = explained("alphabeta")
    layers = measured(e).layers
    assert list(layers) == ["2", "0"]
    for name, entry in e.ledger.items():
        quantities = {**vars(entry), "amplification": e.amplification[name]}
        assert_close(dict(layers[name]), quantities)


def test_no_batch_split_changes_the_layers() -> None:
    whole, parts = (
        measured(explained("epsilon")),
        measured(explained("epsilon", 0, 1), explained("epsilon", 1)),
    )
    assert_close(dict(parts.values), dict(whole.values))
    for name, quantities in whole.layers.items():
        assert_close(dict(parts.layers[name]), dict(quantities))


def test_the_residue_is_what_no_part_explains() -> None:
    def entry(*parts: float) -> LedgerEntry:
        return LedgerEntry(*(torch.tensor([part]) for part in parts))

    x = torch.ones(1, 2)
    ledger = {
        "a": entry(4.0, 3.0, 1.0, 0.0, 0.0),
        "b": entry(3.0, 2.0, 0.0, 0.0, -0.5),
        "c": entry(0.0, 0.0, 0.0, 0.0, 0.0),
    }
    e = Explanation(
        x,
        x,
        torch.tensor([0]),
        torch.tensor([4.0]),
        x,
        ledger=ledger,
        amplification=dict.fromkeys(ledger, torch.ones(1)),
    )
    assert_close(measured(e).values["conservation/residue"], torch.tensor([1.5 / 5.5]))


def test_without_a_ledger_the_values_are_end_to_end() -> None:
    e = explained("epsilon")
    bare = Explanation(e.inputs, e.logits, e.target, e.score, e.relevance)
    for found in (measured(bare), measured(e, ledger=False)):
        assert set(found.values) == {f"conservation/{name}" for name in ("error", "delta", "amplification")}
        assert set(found.measures) == set(found.values)
        assert not found.layers
    with pytest.raises(BenchError, match="Expected the ledger of the first batch"):
        measured(e, bare)


@pytest.mark.parametrize("weighted", [False, True])
def test_completeness_is_against_the_score_of_the_reference(weighted: bool) -> None:
    torch.manual_seed(0)
    net, x = nn.Linear(5, 3).double(), torch.randn(6, 5, dtype=torch.float64)
    logits, target = net(x).detach(), torch.tensor([0, 1, 2, 0, 1, 2])
    score = logits.gather(1, target[:, None])[:, 0]
    R = net.weight.detach()[target] * (x - 0.5)  # integrated gradients from 0.5
    classes = nn.functional.one_hot(target, 3).double() if weighted else target
    conservation = Conservation(reference=0.5)
    conservation.update(Explanation(x, logits, classes, score, R), Context(net))
    values = conservation.compute().values
    assert_close(values["conservation/completeness"], torch.zeros(6, dtype=torch.float64))
    at_reference = net(torch.full((1, 5), 0.5, dtype=torch.float64))[0].detach()[target]
    assert_close(values["conservation/error"], (at_reference / score).abs())


def test_a_reference_is_a_number() -> None:
    with pytest.raises(BenchError, match="reference"):
        Conservation(reference="black")  # type: ignore[arg-type]
