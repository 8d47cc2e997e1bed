"""Costs against a method and a model that take a known time and a known memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lrp_bench.contracts import BenchError, Explanation, NotApplicable
from lrp_bench.metrics import Context, Cost
from lrp_bench.metrics.evaluators.complexity import cost

X, KIB = torch.randn(8, 5), 1024
NOW = [0.0]  # seconds


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost, "_clock", lambda _: NOW[0])


class Slow:
    """Takes the next of the given seconds for each call, the last for all that follow; and memory."""

    def __init__(self, *seconds: float, kib: int = 1) -> None:
        self.seconds, self.kib, self.targets = list(seconds), kib, []

    def explain(self, inputs: Tensor, target: Tensor | None = None) -> Explanation:
        NOW[0] += self.seconds.pop(0) if len(self.seconds) > 1 else self.seconds[0]
        self.targets.append(target)
        torch.ones(self.kib * KIB // 4)
        return explanation(inputs)


def model(x: Tensor) -> Tensor:
    NOW[0] += 0.004
    return x


def explanation(x: Tensor = X) -> Explanation:
    return Explanation(x, x, x.argmax(1), x.amax(1), x)


def test_the_median_is_counted_in_forward_passes() -> None:
    evaluator, method = Cost(repeats=5), Slow(9.0, 0.02, 0.03, 0.01, 0.02, 0.8, 0.0, 0.5)
    evaluator.update(explanation(), Context(model, method=method))
    values = evaluator.compute().values
    assert set(values) == {"cost/seconds", "cost/forwards", "cost/memory"}
    assert_close(values["cost/seconds"], torch.full((8,), 0.02 / 8))
    assert_close(values["cost/forwards"], torch.full((8,), 0.02 / 0.004))
    assert all(target is not None and target.equal(X.argmax(1)) for target in method.targets)
    assert len(method.targets) == 2 + 5 + 1  # to warm up and to see how long it takes; to measure; for the memory


def test_the_first_pass_of_the_model_does_not_count() -> None:
    first = iter([5.0])

    def warming(x: Tensor) -> Tensor:
        NOW[0] += next(first, 0.0)
        return model(x)

    evaluator = Cost()
    evaluator.update(explanation(), Context(warming, method=Slow(0.02)))
    assert_close(evaluator.compute().values["cost/forwards"], torch.full((8,), 5.0))


def test_memory_is_shared_by_the_samples() -> None:
    evaluator = Cost(repeats=1)
    for x in (X, X[:2]):
        evaluator.update(explanation(x), Context(model, method=Slow(0.0, kib=512)))
    assert_close(evaluator.compute().values["cost/memory"], torch.tensor([0.5 / 8] * 8 + [0.5 / 2] * 2))


def test_only_what_can_be_run_again_can_be_timed() -> None:
    with pytest.raises(NotApplicable, match="give the context its method"):
        Cost().update(explanation(), Context(model))
    with pytest.raises(BenchError, match="repeats"):
        Cost(repeats=0)


def test_less_is_better_and_one_measure_is_shown() -> None:
    measures = Cost.measures
    assert all(measure.higher_is_better is False and measure.lower == 0 for measure in measures.values())
    assert [name for name, measure in measures.items() if measure.headline] == ["cost/forwards"]
