"""Relevance and permutation importance as columns of a table."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.inspection import permutation_importance
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from lrp_bench.contracts import BenchError, Explanation, LedgerEntry, NotApplicable
from lrp_bench.engine import LRP
from lrp_bench.engine.rules import Zero
from lrp_bench.metrics import Context
from lrp_bench.metrics.evaluators.conservation.relevance import Relevance
from lrp_bench.metrics.evaluators.faithfulness.permutation import Permutation
from lrp_bench.metrics.functional import spearman


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).double().requires_grad_(False)


def test_the_columns_are_the_relevance_and_the_ledger_closes() -> None:
    net, x = network(), drawn(6, 4)
    explained = LRP(net, Zero(), example=x)(x)
    metric = Relevance({"a": "cm", "b": "cm", "c": "", "d": ""}, layers=True)
    for rows in (slice(4), slice(4, 6)):
        metric.update(LRP(net, Zero(), example=x)(x[rows]), Context(net))
    values = metric.compute().values
    assert_close(torch.stack([values[f"relevance/{name}"] for name in "abcd"], 1), explained.relevance)
    assert_close(values["relevance/sum"], explained.relevance.sum(1))
    taken = sum(values[f"relevance/to_{part}"] for part in ("bias", "stabilizer", "rule"))
    assert_close(values["relevance/sum"] + taken, explained.score)
    assert_close(values["relevance/2/3"], explained.layers["2"][:, 3])
    assert_close(values["relevance/2/lost"], explained.score - explained.layers["2"].sum(1))
    assert_close(values["activation/2/3"], net[:2](x)[:, 3])
    assert values.keys() == metric.measures.keys()


def test_what_has_no_columns_is_told() -> None:
    x = drawn(3, 4)
    explained = Explanation(x, x[:, :2], torch.zeros(3, dtype=torch.int64), x[:, 0], x)
    with pytest.raises(NotApplicable, match="at most 3 features, got 4"):
        Relevance(most=3).update(explained, Context(nn.Identity()))
    with pytest.raises(BenchError, match="names of 4 features"):
        Relevance(["a", "b"]).update(explained, Context(nn.Identity()))
    with pytest.raises(NotApplicable, match="Expected a table with labels"):
        Permutation().update(explained, Context(nn.Identity()))
    for metric in (Relevance(), Permutation()):
        with pytest.raises(BenchError, match="call update first"):
            metric.compute()


def test_columns_that_change_are_refused() -> None:
    x = drawn(3, 4)
    plain = Explanation(x, x[:, :2], torch.zeros(3, dtype=torch.int64), x[:, 0], x)
    zero = torch.zeros(3)
    metric = Relevance()
    metric.update(plain, Context(nn.Identity()))
    with_ledger = Explanation(*plain.__dict__.values())
    object.__setattr__(with_ledger, "ledger", {"": LedgerEntry(zero, zero, zero, zero, zero)})
    with pytest.raises(BenchError, match="columns of the first batch"):
        metric.update(with_ledger, Context(nn.Identity()))


class Model(BaseEstimator):
    """What scikit-learn wants of an estimator."""

    def fit(self, X: object, y: object) -> Model:
        return self


def squared_error(outputs: Tensor, label: Tensor) -> Tensor:
    return F.mse_loss(outputs[:, 0], label)


@pytest.mark.parametrize(("outputs", "loss"), [(1, squared_error), (3, F.cross_entropy)])
def test_permutation_importance_is_scikit_learns(outputs: int, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    model, x = nn.Linear(4, outputs).double().requires_grad_(False), drawn(60, 4)
    model.weight.copy_(torch.tensor([3.0, 1.0, 0.2, 0.0]) * drawn(outputs, 4, seed=2).sign())
    label = model(x).argmax(1) if outputs > 1 else model(x)[:, 0] + 0.1 * drawn(60, seed=1)
    metric = Permutation("abcd", repeats=300, seed=1)
    for rows in (slice(50), slice(50, 60)):
        part = x[rows]
        explained = Explanation(part, model(part), torch.zeros(len(part), dtype=torch.int64), model(part)[:, 0], part)
        metric.update(explained, Context(model, label=label[rows]))
    values = metric.compute().values

    def score(_: object, X: object, y: object) -> float:
        return -float(loss(model(torch.from_numpy(X)), torch.from_numpy(y)))

    theirs = permutation_importance(
        Model(), x.numpy(), label.numpy(), scoring=score, n_repeats=300, random_state=0
    ).importances_mean
    ours = torch.stack([values[f"permutation/{name}"].mean() for name in "abcd"])
    assert_close(ours, torch.from_numpy(theirs), rtol=0.05, atol=1e-3)
    assert_close(values["permutation/d"], torch.zeros(60, dtype=torch.float64))
    assert_close(values["permutation/spearman"], spearman(x.abs(), ours.expand_as(x)))
