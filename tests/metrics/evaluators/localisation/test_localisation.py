"""Localisation on planted maps: closed forms, chance, and masks that cannot be used."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lrp_bench.contracts import BenchError, Explanation
from lrp_bench.metrics import Context, Localisation

BATCH, SHAPE = 300, (3, 8, 8)
KINDS = ("relevance_mass", "relevance_rank", "pointing_game")


def found(relevance: Tensor, mask: Tensor) -> dict[str, Tensor]:
    metric, label = Localisation(), torch.zeros(len(relevance), dtype=torch.int64)
    metric.update(Explanation(relevance, relevance[:, 0, 0], label, label, relevance), Context(lambda x: x, mask=mask))
    return {name.removeprefix("localisation/"): values for name, values in metric.compute().values.items()}


def square() -> Tensor:
    mask = torch.zeros(BATCH, *SHAPE[1:], dtype=torch.bool)
    mask[:, 2:6, 2:6] = True
    return mask


def test_relevance_is_summed_over_channels_first() -> None:
    R = torch.zeros(BATCH, *SHAPE)
    R[:, :, 3, 3] = 1.0  # inside: 3
    R[:, 0, 0, 0], R[:, 1, 0, 0] = 9.0, -8.0  # outside: 1
    R[:, 2, 7, 7] = -50.0
    values = found(R, square())
    assert_close(values["relevance_mass"], torch.full((BATCH,), 0.75))
    assert_close(values["pointing_game"], torch.ones(BATCH))
    assert_close(values["mask_share"], torch.full((BATCH,), 0.25))
    assert_close(values["weighted_mass"], torch.full((BATCH,), 3.0))


def test_the_mask_itself_is_a_perfect_map() -> None:
    values = found(square().float().unsqueeze(1).repeat(1, 3, 1, 1), square())
    for kind in KINDS:
        assert_close(values[kind], torch.ones(BATCH))


def test_a_map_that_knows_nothing_scores_the_share_of_the_mask() -> None:
    values = found(torch.randn(BATCH, *SHAPE, generator=torch.Generator().manual_seed(0)), square())
    for kind in KINDS:
        assert_close(values[kind].mean(), values["mask_share"].mean(), atol=0.08, rtol=0)


@pytest.mark.parametrize("corner", [0, 4])
def test_a_map_of_ties_that_knows_nothing_scores_the_share_of_the_mask_wherever_that_lies(corner: int) -> None:
    mask, R = torch.zeros(64, 8, 8, dtype=torch.bool), torch.zeros(64, 3, 8, 8)
    mask[:, corner : corner + 4, corner : corner + 4] = True
    R[:, 0].view(64, 64).fill_diagonal_(1.0)  # each pixel once
    values = found(R, mask)
    for kind in KINDS:
        assert_close(values[kind].mean(), torch.tensor(16 / 64))


def test_an_empty_mask_is_no_hit() -> None:
    R, mask = torch.rand(BATCH, *SHAPE, generator=torch.Generator().manual_seed(0)), square()
    mask[0] = False
    values = found(R, mask)
    assert [values[kind][0].isnan().item() for kind in KINDS] == [True] * 3
    assert [values[kind][1:].isnan().any().item() for kind in KINDS] == [False] * 3
    assert values["mask_share"][0] == 0


def test_a_mask_of_another_shape_is_told() -> None:
    with pytest.raises(BenchError, match=r"\(300, 8, 8\), got \(300, 8, 7\)"):
        found(torch.ones(BATCH, *SHAPE), square()[:, :, :7])
