"""A linear model and its exact explanation, for tests of the metrics."""

from __future__ import annotations

from torch import Tensor, nn

from lrp_bench.contracts import Explanation


class Linear(nn.Module):
    """w_c . x for each class c."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights.clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weights.flatten(1).T


class InputXGradient:
    """w_c * x, exact for a linear model."""

    def __init__(self, model: Linear) -> None:
        self.model = model

    def explain(self, inputs: Tensor, target: Tensor | None = None) -> Explanation:
        logits = self.model(inputs)
        chosen = logits.argmax(1) if target is None else target
        score = logits.gather(1, chosen[:, None])[:, 0]
        return Explanation(inputs, logits, chosen, score, self.model.weights[chosen] * inputs)
