"""The measures as torchmetrics, in folders after the question that they answer.

An evaluator gathers one value per sample over batches and processes, and says what it means. base.py says what each of
them promises and gets to see. Begin with base.py, then with conservation/.
"""

from lrp_bench.metrics.evaluators.agreement.agreement import Agreement
from lrp_bench.metrics.evaluators.base import Context, Evaluator
from lrp_bench.metrics.evaluators.complexity.cost import Cost
from lrp_bench.metrics.evaluators.complexity.sparseness import Sparseness
from lrp_bench.metrics.evaluators.conservation import relevance
from lrp_bench.metrics.evaluators.conservation.conservation import Conservation
from lrp_bench.metrics.evaluators.faithfulness import permutation
from lrp_bench.metrics.evaluators.faithfulness.flipping import Flipping
from lrp_bench.metrics.evaluators.faithfulness.naopc import NormalisedAOPC
from lrp_bench.metrics.evaluators.faithfulness.summands import Summands
from lrp_bench.metrics.evaluators.faithfulness.word_deletion import WordDeletion
from lrp_bench.metrics.evaluators.localisation.localisation import Localisation
from lrp_bench.metrics.evaluators.robustness.robustness import Robustness
from lrp_bench.metrics.evaluators.sanity.random_logit import RandomLogit
from lrp_bench.metrics.evaluators.sanity.randomisation import Randomisation
from lrp_bench.metrics.evaluators.use.adversarial import Adversarial
from lrp_bench.metrics.evaluators.use.selection import Selection
from lrp_bench.metrics.evaluators.use.two_models import TwoModels
from lrp_bench.metrics.evaluators.use.uncertainty import Uncertainty

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
    "permutation",
    "relevance",
]
