"""The measures as torchmetrics: they gather one value per sample over batches and processes, and say what it means."""

from lrp_bench.metrics.evaluators.adversarial import Adversarial
from lrp_bench.metrics.evaluators.agreement import Agreement
from lrp_bench.metrics.evaluators.base import Context, Evaluator
from lrp_bench.metrics.evaluators.conservation import Conservation
from lrp_bench.metrics.evaluators.cost import Cost
from lrp_bench.metrics.evaluators.flipping import Flipping
from lrp_bench.metrics.evaluators.localisation import Localisation
from lrp_bench.metrics.evaluators.naopc import NormalisedAOPC
from lrp_bench.metrics.evaluators.random_logit import RandomLogit
from lrp_bench.metrics.evaluators.randomisation import Randomisation
from lrp_bench.metrics.evaluators.robustness import Robustness
from lrp_bench.metrics.evaluators.selection import Selection
from lrp_bench.metrics.evaluators.sparseness import Sparseness
from lrp_bench.metrics.evaluators.summands import Summands
from lrp_bench.metrics.evaluators.two_models import TwoModels
from lrp_bench.metrics.evaluators.uncertainty import Uncertainty
from lrp_bench.metrics.evaluators.word_deletion import WordDeletion

__all__ = [
    "Adversarial",
    "Agreement",
    "Conservation",
    "Context",
    "Cost",
    "Evaluator",
    "Flipping",
    "Localisation",
    "NormalisedAOPC",
    "RandomLogit",
    "Randomisation",
    "Robustness",
    "Selection",
    "Sparseness",
    "Summands",
    "TwoModels",
    "Uncertainty",
    "WordDeletion",
]
