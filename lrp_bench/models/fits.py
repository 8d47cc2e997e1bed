"""Whether a model takes the data, found out before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from lrp_bench.contracts import BenchError


def check_fits(model: nn.Module, shape: Sequence[int], classes: int, dtype: torch.dtype = torch.float32) -> None:
    """Pass two samples of zeros through the model, which comes back as it was.

    Raises:
        BenchError: when it cannot take (2, *shape) or does not return (2, classes).
    """
    samples = torch.zeros(2, *shape, dtype=dtype)
    try:
        with evaluating(model), torch.no_grad():
            logits = model(samples)
    except (IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise _misfit(model, shape, classes, str(error).splitlines()[0]) from error
    got = list(getattr(logits, "shape", [type(logits).__name__]))
    if got != [2, classes]:
        raise _misfit(model, shape, classes, f"its output is {got}")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode; on leaving, each module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _misfit(model: nn.Module, shape: Sequence[int], classes: int, got: str) -> BenchError:
    name = type(model).__name__
    return BenchError(
        f"Expected {name} to map (2, {', '.join(map(str, shape))}) to (2, {classes}), got: {got}."
        f" The model {name} does not fit the data's shape: change model, dataset.shape or dataset.classes"
    )
