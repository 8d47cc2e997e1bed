"""Arguments and tensors checked on the way in, so that a mistake is named before the long work starts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError, NotApplicable
from lrp_bench.transfers import refuse_where


def check_whole(name: str, value: object, least: int = 1) -> None:
    """Raise BenchError unless value is an int (not a bool) of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise BenchError(f"Expected {name} to be a whole number of at least {least}, got {value!r}: change {name}")


def check_number(
    name: str,
    value: object,
    above: float = float("-inf"),
    below: float = float("inf"),
    least: float = float("-inf"),
) -> None:
    """Raise BenchError unless value is a real number strictly between `above` and `below`, and at least `least`."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not above < value < below or value < least:
        bounds = f"of at least {least}" if least > above else f"between {above} and {below}"
        raise BenchError(f"Expected {name} to be a number {bounds}, got {value!r}: change {name}")


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Raise BenchError unless value is one of the choices."""
    if value not in choices:
        raise BenchError(f"Expected {name} to be one of {', '.join(choices)}, got {value!r}: choose one of them")


def check_relevance(relevance: Tensor, inputs: Tensor, name: str = "relevance") -> None:
    """Raise BenchError unless relevance has the shape of the inputs and no NaN or infinity in it; see check_finite."""
    if relevance.shape != inputs.shape:
        raise BenchError(
            f"Expected {name} of the inputs' shape {tuple(inputs.shape)}, got {tuple(relevance.shape)}: "
            "an explainer must return one number for each input value"
        )
    check_finite(relevance, name)


def check_finite(relevance: Tensor, name: str = "relevance") -> None:
    """Raise BenchError if relevance (batch, ...) holds NaN or infinity: within transfers.together at its end."""
    finite = torch.isfinite(relevance)
    broken = ~(finite.flatten(1).all(1) if finite.dim() > 1 else finite)
    refuse_where(broken, lambda: _not_finite(broken, name))


def _not_finite(broken: Tensor, name: str) -> BenchError:
    samples = broken.nonzero().flatten().tolist()
    return BenchError(
        f"Expected finite {name}, got NaN or infinity in {len(samples)} of {len(broken)} samples (the first at "
        f"position {samples[0]} of the batch): check the model's outputs, or give the rule a larger epsilon"
    )


def check_images(x: Tensor, name: str, instead: str) -> None:
    """Raise NotApplicable unless x is (batch, channels, height, width)."""
    if x.dim() != 4:
        raise NotApplicable(
            f"Expected images (batch, channels, height, width) for {name}, got {tuple(x.shape)}: {instead}"
        )


def check_floating(x: Tensor, name: str, instead: str) -> None:
    """Raise NotApplicable unless x holds real numbers, not ids."""
    if not x.is_floating_point():
        raise NotApplicable(f"Expected inputs of real numbers for {name}, got {x.dtype}: {instead}")


def check_steps(steps: object) -> None:
    """Raise BenchError unless steps is a number of them, or fractions to remove, ascending in [0, 1]."""
    if not isinstance(steps, Sequence) or isinstance(steps, str):
        check_whole("steps", steps)
        return
    for fraction in steps:
        check_number("each fraction of steps", fraction)
    if not steps or steps[0] < 0 or steps[-1] > 1 or any(b <= a for a, b in pairwise(steps)):
        raise BenchError(f"Expected steps to ascend within [0, 1], got {list(steps)}: sort the fractions")
    if steps[-1] == 0:
        raise BenchError(f"Expected steps that remove something, got {list(steps)}: add fractions above 0")
