"""The memory of works whose need is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lrp_bench.metrics.memory import peak_memory

MIB = torch.ones(2**18)


def backward() -> Tensor:
    leaf = MIB.detach().requires_grad_()
    return torch.autograd.grad(leaf.sin().sin().sin().sum(), leaf)[0]


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda: MIB + 1, 1.0),
        (lambda: MIB + 1 + 1, 2.0),
        (lambda: (MIB + 1).mul_(2).view(2, -1).t(), 1.0),
        (lambda: MIB.view(2, -1).mul_(1), 0.0),
        (lambda: [torch.split(MIB + i, 2**17) for i in range(3)], 3.0),
        (backward, 4.0),  # two sines are kept for the last cosine, which is multiplied into a fourth
    ],
)
def test_peak_memory(work: Callable[[], object], expected: float) -> None:
    assert peak_memory(work, torch.device("cpu")) / 2**20 == pytest.approx(expected, abs=1e-3)
