"""The networks for sentences: padding is nothing, wherever it stands, and LRP hands down all of the score."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.engine import LRP
from lrp_bench.engine.composites import CPLRP, AttnLRP, Composite
from lrp_bench.engine.rules import Epsilon, Rule
from lrp_bench.models import LSTM, SequenceLSTM, TextTransformer
from lrp_bench.training.augment import Trim

pytestmark = pytest.mark.usefixtures("captured_once")

Network = LSTM | TextTransformer
every = pytest.mark.parametrize("kind", [LSTM, TextTransformer])


@cache
def network(kind: type[Network] = LSTM, hidden: int = 8, vocabulary: int = 30) -> Network:
    torch.manual_seed(0)
    sizes = {"embedding": hidden} if kind is LSTM else {"features": hidden}
    model = kind([12], 5, vocabulary, hidden=hidden, **sizes).double().eval()
    with torch.no_grad():
        model.embedding.weight[1:] = torch.randn_like(model.embedding.weight[1:])
    return model


def sentences(batch: int = 9, length: int = 12, vocabulary: int = 30) -> tuple[Tensor, Tensor]:
    """Ids and numbers of words; some sentences are full, one has a single word."""
    generator = torch.Generator().manual_seed(1)
    words = torch.randint(1, length + 1, (batch,), generator=generator)
    words[:2] = torch.tensor([length, 1])
    ids = torch.randint(1, vocabulary, (batch, length), generator=generator)
    return ids.masked_fill(torch.arange(length) >= words[:, None], 0), words


def scattered(ids: Tensor, length: int) -> Tensor:
    """The same words with padding between them at random."""
    generator = torch.Generator().manual_seed(2)
    places = torch.rand(len(ids), length, generator=generator).argsort(1)[:, : ids.shape[1]].sort(1).values
    return torch.zeros(len(ids), length, dtype=ids.dtype).scatter(1, places, ids)


def test_the_logits_are_those_of_torchs_own_bidirectional_lstm_on_packed_sentences() -> None:
    model, (ids, words) = network(), sentences()
    assert isinstance(model, LSTM)
    both = nn.LSTM(8, 8, batch_first=True, bidirectional=True).double()
    for name, weight in model.forwards.named_parameters():
        getattr(both, name).data = weight.data
    for name, weight in model.backwards.named_parameters():
        getattr(both, f"{name}_reverse").data = weight.data
    packed = pack_padded_sequence(model.embedding(ids), words, batch_first=True, enforce_sorted=False)
    _, (last, _) = both(packed)
    assert_close(model(ids), model.head(torch.cat(list(last), 1)), rtol=0, atol=1e-14)


@every
def test_padding_changes_nothing_wherever_it_stands(kind: type[Network]) -> None:
    model, (ids, _) = network(kind), sentences()
    for other in (scattered(ids, 20), nn.functional.pad(ids, (0, 5)), nn.functional.pad(ids, (3, 0))):
        assert_close(model(other), model(ids), rtol=0, atol=1e-14)
    assert_close(model(Trim(0)(ids[1:2])), model(ids)[1:2], rtol=0, atol=1e-14)


@every
def test_a_word_that_is_replaced_by_padding_is_deleted(kind: type[Network]) -> None:
    model, (ids, _) = network(kind), sentences()
    gone = ids.clone()
    gone[0, 4] = 0
    shorter = torch.cat([ids[0, :4], ids[0, 5:]])[None]
    assert_close(model(gone)[:1], model(shorter), rtol=0, atol=1e-14)
    assert_close(model(gone)[1:], model(ids)[1:], rtol=0, atol=0)
    assert not torch.allclose(model(gone)[:1], model(ids)[:1])


@every
def test_a_sentence_without_words_has_the_logits_of_states_that_are_zero(kind: type[Network]) -> None:
    model = network(kind)
    assert_close(model(torch.zeros(2, 3, dtype=torch.int64)), model.head.bias.expand(2, 5))


def test_a_transformer_knows_where_words_stand() -> None:
    model, (ids, _) = network(TextTransformer), sentences()
    assert not torch.allclose(model(ids[:1].flip(1)), model(ids[:1]))


def test_relevance_adds_up_to_the_logit_on_the_trained_size() -> None:
    model, (ids, _) = network(hidden=60, vocabulary=200), sentences(vocabulary=200)
    ids = scattered(ids, 15)
    explained = LRP(model, Epsilon(1e-3, bias="redistribute"), example=ids)(ids)
    assert_close(explained.relevance.sum(1), explained.score, rtol=0, atol=1e-10)
    assert not explained.relevance[ids == 0].any()
    assert explained.relevance[ids != 0].all()


@pytest.mark.parametrize(
    ("kind", "rule"),
    [(LSTM, Epsilon(1e-3)), (TextTransformer, AttnLRP()), (TextTransformer, CPLRP())],
    ids=["lstm", "attnlrp", "cp_lrp"],
)
def test_relevance_does_not_depend_on_padding(kind: type[Network], rule: Rule | Composite) -> None:
    model, (ids, _) = network(kind), sentences()
    lrp = LRP(model, rule, example=ids)
    wide = scattered(ids, 20)
    explained = lrp(wide)
    assert_close(explained.relevance[wide != 0], lrp(ids).relevance[ids != 0], rtol=0, atol=1e-10)
    assert not explained.relevance[wide == 0].any()


def test_trim_cuts_to_the_longest_sentence() -> None:
    ids = torch.tensor([[4, 0, 2, 0, 0], [3, 0, 0, 0, 0]])
    assert Trim()(ids).tolist() == [[4, 0, 2], [3, 0, 0]]
    assert Trim()(torch.zeros(2, 4, dtype=torch.int64)).shape == (2, 1)
    assert Trim(padding=7)(torch.tensor([[0, 7, 7]])).tolist() == [[0]]


def test_a_sequence_of_numbers_is_read_step_by_step() -> None:
    torch.manual_seed(0)
    model = SequenceLSTM([12], 2, features=3, hidden=4)
    x = torch.randn(5, 12)
    state = None
    for step in x.view(5, 4, 3).unbind(1):
        y, state = model.lstm(step[:, None], state)
    assert_close(model(x), y[:, 0] @ model.head.weight.T)


@pytest.mark.parametrize("shape", [[1, 8, 8], [3, 4, 4]])
def test_pictures_are_no_sequences(shape: list[int]) -> None:
    with pytest.raises(BenchError, match="shape"):
        LSTM(shape, 2, 10)
    with pytest.raises(BenchError, match="shape"):
        TextTransformer(shape, 2, 10)
    with pytest.raises(BenchError, match="shape"):
        SequenceLSTM(shape, 2, 3)


def test_a_sequence_must_be_of_whole_steps() -> None:
    with pytest.raises(BenchError, match=r"\[steps \* 3\]"):
        SequenceLSTM([10], 2, 3)
