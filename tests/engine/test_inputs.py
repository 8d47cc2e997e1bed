"""What goes in and comes out: token ids, several inputs, chosen outputs, and programs in place of modules."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from oracles import one_hot, walk
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, export
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.engine import LRP
from lrp_bench.engine.rules import AlphaBeta, Epsilon

pytestmark = pytest.mark.usefixtures("float64")

RULE = Epsilon(1e-3)


class Classes(nn.Module):
    """A classifier of token ids, whose ids are moved about by `prepare` before the embedding."""

    def __init__(self, prepare: Callable[[Tensor], Tensor] = lambda ids: ids) -> None:
        super().__init__()
        self.prepare, self.embed, self.head = prepare, nn.Embedding(9, 3), nn.Linear(3 * 4, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.embed(self.prepare(ids)).flatten(1))


MOVED = {
    "as they are": (lambda ids: ids, 4),
    "the last four": (lambda ids: ids[:, 2:], 6),
    "turned": (lambda ids: ids.flip(1).to(torch.int32), 4),
    "shifted by a marker": (lambda ids: torch.cat([torch.zeros_like(ids[:, :1]), ids[:, :-1] + 1], 1), 4),
    "one used twice": (lambda ids: torch.cat([ids, ids[:, :1]], 1), 3),
    "split": (lambda ids: torch.cat([part.flip(1) for part in ids.chunk(2, 1)], 1), 4),
}


@pytest.mark.parametrize("name", MOVED)
def test_a_token_gets_the_sum_over_its_embedding_wherever_it_is_used(name: str) -> None:
    prepare, length = MOVED[name]
    model, ids = Classes(prepare), torch.randint(0, 8, (3, length))
    lrp = LRP(model, RULE, example=ids)
    e, vectors = lrp(ids), model.embed(prepare(ids)).detach()
    dense = walk(nn.Sequential(nn.Flatten(), model.head), {1: RULE}, vectors, one_hot(e.logits)).relevance[0]
    expected = torch.zeros(3, length)
    positions = prepare(torch.arange(1, length + 1).expand(3, -1))
    for sample in range(3):
        for place in range(4):
            position = int(positions[sample, place]) - (1 if name != "shifted by a marker" else 2)
            if position >= 0:
                expected[sample, position] += dense[sample, place].sum()
    assert e.relevance.shape == ids.shape
    assert_close(e.relevance, expected)
    assert_close(e.layers["embed"], e.relevance if name == "as they are" else e.layers["embed"])
    assert_close(e.inputs, ids)
    assert {c.operator: c.rule for c in lrp.coverage}["token_embedding"].startswith("stops")


def test_ids_that_are_computed_beyond_recognition_are_refused() -> None:
    ids = torch.randint(0, 8, (3, 4))
    with pytest.raises(BenchError, match=r"token ids.*cumsum"):
        LRP(Classes(lambda given: given.cumsum(1)), RULE, example=ids)


def test_integers_that_feed_no_embedding_are_refused() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    for given in (torch.uint8, torch.int64):
        with pytest.raises(BenchError, match=rf"Expected .*{given}"):
            LRP(model, RULE, example=torch.ones(2, 4, dtype=given))

    class Casting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return model(x.double())

    with pytest.raises(BenchError, match=r"Expected floating-point inputs.*int64.*x.float\(\) / 255"):
        LRP(Casting(), RULE, example=torch.ones(2, 4, dtype=torch.int64))


def test_ids_outside_the_vocabulary_are_refused() -> None:
    model, ids = Classes(), torch.randint(0, 8, (3, 4))
    lrp = LRP(model, RULE, example=ids)
    with pytest.raises(BenchError, match=r"token ids from 0 to 8, got 9 to 9"):
        lrp(torch.full((2, 4), 9))


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 2, bias=False), nn.Linear(5, 2, bias=False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.left(a) + self.right(b)


@pytest.mark.parametrize("kind", [tuple, list])
def test_several_inputs_come_back_in_their_order(kind: Callable[[Any], Any]) -> None:
    model, a, b = Sum(), torch.randn(3, 4), torch.randn(3, 5)
    e = LRP(model, Epsilon(1e-12), example=kind((a, b)))(kind((a, b)), 1)
    assert_close(e.relevance, (a * model.left.weight[1].detach(), b * model.right.weight[1].detach()))
    assert isinstance(e.inputs, tuple)
    assert_close(e.inputs, (a, b))
    assert_close(sum(R.sum(1) for R in e.relevance), e.score)


def test_one_input_in_a_tuple_is_the_tensor_in_a_tuple() -> None:
    model, x = nn.Linear(4, 2), torch.randn(3, 4)
    lrp = LRP(model, RULE, example=x)
    assert_close(lrp((x,)).relevance, (lrp(x).relevance,))


def test_ids_and_numbers_together() -> None:
    model, (ids, x) = IdsAndNumbers(), (torch.randint(0, 9, (3, 4)), torch.randn(3, 5))
    e = LRP(model, Epsilon(1e-9, bias="redistribute"), example=(ids, x))((ids, x))
    assert [R.shape for R in e.relevance] == [(3, 4), (3, 5)]
    assert_close(e.relevance[0].sum(1) + e.relevance[1].sum(1), e.score)


class IdsAndNumbers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.words, self.numbers = nn.Embedding(9, 3), nn.Linear(3, 2), nn.Linear(5, 2)

    def forward(self, ids: Tensor, x: Tensor) -> Tensor:
        return self.words(self.embed(ids).mean(1)) + self.numbers(x)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((torch.ones(2, 4),), "missing a required argument: 'b'"),
        (torch.ones(2, 4), "missing a required argument: 'b'"),
        ((torch.ones(2, 4), torch.ones(2, 5), torch.ones(2, 5)), "too many positional"),
        ((torch.ones(2, 4), torch.ones(3, 5)), r"one batch, got \[2, 3\]"),
        ((torch.ones(2, 4), None), "got Tensor, NoneType"),
        ((), "got nothing"),
        ((torch.ones(2, 4), torch.full((2, 5), torch.nan)), "NaN"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(given: Any, message: str) -> None:
    with pytest.raises(BenchError, match=f"Expected.*{message}"):
        LRP(Sum(), RULE, example=given)
    lrp = LRP(Sum(), RULE, example=(torch.ones(2, 4), torch.ones(2, 5)))
    with pytest.raises(BenchError, match=f"Expected.*{message}"):
        lrp(given)


Named = namedtuple("Named", ["hidden", "logits"])


@dataclass
class Answer:
    hidden: Tensor
    logits: Tensor
    extra: tuple[Tensor, ...] | None = None


class Returning(nn.Module):
    def __init__(self, pack: Callable[[Tensor, Tensor], object]) -> None:
        super().__init__()
        self.pack, self.body, self.head = pack, nn.Linear(4, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> object:
        hidden = self.body(x).relu()
        return self.pack(hidden, self.head(hidden))


PACKED: dict[str, tuple[Callable[[Tensor, Tensor], object], int | str]] = {
    "tuple": (lambda hidden, logits: (hidden, logits), 1),
    "list": (lambda hidden, logits: [logits, hidden], 0),
    "dict": (lambda hidden, logits: {"hidden": hidden, "logits": logits}, "logits"),
    "named tuple": (Named, "logits"),
    "dataclass": (Answer, "logits"),
    "nested": (lambda hidden, logits: {"heads": (hidden, Answer(hidden, logits))}, "heads.1.logits"),
}


@pytest.mark.parametrize("kind", PACKED)
def test_the_logits_are_chosen_by_index_key_or_attribute(kind: str) -> None:
    pack, output = PACKED[kind]
    x = torch.randn(3, 4)
    model = Returning(pack)
    e = LRP(model, RULE, example=x, output=output)(x)
    slow = walk(nn.Sequential(model.body, nn.ReLU(), model.head), {0: RULE, 2: RULE}, x, one_hot(e.logits))
    assert_close(e.relevance, slow.relevance[0])
    assert set(e.layers) == {"body", "head"}
    with pytest.raises(BenchError, match=r"Expected one output.*(float64 \(batch, [23]\).*){2}output="):
        LRP(model, RULE, example=x)
    with pytest.raises(BenchError, match=f"Expected output to name one of .*'{output}'.*, got 'prediction'"):
        LRP(model, RULE, example=x, output="prediction")


def test_the_only_table_of_numbers_is_taken() -> None:
    x = torch.randn(3, 4)
    model = Returning(lambda hidden, logits: {"labels": logits.argmax(1), "logits": logits, "maps": hidden[:, None, :]})
    assert_close(LRP(model, RULE, example=x)(x).logits, model.head(model.body(x).relu()))


def test_no_tensor_at_all_is_refused() -> None:
    with pytest.raises(BenchError, match=r"Expected one output.*got no tensor"):
        LRP(Returning(lambda hidden, logits: None), RULE, example=torch.randn(3, 4))


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)).eval()


def program(model: nn.Module, *given: Tensor, dynamic: bool = True) -> ExportedProgram:
    sizes = tuple({0: Dim.DYNAMIC} for _ in given) if dynamic else None
    return export(model, given, dynamic_shapes=sizes, strict=False)


@pytest.mark.parametrize("rule", [RULE, AlphaBeta()], ids=repr)
def test_a_program_is_explained_as_the_module_it_came_from(rule: Any, tmp_path: Path) -> None:
    model, x = network(), torch.randn(3, 1, 6, 6)
    expected = LRP(model, rule, example=x)(x)
    exported = program(model, x)
    torch.export.save(exported, tmp_path / "model.pt2")
    for given in (exported, tmp_path / "model.pt2", str(tmp_path / "model.pt2")):
        lrp = LRP(given, rule, example=x)
        e = lrp(x)
        assert_close(e.relevance, expected.relevance)
        assert_close(dict(e.layers), dict(expected.layers))
        assert set(e.ledger) == set(expected.ledger)
        assert_close(lrp(x[:1]).relevance, expected.relevance[:1])


@pytest.mark.filterwarnings("ignore:The tensor attributes self.read._flat_weights:UserWarning")
def test_a_program_with_ids_an_lstm_and_several_outputs(tmp_path: Path) -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.read, self.head = nn.Embedding(9, 3), nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, ids: Tensor) -> dict[str, Tensor]:
            y, (h, _) = self.read(self.embed(ids))
            return {"logits": self.head(y[:, -1]), "memory": h[-1]}

    model, ids = Reader().eval(), torch.randint(0, 9, (3, 5))
    torch.export.save(program(model, ids), tmp_path / "reader.pt2")
    expected = LRP(model, RULE, example=ids, output="logits")(ids)
    e = LRP(tmp_path / "reader.pt2", RULE, example=ids, output="logits")(ids)
    assert_close(e.relevance, expected.relevance)
    with pytest.raises(BenchError, match=r"'logits'.*'memory'"):
        LRP(tmp_path / "reader.pt2", RULE, example=ids)


def test_what_was_fixed_at_export_is_said() -> None:
    x = torch.randn(3, 1, 6, 6)
    fixed = program(network(), x, dynamic=False)
    lrp = LRP(fixed, RULE, example=x)
    assert lrp(x).relevance.shape == x.shape
    for wrong in (x[:2], torch.randn(3, 1, 7, 7), x.float()):
        with pytest.raises(BenchError, match=r"Expected input.*\(3, 1, 6, 6\).*dynamic_shapes"):
            lrp(wrong)
    with pytest.raises(BenchError, match=r"Expected 1 inputs \(input\), got 2"):
        lrp((x, x))


def test_a_file_that_is_missing_or_damaged_is_said(tmp_path: Path) -> None:
    x = torch.randn(3, 1, 6, 6)
    with pytest.raises(BenchError, match=r"Expected a .pt2 file.*does not exist"):
        LRP(tmp_path / "none.pt2", RULE, example=x)
    torch.export.save(program(network(), x), tmp_path / "model.pt2")
    whole = (tmp_path / "model.pt2").read_bytes()
    for damaged in (b"", b"not a program", whole[: len(whole) // 2]):
        (tmp_path / "damaged.pt2").write_bytes(damaged)
        with pytest.raises(BenchError, match=r"Expected a file that torch.export.save wrote.*damaged.pt2"):
            LRP(tmp_path / "damaged.pt2", RULE, example=x)


IN_TRAINING: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "native_dropout": (nn.Dropout(0.5), (3, 4)),
    "bernoulli": (nn.AlphaDropout(0.5), (3, 4)),
    "rrelu": (nn.RReLU(), (3, 4)),
    "_native_batch_norm_legit_functional": (nn.BatchNorm1d(4), (3, 4)),
}


@pytest.mark.parametrize("operator", IN_TRAINING)
def test_a_program_in_training_mode_is_refused(operator: str) -> None:
    layer, shape = IN_TRAINING[operator]
    model, x = nn.Sequential(nn.Linear(4, 4), layer, nn.Linear(4, 2)).train(), torch.randn(shape)
    with pytest.raises(BenchError, match=rf"Expected a model in eval mode.*got aten::{operator} in 1: .*model.eval"):
        LRP(program(model, x), RULE, example=x)


class Counting(nn.Module):
    """A model that takes the length of its batch as a plain number."""

    def __init__(self, count: Callable[[Tensor], int]) -> None:
        super().__init__()
        self.count, self.conv, self.head = count, nn.Conv2d(1, 3, 3), nn.Linear(48, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.conv(x).relu()
        return self.head(h.view(self.count(x), -1)), self.head(self.head.weight)


@pytest.mark.parametrize("count", [len, lambda x: int(x.shape[0])], ids=["len(x)", "int(x.shape[0])"])
def test_the_length_of_a_batch_may_be_a_plain_number(count: Callable[[Tensor], int]) -> None:
    """Captured for any batch all the same, with the modules' names and several outputs."""
    model, x = Counting(count), torch.randn(3, 1, 6, 6)
    plain = nn.Sequential(model.conv, nn.ReLU(), nn.Flatten(), model.head)
    lrp = LRP(model, RULE, example=x, output=0)
    for given in (x, x[:1], torch.cat([x, x])):
        assert_close(lrp(given).relevance, LRP(plain, RULE, example=x)(given).relevance)
    assert {"conv", "head"} <= set(lrp(x).layers)
