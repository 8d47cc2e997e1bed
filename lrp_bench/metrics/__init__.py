"""Measures of explanations: pure functions (functional), perturbation curves (flipping) and evaluators."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lrp_bench.metrics.evaluators import (
        Adversarial,
        Agreement,
        Conservation,
        Context,
        Cost,
        Evaluator,
        Flipping,
        Localisation,
        NormalisedAOPC,
        Randomisation,
        RandomLogit,
        Robustness,
        Selection,
        Sparseness,
        Summands,
        TwoModels,
        Uncertainty,
        WordDeletion,
    )

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


def __getattr__(name: str) -> object:
    # torchmetrics takes seconds to import: only who asks for an evaluator pays for it
    if name in __all__:
        return getattr(import_module("lrp_bench.metrics.evaluators"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
