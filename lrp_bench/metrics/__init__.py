"""Measures of explanations.

functional/ holds them as pure functions, flipping.py the perturbation curves, imputers/ what takes the place of what is
removed, evaluators/ the shells that a config names, in folders after the question they answer. Begin with evaluators/.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lrp_bench.metrics.evaluators import *  # noqa: F403


def __getattr__(name: str) -> object:
    # torchmetrics takes seconds to import: only who asks for an evaluator, a class, pays for it
    if name[:1].isupper():
        return getattr(import_module("lrp_bench.metrics.evaluators"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
