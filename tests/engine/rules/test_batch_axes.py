"""The ledger counts per sample wherever the samples lie: against closed forms, and each sample explained alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.engine import LRP
from lrp_bench.engine.rules import Epsilon, Zero
from lrp_bench.engine.rules.batch_axes import Layout

pytestmark = pytest.mark.usefixtures("float64")


class PlusOne(nn.Linear):
    def __init__(self) -> None:
        super().__init__(2, 2)
        nn.init.eye_(self.weight)
        nn.init.ones_(self.bias)


class BesideItsTenfold(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.f = PlusOne()

    def forward(self, x: Tensor) -> Tensor:
        return self.f(torch.cat([x, 10 * x]))[: len(x)]


def test_of_two_batches_one_behind_the_other_each_sample_gets_what_is_its_own() -> None:
    """f(x) = x + 1 of [1, 1] and [5, 5]: the scores 2 and 6 arrive at f, and 1 of each is the bias's."""
    x = torch.tensor([[1.0, 1.0], [5.0, 5.0]])
    entry = LRP(BesideItsTenfold(), Zero(), example=x)(x).ledger["f"]
    assert_close(entry.arrived, torch.tensor([2.0, 6.0]))
    assert_close(entry.passed, torch.tensor([1.0, 5.0]))
    assert_close(entry.bias, torch.tensor([1.0, 1.0]))


class Around(nn.Module):
    """A shared body between what puts several views of each sample into one batch, and what takes them out."""

    def __init__(
        self, views: Callable[[Tensor], Tensor], back: Callable[[Tensor, Tensor], Tensor], body: nn.Module
    ) -> None:
        super().__init__()
        self.views, self.back, self.body, self.head = views, back, body, nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.back(self.body(self.views(x)), x)))


class Sequences(nn.Module):
    """(rows, 4) as sequences of two steps."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(2, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x.view(-1, 2, 2))[0].mean(1)


def _sum_of_pieces(pieces: int) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda y, x: torch.stack([(i + 1) * part for i, part in enumerate(y.chunk(pieces))]).sum(0)


def _one_and_two(y: Tensor, x: Tensor) -> Tensor:
    return y[: len(x)] + 0.5 * y[len(x) :].view(len(x), 2, 4).sum(1)


VIEWS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "flipped beside": (lambda x: torch.cat([x, x.flip(1)]), _sum_of_pieces(2)),
    "repeated": (lambda x: x.repeat(3, 1), _sum_of_pieces(3)),
    "tiled": (lambda x: x.tile((2, 1)), lambda y, x: y[len(x) :]),
    "stacked": (lambda x: torch.stack([x, x * x]).flatten(0, 1), lambda y, x: y.unflatten(0, (2, -1)).mean(0)),
    "interleaved": (lambda x: x.repeat_interleave(2, 0), lambda y, x: y.view(-1, 2, 4).mean(1)),
    "expanded": (lambda x: x.expand(2, -1, -1).reshape(-1, 4), lambda y, x: y[-len(x) :]),
    "crops": (lambda x: x[:, None].expand(-1, 3, -1).reshape(-1, 4), lambda y, x: y.view(-1, 3, 4)[:, 1]),
    "one and two": (lambda x: torch.cat([x, x.repeat_interleave(2, 0)]), _one_and_two),
    "split by size": (lambda x: torch.cat([x, 2 * x, x]), lambda y, x: y.split([2 * len(x), len(x)])[0].chunk(2)[1]),
}


@pytest.mark.parametrize(
    ("views", "body"), [*((views, "layers") for views in VIEWS), ("one and two", "lstm"), ("repeated", "lstm")]
)
def test_each_sample_of_a_batch_has_the_ledger_it_has_alone(views: str, body: str) -> None:
    layers = Sequences() if body == "lstm" else nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model, x = Around(*VIEWS[views], layers), torch.randn(3, 4)
    lrp = LRP(model, Epsilon(1e-3), example=x)
    together = lrp(x, target=1)
    for i in range(len(x)):
        alone = lrp(x[i : i + 1], target=1)
        assert list(alone.ledger) == list(together.ledger)
        for name, entry in together.ledger.items():
            assert_close({k: v[i : i + 1] for k, v in vars(entry).items()}, vars(alone.ledger[name]))
            assert_close(entry.arrived, entry.passed + entry.bias + entry.stabilizer + entry.rule)
            assert_close(together.amplification[name][i : i + 1], alone.amplification[name], equal_nan=True)
    entry = together.ledger["head"]
    assert_close(entry.arrived, together.score)


class Siamese(nn.Module):
    def __init__(self, *, together: bool) -> None:
        super().__init__()
        self.together, self.body, self.head = together, nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        f, g = self.body(torch.cat([a, b])).chunk(2) if self.together else (self.body(a), self.body(b))
        return self.head(F.relu(f) + F.relu(g))


def test_a_siamese_network_keeps_the_books_of_its_two_calls() -> None:
    """One call on both inputs, one behind the other, against the same network that calls its body twice."""
    one, two = Siamese(together=True), Siamese(together=False)
    two.load_state_dict(one.state_dict())
    inputs = torch.randn(3, 4), torch.randn(3, 4)
    e, other = (LRP(model, Epsilon(1e-3), example=inputs)(inputs) for model in (one, two))
    assert_close(e.relevance, other.relevance)
    for part, value in vars(e.ledger["body"]).items():
        assert_close(value, getattr(other.ledger["body"], part) + getattr(other.ledger["body@1"], part))


def test_a_program_for_one_sample_keeps_its_books() -> None:
    """No symbol says where the batch lies, but all belongs to the one sample."""
    layer, x = nn.TransformerEncoderLayer(4, 1, 4, batch_first=True, dropout=0.0).eval(), torch.randn(1, 3, 4)
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 2)).eval()
    fixed = LRP(torch.export.export(model, (x,)), Epsilon(1e-3), example=x)(x)
    for name, entry in LRP(model, Epsilon(1e-3), example=x)(x).ledger.items():
        assert_close(vars(fixed.ledger[name]), vars(entry))


def test_a_program_for_one_batch_size_keeps_books_only_where_it_shows_its_samples() -> None:
    """Within the attention of batches that do not come first, the tokens lie where the samples lay."""
    x = torch.randn(3, 4)
    plain = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    fixed, free = (LRP(model, Epsilon(1e-3), example=x)(x) for model in (torch.export.export(plain, (x,)), plain))
    assert_close({n: vars(e) for n, e in fixed.ledger.items()}, {n: vars(e) for n, e in free.ledger.items()})
    turned = Around(lambda x: x.view(-1, 2, 2).transpose(0, 1), lambda y, x: y.flatten(1), Turned()).eval()
    e = LRP(torch.export.export(turned, (x,)), Epsilon(1e-3), example=x)(x)
    assert_close(e.relevance, LRP(turned, Epsilon(1e-3), example=x)(x).relevance)
    with pytest.raises(BenchError, match=r"Expected a program that shows where its samples lie, .* entries of body"):
        dict(e.ledger)


class Turned(nn.Linear):
    """(time, batch, features) through a layer, and back."""

    def __init__(self) -> None:
        super().__init__(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).transpose(0, 1)


def test_where_nobody_can_tell_whose_entries_are_whose_the_ledger_says_so() -> None:
    with pytest.raises(BenchError, match=r"Expected operators that keep the samples .* got aten::odd in block"):
        Layout(0, (), "aten::odd in block").per_sample(torch.ones(6, 2))
