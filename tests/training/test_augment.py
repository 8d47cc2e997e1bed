from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.models import Classifier
from lrp_bench.training.augment import Affine


def pictures(count: int = 64) -> Tensor:
    """A bright blob off the centre."""
    row, column = torch.meshgrid(torch.arange(21.0), torch.arange(21.0), indexing="ij")
    return torch.exp(-((row - 7) ** 2 + (column - 12) ** 2) / 4).expand(count, 2, 21, 21).contiguous()


def centres(x: Tensor) -> Tensor:
    """(batch, 2): the centre of brightness, from the picture's middle."""
    place = torch.arange(21.0) - 10
    total = x[:, 0].sum((1, 2))
    return torch.stack([(x[:, 0].sum(2) * place).sum(1), (x[:, 0].sum(1) * place).sum(1)], 1) / total[:, None]


def test_nothing_asked_nothing_changed() -> None:
    assert_close(Affine()(pictures()), pictures(), atol=1e-5, rtol=0)


def test_a_mirror_exchanges_left_and_right_in_about_half() -> None:
    torch.manual_seed(0)
    x, changed = pictures(), Affine(mirror=True)(pictures())
    mirrored = (centres(changed)[:, 1] < 0).nonzero().flatten()
    assert 20 < len(mirrored) < 44
    assert_close(changed[mirrored], x[mirrored].flip(-1), atol=1e-5, rtol=0)


def test_a_turn_keeps_the_distance_from_the_middle_and_its_limit() -> None:
    torch.manual_seed(0)
    start, turned = centres(pictures()), centres(Affine(degrees=30)(pictures()))
    assert_close(turned.norm(dim=1), start.norm(dim=1), atol=0.1, rtol=0)
    angle = torch.rad2deg(torch.atan2(turned[:, 0], turned[:, 1]) - torch.atan2(start[:, 0], start[:, 1]))
    assert angle.abs().max() < 31
    assert angle.std() > 10  # each picture by itself


def test_a_shift_and_a_change_of_size_keep_their_limits() -> None:
    torch.manual_seed(0)
    moved = centres(Affine(shift=0.1)(pictures())) - centres(pictures())
    assert 1.0 < moved.abs().max() < 0.1 * 21 + 0.1
    ratio = centres(Affine(scale=0.2)(pictures())).norm(dim=1) / centres(pictures()).norm(dim=1)
    assert 1 / 1.21 < ratio.min() < 0.9 < 1.1 < ratio.max() < 1 / 0.79


def test_the_same_seed_draws_the_same() -> None:
    change = Affine(degrees=15, shift=0.1, scale=0.1, mirror=True)
    one, two = ((torch.manual_seed(3), change(pictures()))[1] for _ in range(2))
    assert_close(one, two, rtol=0, atol=0)


@pytest.mark.parametrize("wrong", [{"degrees": -1}, {"shift": 2.0}, {"scale": "much"}, {"shift": True}])
def test_what_cannot_be_meant_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BenchError, match=next(iter(wrong))):
        Affine(**wrong)


def test_tables_are_not_augmented() -> None:
    with pytest.raises(BenchError, match="pictures"):
        Affine(degrees=3)(torch.zeros(4, 5))


@pytest.mark.parametrize("channels_last", [False, True])
def test_only_training_batches_are_augmented_and_the_layout_changes_no_number(channels_last: bool) -> None:
    torch.manual_seed(0)
    model, x, labels = nn.Sequential(nn.Conv2d(2, 3, 21), nn.Flatten()), pictures(8), torch.arange(8) % 3
    expected = nn.functional.cross_entropy(model(x + 1), labels), nn.functional.cross_entropy(model(x), labels)
    module = Classifier(model, 3, torch.optim.Adam, augment=lambda inputs: inputs + 1, channels_last=channels_last)
    module.log = lambda *_, **__: None  # type: ignore[method-assign]  # it asks for a Trainer
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last) is channels_last
    assert_close(module.training_step((x, labels), 0), expected[0])
    assert_close(module._step("val", (x, labels)), expected[1])
