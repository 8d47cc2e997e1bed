"""Packed sequences: each sample is explained as if it came alone, without its padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.engine import LRP
from lrp_bench.engine.composites import Composite, EpsilonPlus
from lrp_bench.engine.rules import Epsilon, Flat, Rule

pytestmark = pytest.mark.usefixtures("float64", "captured_once")

LENGTHS = torch.tensor([4, 6, 1, 4])
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "LSTM": lambda: nn.LSTM(3, 4),
    "LSTM, two layers, both directions": lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True),
    "LSTM, projected": lambda: nn.LSTM(3, 4, proj_size=2, bidirectional=True),
    "GRU, two layers, both directions": lambda: nn.GRU(3, 4, num_layers=2, bidirectional=True),
    "Elman": lambda: nn.RNN(3, 4, nonlinearity="relu", bias=False, batch_first=True),
}
RULES: dict[str, Rule | Composite] = {
    "epsilon": Epsilon(1e-3),
    "flat, redistributed": Flat(bias="redistribute"),
    "plus": EpsilonPlus(),
}


class Reading(nn.Module):
    """Sequences (batch, time, 3) of several lengths, read at the last states and at the first step."""

    def __init__(self, network: nn.Module, *, states: bool = False, in_order: bool = False) -> None:
        super().__init__()
        self.network, self.first = network, network.batch_first
        width = (network.proj_size or network.hidden_size) * (2 if network.bidirectional else 1)
        cells = network.hidden_size * (2 if network.bidirectional else 1) if isinstance(network, nn.LSTM) else 0
        self.head, self.start = nn.Linear((width + cells) * network.num_layers + width, 3), nn.Linear(3, 4)
        self.states, self.in_order = states, in_order

    def initial(self, x: Tensor) -> Tensor | None:
        return self.start(x[:, 0])[None] if self.states else None

    def run(self, given: Any, x: Tensor) -> tuple[Any, Tensor]:
        y, last = self.network(given, self.initial(x))
        last = torch.cat(last, 2) if isinstance(last, tuple) else last
        return y, last.transpose(0, 1).flatten(1)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        given = x if self.first else x.transpose(0, 1)
        packed = pack_padded_sequence(given, lengths.cpu(), self.first, enforce_sorted=self.in_order)
        packed, last = self.run(packed, x)
        y, _ = pad_packed_sequence(packed, self.first, total_length=x.shape[1])
        return self.head(torch.cat([last, y[:, 0] if self.first else y[0]], 1))


class Alone(nn.Module):
    """The same without packing."""

    def __init__(self, model: Reading) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        y, last = self.model.run(x if self.model.first else x.transpose(0, 1), x)
        return self.model.head(torch.cat([last, y[:, 0] if self.model.first else y[0]], 1))


ALONE: dict[Reading, Alone] = {}  # captured once


def compare(model: Reading, rule: Rule | Composite, lengths: Tensor = LENGTHS) -> None:
    x = torch.randn(4, 6, 3)
    e = LRP(model, rule, example=(x, lengths))((x, lengths))
    alone = ALONE.setdefault(model, Alone(model))
    for i, length in enumerate(lengths.tolist()):
        expected = LRP(alone, rule, example=x[:1, :length])(x[i : i + 1, :length], e.target[i : i + 1])
        assert_close(e.logits[i], expected.logits[0])
        assert_close(e.relevance[0][i, :length], expected.relevance[0], rtol=1e-9, atol=1e-12)
        assert not e.relevance[0][i, length:].any()
        for part in ("arrived", "passed", "bias", "stabilizer", "rule"):
            ours, theirs = getattr(e.ledger["network"], part), getattr(expected.ledger["model.network"], part)
            assert_close(ours[i], theirs[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("network", NETWORKS)
def test_each_sample_is_explained_as_if_alone(network: str, rule: str) -> None:
    torch.manual_seed(3)
    compare(MODELS[network], RULES[rule])


MODELS = {name: Reading(make()).double().eval() for name, make in NETWORKS.items()}


def test_states_that_come_with_the_sequences() -> None:
    compare(Reading(nn.GRU(3, 4), states=True).eval(), RULES["flat, redistributed"])


def test_sequences_in_the_order_of_their_lengths() -> None:
    compare(Reading(nn.LSTM(3, 4), in_order=True).eval(), RULES["epsilon"], LENGTHS.sort(descending=True)[0])


class Cut(nn.Module):
    """The mean over all steps of the longest sequence; a dropout between that unpacks by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.network, self.head = nn.Embedding(9, 3), nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, ids: Tensor) -> Tensor:
        packed = pack_padded_sequence(self.embed(ids), (ids > 0).sum(1).cpu(), batch_first=True, enforce_sorted=False)
        packed, _ = self.network(PackedSequence(2 * packed.data, *packed[1:]))
        y, lengths = pad_packed_sequence(packed, batch_first=True, padding_value=-1.0)
        return self.head(y.mean(1) / lengths[:, None])


def test_tokens_whose_padding_tells_the_lengths() -> None:
    model, ids = Cut().eval(), torch.randint(1, 9, (4, 6)) * (torch.arange(6) < LENGTHS[:, None])
    lrp = LRP(model, Epsilon(1e-9, bias="exclude"), example=ids)
    e = lrp(ids)
    assert_close(e.logits, model(ids))
    assert not e.relevance[ids == 0].any()
    assert bool(e.relevance[ids > 0].all())
    shorter = torch.cat([ids[:, :4], torch.zeros_like(ids[:, :2])], 1)
    with pytest.raises(BenchError, match=r"cut at its longest.*6 steps whose longest has 4: leave out the steps"):
        lrp(shorter)


def test_lengths_that_no_sequence_has_are_refused() -> None:
    model, x = MODELS["LSTM"], torch.randn(4, 6, 3)
    lrp = LRP(model, Epsilon(), example=(x, LENGTHS))
    for wrong in (0, 7):
        with pytest.raises(BenchError, match=r"Expected lengths of sequences from 1 to 6, got"):
            lrp((x, torch.tensor([4, 6, 1, wrong])))
