"""The fast gradient sign method on a linear model, where gradient, step and maps are written down by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.contracts import BenchError, Explanation, NotApplicable
from lrp_bench.metrics import Adversarial, Context

CLASSES, COUNT, EPSILON = 3, 40, 0.15
STD, LOW, HIGH = [0.5, 2.0], [-1.0, -0.4], [1.2, 0.4]


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


W = drawn(CLASSES, 2, 3, 4, seed=1) - 0.5


class Linear(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ W.flatten(1).T


class InputXGradient:
    def explain(self, inputs: Tensor, target: Tensor | None = None) -> Explanation:
        logits = Linear()(inputs)
        chosen = logits.argmax(1) if target is None else target
        return Explanation(inputs, logits, chosen, logits.gather(1, chosen[:, None])[:, 0], W[chosen] * inputs)


def inputs() -> Tensor:
    low, high = (torch.tensor(each, dtype=torch.float64)[:, None, None] for each in (LOW, HIGH))
    return low + (high - low) * drawn(COUNT, 2, 3, 4, seed=2)


def found(metric: Adversarial, mask: Tensor | None = None, parts: int = 1) -> dict[str, Tensor]:
    for rows in torch.arange(COUNT).chunk(parts):
        context = Context(Linear(), method=InputXGradient(), mask=None if mask is None else mask[rows])
        metric.update(InputXGradient().explain(inputs()[rows]), context)
    return dict(metric.compute().values)


def by_hand(x: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """One sample, from the formulas."""
    w = W.numpy()
    p = softmax([(w[c] * x).sum() for c in range(CLASSES)])
    k = int(p.argmax())
    gradient = sum(p[c] * w[c] for c in range(CLASSES)) - w[k]
    bounds = (np.array(each)[:, None, None] for each in (LOW, HIGH))
    moved = np.clip(x + EPSILON / np.array(STD)[:, None, None] * np.sign(gradient), *bounds)
    new = int(np.argmax([(w[c] * moved).sum() for c in range(CLASSES)]))
    before, after, other = ((w[c] * z).sum(0) for c, z in ((k, x), (k, moved), (new, moved)))
    shares = [np.abs(m) / np.abs(m).sum() for m in (before, after)]
    mass = [np.maximum(m, 0)[mask].sum() / np.maximum(m, 0).sum() for m in (before, after)]
    return {
        "adversarial/changed": float(new != k),
        "adversarial/spearman": spearmanr(before.ravel(), after.ravel())[0],
        "adversarial/spearman_predicted": spearmanr(before.ravel(), other.ravel())[0] if new != k else np.nan,
        "adversarial/moved": np.abs(shares[0] - shares[1]).sum() / 2,
        "adversarial/inside": mass[0],
        "adversarial/left": mass[0] - mass[1],
    }


@pytest.mark.parametrize("parts", [1, 3])
def test_every_value_is_what_the_formulas_say(parts: int) -> None:
    mask = drawn(COUNT, 3, 4, seed=3) < 0.5
    values = found(Adversarial(EPSILON, STD, LOW, HIGH), mask, parts)
    expected = [by_hand(x, m) for x, m in zip(inputs().numpy(), mask.numpy(), strict=True)]
    for name in expected[0]:
        wanted = torch.tensor([each[name] for each in expected], dtype=torch.float64)
        assert_close(values[name], wanted, equal_nan=True)
    assert 0 < values["adversarial/changed"].mean() < 1
    assert not torch.equal(values["adversarial/spearman"], values["adversarial/spearman_predicted"])
    lost = values["adversarial/spearman_random"] - values["adversarial/spearman"]
    assert_close(values["adversarial/lost"], lost)


def test_the_control_is_weaker_and_a_step_of_no_size_moves_nothing() -> None:
    values = found(Adversarial(EPSILON, STD, LOW, HIGH))
    assert values["adversarial/changed_random"].mean() < values["adversarial/changed"].mean()
    assert (values["adversarial/moved_random"] > 0).all()
    assert values["adversarial/left"].isnan().all()
    tiny = found(Adversarial(1e-12, STD, LOW, HIGH))
    for ending in ("", "_random"):
        assert not tiny[f"adversarial/changed{ending}"].any()
        assert_close(tiny[f"adversarial/spearman{ending}"], torch.ones(COUNT, dtype=torch.float64))
        assert_close(tiny[f"adversarial/moved{ending}"], torch.zeros(COUNT, dtype=torch.float64))


@pytest.mark.parametrize(
    "arguments", [{"epsilon": 0}, {"std": [1.0, 0.0]}, {"low": 1.0, "high": 0.0}, {"seed": -1}, {"low": [True]}]
)
def test_settings_are_checked_at_once(arguments: dict[str, object]) -> None:
    with pytest.raises(BenchError, match="Expected"):
        Adversarial(**arguments)  # type: ignore[arg-type]


def test_what_it_cannot_attack_is_told() -> None:
    x, explanation = inputs(), InputXGradient().explain(inputs())
    with pytest.raises(BenchError, match="one number or 2"):
        Adversarial(std=[1.0, 1.0, 1.0]).update(explanation, Context(Linear(), method=InputXGradient()))
    with pytest.raises(NotApplicable, match="the method"):
        Adversarial().update(explanation, Context(Linear()))
    single = Explanation(x, explanation.logits[:, :1], explanation.target * 0, explanation.score, x)
    with pytest.raises(NotApplicable, match="classifier"):
        Adversarial().update(single, Context(Linear(), method=InputXGradient()))
