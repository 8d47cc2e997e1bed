from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lrp_bench.contracts import BenchError
from lrp_bench.data import Digits, Iris, Synthetic, TensorData

CONF = Path(__file__).parents[2] / "conf" / "dataset"
OFFLINE = ["digits", "iris", "synthetic", "digits_on_texture", "shortcut", "tetromino"]
FEWER = {"digits_on_texture": {"copies": 1}}  # as many as the declared facts need


def load(name: str, **overrides: Any) -> TensorData:
    root = OmegaConf.create({"samples": 20, "seed": 0, "paths": {"data": "nowhere", "outputs": "nowhere"}})
    root.dataset = OmegaConf.merge(OmegaConf.load(CONF / f"{name}.yaml"), overrides)
    data: TensorData = instantiate(root.dataset)
    return data


@pytest.mark.parametrize("name", OFFLINE)
def test_declared_facts_are_what_the_data_is(name: str) -> None:
    data = load(name, **FEWER.get(name, {}))
    inputs = torch.cat([inputs for inputs, _ in data.batches("train")] + [x for x, _ in data.batches("validation")])
    labels = data.contents.train.labels
    assert inputs.shape == (len(labels), *data.shape)
    assert set(labels.tolist()) == set(range(data.classes))
    assert len(data.class_names) == data.classes
    axes = [axis for axis in range(inputs.ndim) if axis != 1]
    torch.testing.assert_close(inputs.mean(axes), torch.zeros(data.shape[0]), atol=0.1, rtol=0)
    torch.testing.assert_close(inputs.std(axes), torch.ones(data.shape[0]), atol=0.1, rtol=0)
    assert bool((inputs >= data.low).all())
    assert bool((inputs <= data.high).all())


@pytest.mark.parametrize("name", OFFLINE)
def test_denormalize_undoes_normalize(name: str) -> None:
    data = load(name, **FEWER.get(name, {}))
    stored = data.contents.test.inputs
    raw = stored / 255 if stored.dtype == torch.uint8 else stored
    torch.testing.assert_close(data.denormalize(data.normalize(stored)), raw, atol=1e-6, rtol=1e-5)


def test_stored_bytes_are_brought_to_zero_one_and_per_channel_numbers_apply_per_channel() -> None:
    data = load("synthetic", shape=[3, 4, 4], mean=[0.1, 0.2, 0.3], std=[1.0, 2.0, 4.0])
    raw = torch.full((2, 3, 4, 4), 255, dtype=torch.uint8)
    torch.testing.assert_close(data.normalize(raw)[0, :, 0, 0], torch.tensor([0.9, 0.4, 0.175]))
    torch.testing.assert_close(data.high.flatten(), torch.tensor([0.9, 0.4, 0.175]))
    torch.testing.assert_close(data.low.flatten(), torch.tensor([-0.1, -0.1, -0.075]))


@pytest.mark.parametrize(("name", "test_size"), [("digits", 360), ("iris", 30)])
def test_test_split_is_stratified_and_independent_of_the_seed(name: str, test_size: int) -> None:
    one, two = load(name, seed=0), load(name, seed=1)
    assert len(one.contents.test.labels) == test_size
    torch.testing.assert_close(one.contents.test.inputs, two.contents.test.inputs, rtol=0, atol=0)
    counts = [split.labels.bincount().float() for split in (one.contents.train, one.contents.test)]
    torch.testing.assert_close(counts[0] / 4, counts[1], atol=1, rtol=0)


def test_digits_splits_together_are_all_of_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    contents = load("digits").contents
    ours = torch.cat([contents.train.inputs, contents.test.inputs]).flatten(1) * 16
    theirs = torch.from_numpy(load_digits().data).float()
    torch.testing.assert_close(torch.unique(ours, dim=0), torch.unique(theirs, dim=0))
    assert len(ours) == len(theirs)


def test_parts_cover_the_training_split_once_and_validation_depends_on_the_seed_only() -> None:
    data = load("digits")
    rows = {part: torch.cat([x for x, _ in data.batches(part)]).flatten(1) for part in ("train", "validation")}
    everything = data.normalize(data.contents.train.inputs).flatten(1)
    assert len(rows["validation"]) == round(0.1 * len(everything))
    assert sorted(torch.cat(list(rows.values())).tolist()) == sorted(everything.tolist())
    again = torch.cat([x for x, _ in load("digits").val_dataloader()]).flatten(1)
    other = torch.cat([x for x, _ in load("digits", seed=1).val_dataloader()]).flatten(1)
    torch.testing.assert_close(again, rows["validation"], rtol=0, atol=0)
    assert not torch.equal(other, again)


def test_training_batches_are_reshuffled_each_epoch_but_the_same_for_the_same_epoch() -> None:
    loader = load("digits").train_dataloader()

    def labels(epoch: int) -> torch.Tensor:
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        return torch.cat([y for _, y in loader])

    first, second, again = labels(0), labels(1), labels(0)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert torch.equal(first.bincount(), second.bincount())
    assert len(list(loader)) == len(loader)


