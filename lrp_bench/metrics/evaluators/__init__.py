"""The measures as torchmetrics: they gather one value per sample over batches and processes, and say what it means."""

from lrp_bench.metrics.evaluators.agreement import Agreement
from lrp_bench.metrics.evaluators.base import Context, Evaluator
from lrp_bench.metrics.evaluators.conservation import Conservation
from lrp_bench.metrics.evaluators.cost import Cost
from lrp_bench.metrics.evaluators.flipping import Flipping

__all__ = ["Agreement", "Conservation", "Context", "Cost", "Evaluator", "Flipping"]
