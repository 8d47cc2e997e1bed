"""The relevance engine as an Explainer."""

from __future__ import annotations

from torch import Tensor, nn

from lrp_bench.contracts import Explanation
from lrp_bench.engine import LRP
from lrp_bench.engine.composites import Composite
from lrp_bench.engine.rewrite.rewrite import Covered
from lrp_bench.engine.rules import Rule


class LRPExplainer:
    """LRP under one rule or composite. It follows the weights of its model (contracts.Explainer), not through .data.

    Args:
        model: any module that torch.export can capture, and that gives (batch, classes).
        example: (batch, ...), a few inputs.
        rule: for every layer, or a composite.
    """

    follows_weights = True

    def __init__(self, model: nn.Module, example: Tensor, rule: Rule | Composite) -> None:
        self.lrp = LRP(model, rule, example=example)

    @property
    def coverage(self) -> list[Covered]:
        """Which operator of which module got which rule."""
        return self.lrp.coverage

    def explain(self, inputs: Tensor, target: Tensor | None = None) -> Explanation:
        """Explain a batch; target None means each sample's predicted class, otherwise (batch,) int64."""
        return self.lrp(inputs, target)
