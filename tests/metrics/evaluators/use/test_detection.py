"""The area under the ROC curve against scikit-learn, and its variance against DeLong's formula."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from lrp_bench.contracts import BenchError
from lrp_bench.metrics.evaluators.use.detection import auroc


def samples(count: int = 60, ties: bool = False) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    positive = torch.rand(count, generator=generator) < 0.3
    score = torch.randn(count, generator=generator, dtype=torch.float64) + positive
    return (score * 2).round() if ties else score, positive


@pytest.mark.parametrize("ties", [False, True])
def test_the_mean_is_the_area_and_the_spread_is_delongs(ties: bool) -> None:
    score, positive = samples(ties=ties)
    values = auroc(score, positive)
    assert values.mean().item() == pytest.approx(roc_auc_score(positive.numpy(), score.numpy()), abs=1e-12)
    a, b = score[positive].numpy(), score[~positive].numpy()
    right = np.array([[float(x > y) + 0.5 * float(x == y) for y in b] for x in a])
    variance = right.mean(1).var() / len(a) + right.mean(0).var() / len(b)
    assert values.var(correction=0).item() / len(values) == pytest.approx(variance)


def test_what_has_no_score_is_left_out_and_one_kind_alone_is_undefined() -> None:
    score, positive = samples()
    score[:5] = torch.nan
    values = auroc(score, positive)
    assert values.isnan().tolist() == [True] * 5 + [False] * 55
    assert values[5:].mean().item() == pytest.approx(roc_auc_score(positive[5:].numpy(), score[5:].numpy()))
    assert auroc(score, torch.zeros(60, dtype=torch.bool)).isnan().all()
    assert auroc(score, torch.ones(60, dtype=torch.bool)).isnan().all()


def test_one_flag_for_each_score() -> None:
    score, positive = samples()
    for wrong in (positive[1:], positive.long()):
        with pytest.raises(BenchError, match="Expected score"):
            auroc(score, wrong)
