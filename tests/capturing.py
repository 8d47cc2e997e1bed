"""Fixtures for tests that explain: capture is most of the time there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn

from lrp_bench.engine import propagate
from lrp_bench.engine.capture.capture import Program, capture


@pytest.fixture
def float64() -> Iterator[None]:
    """Float64 as the default, and the same random numbers for each test."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def captured_once() -> Iterator[None]:
    """Capture takes a fifth of a second: a table of rules over one network needs it once, and a copy each time."""
    known: dict[object, tuple[nn.Module, Program]] = {}

    def remember(
        model: nn.Module,
        example: tuple[Tensor, ...],
        output: int | str | None = None,
        names: Sequence[str] = (),
        whole: Collection[str] | None = None,
    ) -> Program:
        key = id(model), tuple(x.shape[1:] for x in example), output, tuple(names)
        if key not in known:
            known[key] = model, capture(model, example, output, names, whole)
        return known[key][1].copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(propagate, "capture", remember)
        yield
