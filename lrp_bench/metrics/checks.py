"""Arguments and tensors checked on the way in, so that a mistake is named before the long work starts."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError


def check_whole(name: str, value: object, least: int = 1) -> None:
    """Raise BenchError unless value is an int (not a bool) of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise BenchError(f"Expected {name} to be a whole number of at least {least}, got {value!r}: change {name}")


def check_number(name: str, value: object, above: float = float("-inf"), below: float = float("inf")) -> None:
    """Raise BenchError unless value is a real number strictly between `above` and `below`."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not above < value < below:
        raise BenchError(f"Expected {name} to be a number between {above} and {below}, got {value!r}: change {name}")


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raise BenchError unless value is one of the choices."""
    if value not in choices:
        raise BenchError(f"Expected {name} to be one of {', '.join(choices)}, got {value!r}: choose one of them")


def check_relevance(relevance: Tensor, inputs: Tensor, name: str = "relevance") -> None:
    """Raise BenchError unless relevance has the shape of the inputs and no NaN or infinity in it.

    Looks at the values, so a device is waited for once.
    """
    if relevance.shape != inputs.shape:
        raise BenchError(
            f"Expected {name} of the inputs' shape {tuple(inputs.shape)}, got {tuple(relevance.shape)}: "
            "an explainer must return one number for each input value"
        )
    broken = ~torch.isfinite(relevance)
    if broken.any():
        samples = broken.flatten(1).any(1).nonzero().flatten().tolist()
        raise BenchError(
            f"Expected finite {name}, got NaN or infinity in {len(samples)} of {len(relevance)} samples (the first at "
            f"position {samples[0]} of the batch): check the model's outputs, or give the rule a larger epsilon"
        )
