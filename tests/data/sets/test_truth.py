"""Data sets whose evidence is known: it lies in the mask, and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.data import Split, TensorData
from lrp_bench.data.sources.scikit import read_digits
from lrp_bench.run import build

CONF = Path(__file__).parents[3] / "conf" / "dataset"
NAMES = ["digits_on_texture", "shortcut", "tetromino"]
SMALL: dict[str, dict[str, Any]] = {"digits_on_texture": {"copies": 1}, "tetromino": {"train": 400, "test": 200}}


def load(name: str, seed: int = 0, **overrides: Any) -> TensorData:
    root = OmegaConf.create({"samples": 20, "seed": seed})
    root.dataset = OmegaConf.merge(OmegaConf.load(CONF / f"{name}.yaml"), SMALL.get(name, {}), overrides)
    data: TensorData = build(root.dataset)
    return data


def grey(split: Split) -> Tensor:
    return split.inputs[:, 0].float() / 255


def masked(split: Split) -> Tensor:
    assert split.mask is not None
    return split.mask


@pytest.mark.parametrize("name", NAMES)
def test_pictures_and_masks_do_not_depend_on_the_seed(name: str) -> None:
    one, two = load(name).contents, load(name, seed=1).contents
    for ours, theirs in ((one.train, two.train), (one.test, two.test)):
        assert torch.equal(ours.inputs, theirs.inputs)
        assert torch.equal(masked(ours), masked(theirs))


@pytest.mark.parametrize("name", NAMES)
def test_the_mask_of_each_explained_sample_comes_with_it(name: str) -> None:
    data = load(name)
    for batch in data.explained_batches(7):
        assert batch.mask is not None
        assert batch.mask.dtype == torch.bool
        assert batch.mask.shape == (len(batch.inputs), *data.shape[1:])
        assert batch.mask.flatten(1).any(1).all()
        assert torch.equal(batch.mask, masked(data.contents.test)[batch.index])


def test_a_digit_on_texture_is_the_digit_of_its_label_and_fills_its_box() -> None:
    data = load("digits_on_texture")
    test, digits = data.contents.test, read_digits().test
    assert torch.equal(test.labels, digits.labels)
    assert_close(masked(test).flatten(1).sum(1), torch.full((len(test.labels),), 256))
    boxes = grey(test)[masked(test)].reshape(-1, 16, 16)
    ink = torch.nn.functional.interpolate(digits.inputs, scale_factor=2, mode="bilinear")[:, 0]
    assert (boxes >= ink - 1 / 255).all()  # drawn over the texture, which shows where there is no ink
    assert (boxes <= 0.5 + 0.5 * ink + 1 / 255).all()


def test_the_clutter_lies_outside_the_box_and_the_strokes_are_the_shape() -> None:
    clean, full = (load("digits_on_texture", clutter=clutter).contents.test for clutter in (0, 12))
    assert (grey(clean)[~masked(clean)] <= 0.5 + 1 / 255).all()
    assert (grey(full)[~masked(full)] > 0.6).float().mean() > 0.1
    box, shape = (masked(load("digits_on_texture", truth=truth).contents.test) for truth in ("box", "shape"))
    assert bool((shape <= box).all())
    inks = read_digits().test.inputs
    strokes = torch.nn.functional.interpolate(inks, scale_factor=2, mode="bilinear") >= 0.5
    assert_close(shape.flatten(1).sum(1), strokes.flatten(1).sum(1))


def test_digits_lie_anywhere_and_copies_elsewhere() -> None:
    data = load("digits_on_texture", copies=2)
    train, size = masked(data.contents.train), len(read_digits().train.labels)
    assert len(train) == 2 * size
    tops = train.any(2).int().argmax(1)
    assert set(tops.tolist()) == set(range(17))
    assert (tops[:size] != tops[size:]).float().mean() > 0.8


def test_the_square_tells_the_class_and_only_the_square_is_masked() -> None:
    data = load("shortcut")
    plain = load("shortcut", planted=0.0).contents.train
    for split in (data.contents.train, data.contents.test):
        assert_close(masked(split).flatten(1).sum(1), torch.full((len(split.labels),), 16))
        colors = split.inputs.movedim(1, -1)[masked(split)].reshape(-1, 16, 3)
        assert torch.equal(colors, colors[:, :1].expand_as(colors))
        assert len(torch.unique(torch.cat([colors[:, 0], split.labels[:, None]], 1), dim=0)) == 10
    train = data.contents.train
    assert not masked(plain).any()
    outside = ~masked(train).unsqueeze(1).expand_as(train.inputs)
    assert torch.equal(train.inputs[outside], plain.inputs[outside])
    assert (plain.inputs.movedim(1, -1)[masked(train)] == 0).all()  # no square hides a part of the digit


def test_a_share_of_the_training_pictures_is_planted() -> None:
    share = masked(load("shortcut", planted=0.7).contents.train).flatten(1).any(1).float().mean()
    assert_close(share, torch.tensor(0.7), atol=0.05, rtol=0)


def test_the_test_pictures_can_lie_or_say_nothing() -> None:
    own, other, none = (load("shortcut", at_test=what).contents.test for what in ("own", "other", "none"))
    assert torch.equal(masked(own), masked(other))
    painted = [split.inputs.movedim(1, -1)[masked(own)].reshape(-1, 16, 3)[:, 0] for split in (own, other)]
    assert (painted[0] != painted[1]).any(1).all()
    assert set(map(tuple, painted[1].tolist())) == set(map(tuple, painted[0].tolist()))
    assert not masked(none).any()


@pytest.mark.parametrize("noise", ["white", "correlated"])
@pytest.mark.parametrize("scenario", ["linear", "multiplicative"])
def test_tetrominoes_and_noise_are_what_the_formula_says(scenario: str, noise: str) -> None:
    split = load("tetromino", scenario=scenario, noise=noise, alpha=0.25, train=8000).contents.train
    x, mask = (grey(split) - 0.5) * 8, masked(split)
    assert_close(mask.flatten(1).sum(1), torch.full((8000,), 4))
    for label in (0, 1):
        here, S = x[split.labels == label], mask[label].float()
        linear = scenario == "linear"
        # four standard errors of 4,000 samples
        assert_close(here.mean(0), S * linear, atol=0.06, rtol=0)
        spread = torch.full_like(S, 0.75) if linear else 1 - 0.25 * S
        assert_close(here.std(0), spread, atol=0.06, rtol=0)
    neighbours = torch.corrcoef(x[:, 5, :2].T)[0, 1]  # far from both shapes
    assert bool(neighbours > 0.9) if noise == "correlated" else bool(neighbours.abs() < 0.1)


def test_tetrominoes_have_their_shapes() -> None:
    mask = masked(load("tetromino").contents.test)
    assert mask[0, 1:4, 1:3].int().tolist() == [[1, 0], [1, 1], [1, 0]]
    assert mask[1, 4:7, 5:7].int().tolist() == [[1, 0], [1, 0], [1, 1]]
    assert not (mask[0] & mask[1]).any()


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("digits_on_texture", {"truth": "circle"}, "truth.*box, shape.*'circle'"),
        ("digits_on_texture", {"shape": [1, 12, 32]}, r"at least \[16, 16\] pixels, got \[12, 32\]"),
        ("digits_on_texture", {"copies": 0}, "copies.*got 0"),
        ("shortcut", {"planted": 1.5}, "planted to be a number from 0 to 1, got 1.5"),
        ("shortcut", {"at_test": "on"}, "own, other, none"),
        ("shortcut", {"patch": 5}, "at least 26 x 26"),
        ("shortcut", {"shape": [1, 24, 24], "mean": 0.1, "std": 0.2}, r"got \[1, 24, 24\]"),
        ("tetromino", {"scenario": "xor"}, "linear, multiplicative"),
        ("tetromino", {"alpha": "much"}, "got 'much'"),
        ("tetromino", {"shape": [1, 7, 8]}, "at least 8 x 8"),
        ("tetromino", {"classes": 3}, "Expected 3 classes, got 2"),
    ],
)
def test_what_cannot_be_made_is_told(name: str, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        load(name, **overrides).setup()
