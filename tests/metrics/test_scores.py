"""The number that is watched, for models that end in logits and for models that end in a softmax."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lrp_bench.metrics.flipping import PerturbationCurve
from lrp_bench.metrics.scores import SCORES

LOGITS = torch.tensor([[0.7, 0.0, -0.7], [1.0, 2.0, 3.0], [-1.0, 0.5, 0.5]])
TARGET = torch.tensor([0, 2, 1])


def test_a_model_that_ends_in_a_softmax_has_the_probability_it_says() -> None:
    """Not its softmax again, which shows 0.45 for 0.67."""
    model, logits = nn.Softmax(1), torch.tensor([[0.67, 0.2, 0.13]]).log()
    with pytest.warns(UserWarning, match=r"probabilities already.*Explain logits"):
        found = SCORES["probability"](model(logits), torch.tensor([0]))
    assert_close(found, torch.tensor([0.67]))


@pytest.mark.filterwarnings("ignore:The model's outputs are probabilities")
@pytest.mark.parametrize("score", ["probability", "log_odds", "accuracy"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logits_and_their_softmax_have_one_score(score: str, dtype: torch.dtype) -> None:
    logits = LOGITS.to(dtype)
    for outputs in (logits.softmax(1), logits.log_softmax(1)):
        assert_close(SCORES[score](outputs, TARGET), SCORES[score](logits, TARGET))


@pytest.mark.filterwarnings("ignore:The model's outputs are probabilities")
def test_a_certain_model_has_finite_odds() -> None:
    assert SCORES["log_odds"](torch.eye(3), torch.arange(3)).isfinite().all()


def test_rows_that_sum_to_one_by_chance_are_logits_where_one_is_negative() -> None:
    """No warning, which would be an error here."""
    logits = torch.tensor([[2.0, -1.0], [0.5, 0.6]])
    assert_close(SCORES["probability"](logits, torch.tensor([0, 1])), logits.softmax(1).diagonal())


@pytest.mark.filterwarnings("default")
def test_it_is_said_once() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Softmax(1))
    x, curve = torch.rand(4, 1, 4, 4), PerturbationCurve(score="probability", steps=4, max_batch=2)
    with pytest.warns(UserWarning, match="probabilities already") as said, torch.no_grad():
        curve(model, x, x, torch.zeros(4, dtype=torch.int64))
    assert len(said) > 0
    assert len({(warning.filename, warning.lineno, str(warning.message)) for warning in said}) == 1
