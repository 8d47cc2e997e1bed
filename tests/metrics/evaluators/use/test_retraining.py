"""Metrics that train the model once more, on linear models whose maps, twins and trainings are written down by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from linear import InputXGradient, Linear
from scipy.special import softmax
from scipy.stats import entropy, spearmanr
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score, roc_auc_score
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.contracts import BenchError, Explanation, NotApplicable
from lrp_bench.metrics import Context, Evaluator, Selection, TwoModels, Uncertainty
from lrp_bench.metrics.evaluators.base import Retrain

CLASSES, COUNT, SHAPE = 3, 50, (2, 3, 4)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X, W = drawn(COUNT, *SHAPE, seed=0), drawn(CLASSES, *SHAPE, seed=1)
LABEL = torch.where(torch.arange(COUNT) % 3 == 0, (Linear(W)(X).argmax(1) + 1) % CLASSES, Linear(W)(X).argmax(1))


def weights(twin: int) -> Tensor:
    return W if twin == 0 else W + 0.7 * drawn(CLASSES, *SHAPE, seed=10 + twin)


def retrain(*, twin: int = 0, keep: Tensor | None = None) -> nn.Module:
    return Linear(weights(twin) if keep is None else weights(twin) * keep)


def found(metric: Evaluator, parts: int = 1) -> dict[str, Tensor]:
    model = Linear(W)
    for rows in torch.arange(COUNT).chunk(parts):
        background, label = X[:20], LABEL[:20]
        context = Context(
            model,
            method=InputXGradient(model),
            explainer=InputXGradient,
            label=LABEL[rows],
            background=background,
            background_label=label,
            retrain=retrain,
        )
        metric.update(InputXGradient(model).explain(X[rows]), context)
    return dict(metric.compute().values)


def maps(w: Tensor) -> np.ndarray:
    """Of the class that the explained model predicts, channels summed: (samples, pixels)."""
    target = Linear(W)(X).argmax(1)
    return (w[target] * X).sum(1).flatten(1).numpy()


@pytest.mark.parametrize("parts", [1, 4])
def test_two_models_are_compared_by_their_maps(parts: int) -> None:
    values = found(TwoModels(twin=2), parts)
    a, b = maps(W), maps(weights(2))
    rho = np.array([spearmanr(*pair)[0] for pair in zip(a, b, strict=True)])
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    same = (Linear(W)(X).argmax(1) == Linear(weights(2))(X).argmax(1)).numpy()
    assert_close(values["two_models/spearman"], torch.from_numpy(rho))
    assert_close(values["two_models/cosine"], torch.from_numpy(cosine))
    assert_close(values["two_models/same_class"], torch.from_numpy(same.astype(float)))
    assert 0 < same.mean() < 1
    assert values["two_models/auroc"].mean().item() == pytest.approx(roc_auc_score(same, values["two_models/spearman"]))


def test_random_weights_are_those_of_the_twin_and_leave_no_agreement() -> None:
    values, again, other = (found(TwoModels(seed=seed)) for seed in (0, 0, 1))
    order = torch.randperm(W.numel(), generator=torch.Generator().manual_seed(0))
    pairs = zip(maps(W), maps(weights(1).flatten()[order].view_as(W)), strict=True)
    rho = torch.tensor([abs(spearmanr(*pair)[0]) for pair in pairs], dtype=torch.float64)
    assert_close(values["two_models/spearman_untrained"], rho)
    assert_close(values["two_models/learnt"], values["two_models/spearman"].abs() - rho)
    assert torch.equal(again["two_models/spearman_untrained"], values["two_models/spearman_untrained"])
    assert not torch.equal(other["two_models/spearman_untrained"], values["two_models/spearman_untrained"])
    assert values["two_models/learnt"].mean() > 0.2


@pytest.mark.parametrize("parts", [1, 4])
def test_uncertainty_is_the_spread_over_the_members(parts: int) -> None:
    values = found(Uncertainty(members=3), parts)
    members = [weights(twin) for twin in range(3)]
    each = np.stack([maps(w) / np.abs(maps(w)).sum(1, keepdims=True) for w in members])
    spread, size = each.std(0).sum(1), np.abs(each.mean(0)).sum(1)
    noise = spread / (spread + size)
    probabilities = softmax(np.stack([Linear(w)(X).numpy() for w in members]), axis=2)
    wrong = (Linear(W)(X).argmax(1) != LABEL).numpy()
    scores = {
        "noise": noise,
        "entropy": entropy(probabilities.mean(0), axis=1),
        "confidence": 1 - probabilities[0].max(1),
    }
    assert_close(values["uncertainty/noise"], torch.from_numpy(noise))
    for name, score in scores.items():
        expected = roc_auc_score(wrong, score)
        assert values[f"uncertainty/auroc_{name}"].mean().item() == pytest.approx(expected), name
    lead = roc_auc_score(wrong, noise) - roc_auc_score(wrong, scores["confidence"])
    assert values["uncertainty/auroc_lead"].mean().item() == pytest.approx(lead)


def test_panels_hold_wrong_and_right_decisions_with_their_mean_and_spread() -> None:
    metric = Uncertainty(members=3, shown=6)
    found(metric, parts=2)
    panels = metric.compute().panels["uncertainty"]
    wrong = Linear(W)(X).argmax(1) != LABEL
    assert wrong[panels.rows].tolist() == [True] * 3 + [False] * 3
    assert torch.equal(panels.inputs, X[panels.rows])
    each = np.stack([maps(weights(twin)) for twin in range(3)])[:, panels.rows.numpy()]
    each /= np.abs(each).sum(2, keepdims=True)
    mean, spread = (torch.from_numpy(m).view(6, *SHAPE[1:]) for m in (each.mean(0), each.std(0)))
    assert_close(dict(panels.maps), {"mean relevance": mean, "standard deviation": spread})
    hidden = Uncertainty(members=3, shown=0)
    found(hidden)
    assert not hidden.compute().panels


def test_members_with_one_map_leave_no_doubt() -> None:
    model = Linear(W)
    explanation = InputXGradient(model).explain(X)
    beside = Context(model, explainer=InputXGradient, label=LABEL, retrain=lambda **_: Linear(W))
    metric = Uncertainty(members=2)
    metric.update(explanation, beside)
    values = metric.compute().values
    assert not values["uncertainty/noise"].any()
    assert values["uncertainty/auroc_noise"].mean().item() == pytest.approx(0.5)


def test_the_model_is_trained_on_the_pixels_that_were_chosen() -> None:
    values = found(Selection(shares=[8, 50], repeats=20), parts=3)
    relevance = (W[Linear(W)(X[:20]).argmax(1)] * X[:20]).sum(1).abs().mean(0).flatten()
    for share, count in ((8, 1), (50, 6)):
        for order, largest in (("most", True), ("least", False)):
            keep = torch.zeros(12, dtype=torch.bool)
            keep[relevance.topk(count, largest=largest).indices] = True
            right = Linear(W * keep.view(3, 4))(X).argmax(1) == LABEL
            assert_close(values[f"selection/{order}_{share}"], right.double())
        gain = values[f"selection/most_{share}"] - values[f"selection/permutation_{share}"]
        assert torch.equal(values[f"selection/gain_{share}"], gain)


def test_of_a_regression_the_mean_is_r2_and_permutation_importance_is_scikit_learns() -> None:
    x = drawn(80, 5, seed=4) * torch.tensor([1.0, 3.0, 0.2, 2.0, 0.5])
    y = x @ torch.tensor([1.0, -2.0, 0.1, 0.5, 3.0], dtype=torch.float64) + 0.3 * drawn(80, seed=5)
    whole = LinearRegression().fit(x.numpy(), y.numpy())

    def fitted(columns: list[int]) -> Linear:
        w = torch.zeros(1, 5, dtype=torch.float64)
        w[0, columns] = torch.from_numpy(LinearRegression(fit_intercept=False).fit(x[:, columns], y).coef_)
        return Linear(w)

    def trained(*, twin: int = 0, keep: Tensor | None = None) -> nn.Module:
        assert keep is not None
        return fitted(keep.nonzero()[:, 0].tolist())

    net = fitted(list(range(5)))
    score = net(x)[:, 0]
    explanation = Explanation(x, score[:, None], torch.zeros(80, dtype=torch.int64), score, net.weights * x)
    context = Context(net, method=InputXGradient(net), label=y, background=x, background_label=y, retrain=trained)
    metric = Selection(shares=[40], repeats=30)
    metric.update(explanation, context)
    values = metric.compute().values
    importance = permutation_importance(whole, x.numpy(), y.numpy(), n_repeats=30, random_state=0).importances_mean
    for order, ranking in (("permutation", importance), ("most", (net.weights * x).abs().mean(0).numpy())):
        best = sorted(np.argsort(-ranking)[:2].tolist())
        expected = r2_score(y.numpy(), fitted(best)(x)[:, 0].numpy())
        assert values[f"selection/{order}_40"].mean().item() == pytest.approx(expected)


@pytest.mark.parametrize("make", [TwoModels, Uncertainty, Selection])
def test_a_model_that_cannot_be_trained_again_is_told(make: Callable[[], Evaluator]) -> None:
    explanation = InputXGradient(Linear(W)).explain(X)
    without = Context(Linear(W), method=InputXGradient(Linear(W)), explainer=InputXGradient, label=LABEL)
    with pytest.raises(NotApplicable, match="trained again"):
        make().update(explanation, without)
    with pytest.raises(BenchError, match="call update first"):
        make().compute()


def test_a_new_beginning_trains_anew() -> None:
    asked: list[int] = []

    def counted(*, twin: int = 0, keep: Tensor | None = None) -> nn.Module:
        asked.append(twin)
        return retrain(twin=twin)

    def show(metric: Evaluator, trains: Retrain) -> None:
        model = Linear(W)
        context = Context(model, explainer=InputXGradient, label=LABEL, retrain=trains)
        metric.update(InputXGradient(model).explain(X), context)

    for metric, twins in ((Uncertainty(members=3), [1, 2]), (TwoModels(twin=4), [4])):
        asked.clear()
        show(metric, counted)
        show(metric, counted)
        assert asked == twins
        metric.reset()
        show(metric, counted)
        assert asked == twins * 2


@pytest.mark.parametrize(
    "make",
    [
        lambda: TwoModels(twin=0),
        lambda: Uncertainty(members=1),
        lambda: Uncertainty(shown=-1),
        lambda: Selection(shares=[]),
        lambda: Selection(shares=[100]),
        lambda: Selection(shares=[0.5]),  # type: ignore[list-item]
        lambda: Selection(repeats=0),
    ],
)
def test_settings_are_checked_at_once(make: Callable[[], Evaluator]) -> None:
    with pytest.raises(BenchError, match="Expected"):
        make()
