from __future__ import annotations

from typing import Any

import pytest
import torch

from lrp_bench.contracts import BenchError
from lrp_bench.data import Arithmetic

COMMON: dict[str, Any] = {"mean": 0.0, "std": 1.0, "batch_size": 2, "samples": 2, "seed": 0}


@pytest.mark.parametrize(("operation", "sign"), [("sum", 1), ("difference", -1)])
def test_arithmetic_hides_two_numbers_in_their_order(operation: str, sign: int) -> None:
    data = Arithmetic(operation=operation, train=300, test=50, shape=[12], classes=1, **COMMON, validation=0.1)
    steps = data.contents.train.inputs.view(300, 4, 3)
    assert bool(((steps != 0).sum(2) == 1).all())
    a, b = (steps[:, :, channel].sum(1) for channel in (1, 2))
    assert bool(((steps[:, :, 1:] != 0).sum(1) == 1).all())
    first, second = (steps[:, :, channel].abs().argmax(1) for channel in (1, 2))
    assert bool((first < second).all())
    assert len(set(zip(first.tolist(), second.tolist(), strict=True))) == 6
    torch.testing.assert_close(data.contents.train.labels, a + sign * b)
    assert steps.min() < -0.95
    assert steps.max() > 0.95


@pytest.mark.parametrize("changed", [{"shape": [10]}, {"shape": [3]}, {"operation": "product"}])
def test_arithmetic_refuses_what_is_no_such_task(changed: dict[str, Any]) -> None:
    given = {"operation": "sum", "train": 9, "test": 2, "shape": [6], "classes": 1, "validation": 0.1}
    with pytest.raises(BenchError, match="Expected dataset"):
        Arithmetic(**{**given, **COMMON, **changed})


def test_an_official_validation_split_must_be_there_to_be_asked_for() -> None:
    settings: dict[str, Any] = {"operation": "sum", "train": 9, "test": 2, "shape": [6], "classes": 1}
    with pytest.raises(BenchError, match="no official validation split"):
        Arithmetic(validation=None, **settings, **COMMON).setup()
