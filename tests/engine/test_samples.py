"""Models whose samples depend on each other are refused, and the operator is named; all others are explained."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.export import export
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.engine import LRP
from lrp_bench.engine.rules import Epsilon

pytestmark = pytest.mark.usefixtures("float64")
RULE = Epsilon(1e-6)


class Between(nn.Module):
    """A function of a linear layer's output, and of further inputs, before another layer."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function, self.first, self.head = function, nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        return self.head(self.function(self.first(x), *others))


class Tokens(nn.Module):
    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.embed, self.head = function, nn.Embedding(9, 4), nn.Linear(4, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.function(self.embed(ids), ids))


def _convolved(x: Tensor) -> Tensor:
    return F.conv1d(x.t()[None], torch.eye(4)[:, :, None].expand(4, 4, 3), padding=1)[0].t()


def _pooled(x: Tensor) -> Tensor:
    return F.avg_pool1d(x.t()[None], 3, 1, 1)[0].t()


def rows(batch: int = 3) -> Tensor:
    return torch.randn(batch, 4)


MIXED: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor | tuple[Tensor, ...]], str]] = {
    "softmax": (lambda: Between(lambda x: x.softmax(0)), rows, "aten::softmax"),
    "similarities": (lambda: Between(lambda x: (x @ x.T) @ x), rows, "aten::matmul"),
    "normalised": (lambda: Between(lambda x: F.normalize(x, dim=0)), rows, "aten::linalg_vector_norm"),
    "convolution": (lambda: Between(_convolved), rows, "aten::conv1d"),
    "pool": (lambda: Between(_pooled), rows, "aten::avg_pool1d"),
    "the first sample": (lambda: Between(lambda x: x - x[:1]), rows, "aten::slice"),
    "a maximum as a number": (lambda: Between(lambda x: x / x.abs().max().item()), rows, "aten::max"),
    "a minimum as a number": (lambda: Between(lambda x: x * (2 + x.min().item())), rows, "aten::min"),
    "the size of the batch": (lambda: Between(lambda x: x / len(x)), rows, "operators that mix them"),
    "the place in the batch": (lambda: Between(lambda x: x + torch.arange(len(x))[:, None]), rows, "operators"),
    "one sample": (lambda: Between(lambda x: x.softmax(0)), lambda: rows(1), "aten::softmax"),
    "one sample of zeros": (
        lambda: Between(lambda x: x / (1 + x.abs().max())),
        lambda: torch.zeros(1, 4),
        "aten::max",
    ),
    "statistics of the batch": (
        lambda: Between(nn.BatchNorm1d(4, track_running_stats=False)),
        rows,
        "aten::_native_batch_norm_legit in function",
    ),
    "attention": (
        lambda: nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16), nn.Flatten(), nn.Linear(40, 3)),
        lambda: torch.randn(4, 5, 8),
        "aten::matmul in 0.self_attn",
    ),
    "three axes": (
        lambda: nn.Sequential(nn.Softmax(0), nn.Flatten(), nn.Linear(20, 3)),
        lambda: torch.randn(3, 5, 4),
        "aten::softmax in 0",
    ),
    "a mask": (
        lambda: Between(lambda x, m: x * m.sum()),
        lambda: (rows(), torch.ones(3, 4, dtype=torch.bool)),
        "aten::sum",
    ),
    "token ids": (lambda: Tokens(lambda e, ids: e.mean(1) * ids.max()), lambda: torch.ones(1, 5).long(), "aten::max"),
}


@pytest.mark.parametrize("case", MIXED)
def test_models_that_mix_samples_are_refused(case: str) -> None:
    make, example, place = MIXED[case]
    with pytest.raises(BenchError, match=rf"^Expected samples that do not depend on each other, got {place}"):
        LRP(make().eval(), RULE, example=example())


APART: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor | tuple[Tensor, ...]]]] = {
    "one sample": (lambda: Between(F.relu), lambda: rows(1)),
    "each its own maximum": (lambda: Between(lambda x: x / x.abs().amax(1, keepdim=True)), rows),
    "padding alone": (lambda: Tokens(lambda e, ids: e.sum(1)), lambda: torch.zeros(1, 5).long()),
    "all masked but one": (
        lambda: Between(lambda x, m: x.masked_fill(~m, -torch.inf).softmax(1)),
        lambda: (rows(), torch.eye(4)[:3].bool()),
    ),
    "running statistics": (lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), rows),
}


@pytest.mark.parametrize("case", APART)
def test_models_that_do_not_are_explained(case: str) -> None:
    make, example = APART[case]
    model, x = make().eval(), example()
    e = LRP(model, RULE, example=x)(x)
    assert_close(e.logits, model(*x) if isinstance(x, tuple) else model(x))


def test_columns_of_ids_with_vocabularies_of_their_own() -> None:
    """Other ids than the example's may be none of a column's."""

    class Table(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.small, self.large, self.head = nn.Embedding(2, 4), nn.Embedding(50, 4), nn.Linear(4, 2)

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.small(ids[:, 0]) + self.large(ids[:, 1]))

    model, ids = Table(), torch.tensor([[1, 49], [0, 3]])
    assert_close(LRP(model, RULE, example=ids)(ids).logits, model(ids))


def test_a_mixture_too_small_for_the_logits_of_its_precision_is_seen_in_the_relevance() -> None:
    """A share of 1e-12 is below the rounding of float32."""
    model = Between(lambda x: x + 1e-12 * x.new_ones(len(x), len(x)) @ x).float()
    with pytest.raises(BenchError, match="Expected samples that do not depend on each other"):
        LRP(model, RULE, example=rows().float())


@pytest.mark.parametrize("batch", [2, 3])
def test_programs_for_one_batch_size_are_held_as_well(batch: int) -> None:
    model, x = Between(lambda x: x.softmax(0)).eval(), rows(batch)
    with pytest.raises(BenchError, match=r"Expected samples that do not depend .*aten::softmax"):
        LRP(export(model, (x,)), RULE, example=x)
    fine = Between(lambda x: x.softmax(1)).eval()
    assert_close(LRP(export(fine, (x,)), RULE, example=x)(x).relevance, LRP(fine, RULE, example=x)(x).relevance)


def test_what_mixes_only_once_it_is_trained_is_refused_then() -> None:
    """A gate of zero hides what is behind it; the weights are read anew without a capture."""

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.head = nn.Parameter(torch.zeros(())), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x + self.gate * x.softmax(0))

    model, x = Gated(), rows()
    lrp = LRP(model, RULE, example=x)
    assert_close(lrp(x).logits, model(x))
    with torch.no_grad():
        model.gate.fill_(1.0)
    with pytest.raises(BenchError, match=r"Expected samples that do not depend .*aten::softmax"):
        lrp(x)


class Squeezing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.adaptive_avg_pool2d(F.relu(self.body(x)), 1).squeeze())


def test_a_batch_of_one_keeps_its_dimension_under_squeeze() -> None:
    """Each sample alone is explained as in company, and as with flatten(1), which says what was meant."""
    model, x = Squeezing(), torch.randn(3, 1, 5, 5)
    together = LRP(model, RULE, example=x)(x)
    lrp = LRP(model, RULE, example=x[:1])
    for i in range(3):
        alone = lrp(x[i : i + 1])
        assert_close(alone.logits, together.logits[i : i + 1])
        assert_close(alone.relevance, together.relevance[i : i + 1])
        assert_close(alone.ledger["body"].arrived, together.ledger["body"].arrived[i : i + 1])
