"""Peak memory against tensors of known size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lrp_bench.metrics.memory import LiveTensors, peak_memory

CPU, KIB = torch.device("cpu"), 1024
BEFORE = torch.ones(16 * KIB // 4)


def one_after_another() -> None:
    for _ in range(5):
        torch.ones(16 * KIB // 4)


def together() -> list[Tensor]:
    return [torch.ones(16 * KIB // 4) for _ in range(5)]


def views_and_changes_in_place() -> Tensor:
    made = torch.ones(16 * KIB // 4)
    return made.view(2, -1).t().add_(1.0)


def of_what_was_there() -> Tensor:
    return BEFORE.view(2, -1)[0].mul_(1.0)


def a_sum_of_two() -> Tensor:
    return (BEFORE + 1) + (BEFORE + 2)


@pytest.mark.parametrize(
    ("call", "tensors"),
    [(one_after_another, 1), (together, 5), (views_and_changes_in_place, 1), (of_what_was_there, 0), (a_sum_of_two, 3)],
)
def test_the_peak_is_what_lives_at_once(call, tensors: int) -> None:
    assert peak_memory(call, CPU) == tensors * 16 * KIB


def test_what_autograd_keeps_is_counted_until_it_is_let_go() -> None:
    layers, x = nn.Sequential(*[nn.Tanh() for _ in range(6)]), torch.ones(16 * KIB // 4, requires_grad=True)
    with torch.no_grad():
        assert peak_memory(lambda: layers(x), CPU) == 2 * 16 * KIB  # one goes in, one comes out
    with LiveTensors(CPU) as live:
        y = layers(x)
        assert live.held == 6 * 16 * KIB  # tanh keeps its output
        (gradient,) = torch.autograd.grad(y.sum(), x)
        del y
        assert live.held == 16 * KIB
        del gradient
    assert live.held == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_the_allocator_is_asked() -> None:
    device = torch.device("cuda")
    held = torch.ones(2**20, device=device)
    assert peak_memory(lambda: held + (held + 1), device) == 2 * 4 * 2**20
