from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, OneCycleLR, ReduceLROnPlateau, StepLR

from lrp_bench.models.classifier import schedule


@pytest.mark.parametrize(
    ("scheduler", "interval"),
    [
        (partial(OneCycleLR, max_lr=1.0), "step"),
        (CosineAnnealingLR, "step"),
        (partial(CosineAnnealingLR, T_max=3), "epoch"),
        (partial(StepLR, step_size=2), "epoch"),
        (ReduceLROnPlateau, "epoch"),
    ],
)
def test_a_schedule_that_needs_its_length_is_told_and_steps_with_the_batches(
    scheduler: partial[LRScheduler], interval: str
) -> None:
    made = schedule(scheduler, SGD([nn.Parameter(torch.zeros(1))], lr=1.0), steps=10)
    assert made["interval"] == interval
    assert made["monitor"] == "val/loss"


def test_one_cycle_ends_low_after_exactly_the_steps_of_the_training() -> None:
    optimizer = SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = schedule(partial(OneCycleLR, max_lr=1.0), optimizer, steps=10)["scheduler"]
    rates = []
    for _ in range(9):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert max(rates) > 0.9
    assert rates[-1] < 1e-3
