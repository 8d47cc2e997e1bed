"""The explainers on the device that is not there: their maps, and what is waited for."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from made_up.device import DEVICE, back, counted, crashes, moved
from test_contract import NAMES, cnn, explainer, images
from torch import nn
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.explainers.activation_shares import ActivationShares

# Captum looks at every mask it draws, or fits a model on the CPU
LOOK_OFTEN = {"captum_feature_ablation", "captum_kernel_shap", "captum_lime", "captum_shapley_sampling"}
SENT_BY_CAPTUM = {"captum_integrated_gradients": 1}  # the points of its quadrature
TARGET = torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize("name", sorted({*NAMES} - LOOK_OFTEN))
def test_an_explainer_gives_what_it_gives_on_the_cpu_and_looks_once(name: str) -> None:
    net, x = cnn(), images(4)
    expected = explainer(name)(model=net, example=x[:2]).explain(x, TARGET)
    method, given = explainer(name)(model=copy.deepcopy(net).to(DEVICE), example=moved(x[:2])), moved((x, TARGET))
    with counted() as found:
        explanation = method.explain(*given)
    assert found["_local_scalar_dense"] == 1
    assert sum(found.values()) == 1 + SENT_BY_CAPTUM.get(name, 0)
    assert_close(back(explanation.relevance), expected.relevance, rtol=1e-5, atol=1e-7)


def test_shares_of_activations_look_once() -> None:
    net = nn.Sequential(nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 5)).to(DEVICE)
    x = moved(images(4).flatten(1)[:, :6] + 1)
    method, target = ActivationShares(net, x), moved(TARGET)
    with counted() as found:
        method.explain(x, target)
    assert found == {"_local_scalar_dense": 1}
    with pytest.raises(BenchError, match="a sum that is not 0, got 0 at 0"):
        method.explain(torch.zeros_like(x), target)


@pytest.mark.parametrize("name", ["captum_saliency", "captum_grad_cam", "zennit_epsilon_plus", "random"])
def test_a_class_that_is_not_there_is_told_and_breaks_nothing(name: str) -> None:
    crashes.clear()
    explain = partial(explainer(name)(model=cnn().to(DEVICE), example=moved(images(2))).explain, moved(images(4)))
    with pytest.raises(BenchError, match=r"classes from 0 to 4, got \[0, 1, 2, 9\]"):
        explain(moved(torch.tensor([0, 9, 2, 1])))
    assert not crashes