def test_the_background_is_drawn_from_what_the_model_is_trained_on() -> None:
    data = load("digits")
    (drawn, _), everything = data.background(20), torch.cat([x for x, _ in data.batches("train", 400)])
    assert drawn.shape == (20, 1, 8, 8)
    assert all(bool((x == everything).flatten(1).all(1).any()) for x in drawn)
    torch.testing.assert_close(load("digits").background(20)[0], drawn)


@pytest.mark.parametrize(
    ("count", "places"), [(0, []), (1, [0]), (4, [0, 12, 25, 37]), (50, range(50)), (99, range(50))]
)
def test_the_samples_of_pictures_are_spread_over_the_explained_ones(count: int, places: Sequence[int]) -> None:
    data = load("digits", samples=50)
    assert torch.equal(data.pictured(count), data.indices[list(places)])


def test_explained_batches_are_the_listed_test_samples_in_order_for_any_batch_size() -> None:
    data = load("digits", samples=50)
    assert data.indices.tolist() == sorted(set(data.indices.tolist()))
    for batch_size in (7, 50, 64):
        batches = list(data.explained_batches(batch_size))
        index = torch.cat([batch.index for batch in batches])
        assert torch.equal(index, data.indices)
        assert torch.equal(torch.cat([batch.label for batch in batches]), data.contents.test.labels[index])
        inputs = torch.cat([batch.inputs for batch in batches])
        torch.testing.assert_close(inputs, data.normalize(data.contents.test.inputs[index]))
    assert data.contents.test.labels[data.indices].bincount().tolist() == [5] * 10


def test_fingerprint_follows_what_changes_weights_and_nothing_else() -> None:
    same = [load("digits"), load("digits", samples=7), load("digits", batch_size=3)]
    other = [load("digits", seed=1), load("digits", mean=0.31), load("digits", validation=0.2), load("synthetic")]
    assert len({data.fingerprint() for data in same}) == 1
    assert len({data.fingerprint() for data in [*same[:1], *other]}) == 5


def test_synthetic_signal_is_where_the_classes_differ() -> None:
    data = load("synthetic", shape=[3, 6, 5], classes=4, train=4000)
    assert isinstance(data, Synthetic)
    train = data.contents.train
    assert bool((data.signal.sum(0) == 1).all())
    for label in range(4):
        mean = train.inputs[train.labels == label].mean(0)
        torch.testing.assert_close(mean, 0.3 + 0.4 * data.signal[label], atol=0.05, rtol=0)
    assert bool(((train.inputs >= 0) & (train.inputs <= 1)).all())


def test_synthetic_takes_any_shape_and_never_depends_on_the_seed() -> None:
    table = load("synthetic", shape=[12], classes=5)
    assert next(table.explained_batches(3)).inputs.shape == (3, 12)
    torch.testing.assert_close(
        table.contents.train.inputs, load("synthetic", shape=[12], classes=5, seed=4).contents.train.inputs
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"samples": 9999}, "Expected samples <= 360, got 9999"),
        ({"samples": 0}, "samples.*got 0"),
        ({"samples": "many"}, "samples.*got 'many'"),
        ({"shape": [1, 28, 28]}, r"Expected samples of shape \[1, 28, 28\], got \[1, 8, 8\]"),
        ({"shape": [8, 8]}, r"got \[8, 8\]"),
        ({"shape": "8x8"}, "got '8x8'"),
        ({"classes": 7}, "Expected 7 classes, got 10"),
        ({"classes": 1}, "classes.*got 1"),
        ({"mean": [0.1, 0.2]}, r"mean to be one number or 1.*got \[0.1, 0.2\]"),
        ({"mean": "dark"}, "got 'dark'"),
        ({"std": 0.0}, "std above 0"),
        ({"validation": 0.0}, r"validation in \(0, 1\), got 0.0"),
        ({"validation": 0.0001}, "training and validation samples"),
        ({"batch_size": 2.5}, "batch_size.*got 2.5"),
    ],
)
def test_bad_settings_say_what_was_expected_and_what_came(overrides: dict[str, Any], message: str) -> None:
    settings: dict[str, Any] = {
        "shape": [1, 8, 8],
        "classes": 10,
        "mean": 0.3,
        "std": 0.4,
        "validation": 0.1,
        "batch_size": 16,
        "samples": 20,
        "seed": 0,
    }
    with pytest.raises(BenchError, match=message):
        Digits(**{**settings, **overrides}).setup()


def test_unknown_settings_fail_by_the_signature() -> None:
    with pytest.raises(Exception, match="shpae"):
        load("iris", shpae=[4])
    assert isinstance(load("iris"), Iris)


def test_synthetic_needs_a_position_per_class() -> None:
    with pytest.raises(BenchError, match="got 3 for 4"):
        Synthetic(
            train=8, test=8, shape=[3], classes=4, mean=0.4, std=0.25, validation=0.25, batch_size=2, samples=2, seed=0
        )
