"""The agreement evaluator's options against SciPy, one sample at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.testing import assert_close

from lrp_bench.contracts import Explanation, Measure
from lrp_bench.metrics import Agreement, Context, functional
from lrp_bench.metrics.evaluators.agreement.agreement import KINDS

BATCH = 5


def maps(seed: int) -> Tensor:
    """Maps with zeros and ties, (batch, 2, 6, 6)."""
    values = torch.randn(BATCH, 2, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (values * 2).round() * (values[:, :1] > -0.3)


OURS, THEIRS = maps(0), maps(1)


def values(agreement: Agreement) -> dict[str, Tensor]:
    zeros = torch.zeros(BATCH, dtype=torch.int64)
    agreement.update(Explanation(OURS, OURS[:, 0, 0], zeros, zeros, OURS), Context(lambda x: x, {"other": THEIRS}))
    return dict(agreement.compute().values)


def pooled(R: Tensor, size: int) -> Tensor:
    """Means of squares, by the definition."""
    pixels = R.sum(1)
    squares = [pixels[:, i : i + size, j : j + size] for i in range(0, 6, size) for j in range(0, 6, size)]
    return torch.stack([square.flatten(1).mean(1) for square in squares], 1)


def test_every_measure_of_the_paper_is_a_kind() -> None:
    found = values(Agreement(list(KINDS), top_share=0.25))
    a, b = OURS.sum(1), THEIRS.sum(1)
    expected = {
        **{name: getattr(functional, name)(a, b) for name in ("spearman", "pearson", "cosine", "kendall")},
        "top_k": functional.top_k_intersection(a, b, 9),
        "rank": functional.rank_agreement(a, b, 9),
        "sign": functional.sign_agreement(a, b, 9),
        "signed_rank": functional.signed_rank_agreement(a, b, 9),
        "rank_correlation": functional.spearman(a.abs(), b.abs()),
        "pairwise_rank": functional.pairwise_rank_agreement(a, b),
    }
    assert_close(found.pop("agreement/zeros"), (a == 0).double().flatten(1).mean(1))
    assert_close(found, {f"agreement/other/{name}": each for name, each in expected.items()})


@pytest.mark.parametrize("size", [2, 4])
def test_patches_are_compared_by_their_means(size: int) -> None:
    found = values(Agreement(["spearman"], patch=size))
    a, b = pooled(OURS, size), pooled(THEIRS, size)
    expected = [stats.spearmanr(x, y).statistic for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    assert_close(found[f"agreement/other/spearman_patch{size}"], torch.tensor(np.array(expected)))
    assert_close(found[f"agreement/zeros_patch{size}"], (a == 0).double().mean(1))


@pytest.mark.parametrize("absolute", [False, True])
def test_zeros_of_both_maps_can_be_left_out(absolute: bool) -> None:
    found = values(Agreement(["spearman", "kendall", "top_k"], top_share=0.2, absolute=absolute, mask_zeros=True))
    ending = "_absolute_nonzero" if absolute else "_nonzero"
    for row, (a, b) in enumerate(zip(OURS.sum(1).flatten(1), THEIRS.sum(1).flatten(1), strict=True)):
        left = (a != 0) | (b != 0)
        assert 2 < left.sum() < 36
        x, y = (each[left].abs() if absolute else each[left] for each in (a, b))
        k = round(0.2 * len(x))
        expected = {
            "spearman": stats.spearmanr(x.numpy(), y.numpy()).statistic,
            "kendall": stats.kendalltau(x.numpy(), y.numpy()).statistic,
            "top_k": functional.top_k_intersection(x[None], y[None], k).item(),
        }
        assert {kind: found[f"agreement/other/{kind}{ending}"][row].item() for kind in expected} == pytest.approx(
            expected
        )


def test_maps_without_relevance_have_no_agreement() -> None:
    agreement, zero = Agreement(mask_zeros=True), torch.zeros(BATCH, 2, 6, 6)
    label = torch.zeros(BATCH, dtype=torch.int64)
    agreement.update(Explanation(zero, zero[:, 0, 0], label, label, zero), Context(lambda x: x, {"other": zero}))
    found = dict(agreement.compute().values)
    assert_close(found.pop("agreement/zeros"), torch.ones(BATCH))
    assert all(each.isnan().all() for each in found.values())


def test_the_first_kind_is_the_headline_and_titles_tell_variants_apart() -> None:
    agreement = Agreement(["kendall", "sign"], patch=2, absolute=True, mask_zeros=True)
    values(agreement)
    title = "Kendall with other (patches of 2, absolute, nonzero)"
    measures = agreement.measures
    assert measures["agreement/other/kendall_patch2_absolute_nonzero"] == Measure(title, "agreement", True, -1.0, 1.0)
    assert [name for name, measure in measures.items() if measure.headline] == [
        "agreement/other/kendall_patch2_absolute_nonzero"
    ]
