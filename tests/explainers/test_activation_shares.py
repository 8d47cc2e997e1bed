"""Relevance by activation alone, against the step-by-step computation in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.explainers.activation_shares import ActivationShares

W_HIDDEN = np.array([[0.3, 0.2, 0.4], [0.6, 0.1, 0.5], [0.8, 0.6, 0.2]])
W_OUTPUT = np.array([[0.3], [0.1], [0.4]])
X = np.array([[1.0], [0.8], [0.2]])


def network() -> nn.Module:
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1), nn.Sigmoid()).double().requires_grad_(False)
    net[0].weight.copy_(torch.from_numpy(W_HIDDEN))
    net[0].bias.fill_(0.5)
    net[2].weight.copy_(torch.from_numpy(W_OUTPUT.T))
    net[2].bias.fill_(0.1)
    return net


def by_hand(decimals: int | None) -> tuple[np.ndarray, np.ndarray]:
    def rounded(messages: np.ndarray) -> np.ndarray:
        return messages if decimals is None else np.round(messages, decimals)

    hidden = np.maximum(0, W_HIDDEN @ X + 0.5)
    output = 1 / (1 + np.exp(-(W_OUTPUT.T @ hidden + 0.1)))
    relevance = rounded(hidden * output / hidden.sum())
    return relevance[:, 0], np.array([rounded(relevance * x / X.sum()).sum() for x in X[:, 0]])


@pytest.mark.parametrize("decimals", [2, None])
def test_it_is_the_computation_by_hand(decimals: int | None) -> None:
    x = torch.from_numpy(X.T)
    explained = ActivationShares(network(), x, decimals=decimals).explain(x)
    hidden, inputs = by_hand(decimals)
    assert_close(explained.layers["2"][0], torch.from_numpy(hidden))
    assert_close(explained.relevance[0], torch.from_numpy(inputs))


def test_the_published_digits() -> None:
    hidden, inputs = by_hand(2)
    np.testing.assert_allclose(hidden, [0.20, 0.24, 0.34])
    np.testing.assert_allclose(inputs, [0.39, 0.32, 0.07])


def test_it_conserves_and_knows_no_weights() -> None:
    x = torch.rand(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    explained = ActivationShares(network(), x).explain(x)
    assert_close(explained.relevance.sum(1), explained.score)
    assert_close(explained.relevance, x / x.sum(1, keepdim=True) * explained.score[:, None])


def test_what_it_cannot_share_is_told() -> None:
    with pytest.raises(BenchError, match="linear layers"):
        ActivationShares(nn.Flatten(), torch.ones(1, 3))
    x = torch.tensor([[1.0, -1.0, 0.0]], dtype=torch.float64)
    with pytest.raises(BenchError, match="not 0"):
        ActivationShares(network(), x).explain(x)
