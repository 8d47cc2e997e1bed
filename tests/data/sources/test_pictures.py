"""Folders of pictures: decoded when they are asked for, held as far as memory is given, the same bits in every way."""

from __future__ import annotations

import hashlib
import io
import logging
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.testing import assert_close

from lrp_bench.contracts import BenchError
from lrp_bench.data import Contents, ImageFolder, Inputs, Split
from lrp_bench.data.sources import contents
from lrp_bench.data.sources.contents import portions, together
from lrp_bench.data.sources.kept import Keeping, Stored
from lrp_bench.data.sources.pictures import Picture, Pictures

SHAPE = (3, 6, 5)
COUNTS = {"train": 26, "test": 14}
WAYS = [(cache, memory) for cache in ("cache", None) for memory in (0, 1)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPEGs and PNGs of noise in two classes, of other sizes than SHAPE."""
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for split, count in COUNTS.items():
        for number in range(count):
            path = folder / split / "ab"[number % 2] / f"{number:02d}.{('jpg', 'png')[number % 3 == 0]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(path)
    return folder


def load(root: Path, cache: Path | None, memory: int, **changed: Any) -> ImageFolder:
    settings = {"mean": 0.4, "std": 0.2, "validation": 0.25, "batch_size": 4, "samples": 6, "seed": 0} | changed
    return ImageFolder(root=root, cache=cache, memory=memory, shape=SHAPE, classes=2, **settings)


def paths(root: Path, split: str) -> list[Path]:
    """In their order: by class, then by name."""
    return sorted((root / split).glob("*/*"))


def decoded(path: Path) -> Tensor:
    image = Image.open(path).convert("RGB").resize(SHAPE[:0:-1], Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(image).copy()).movedim(2, 0)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The pictures that have been decoded."""
    found, original = list[Path](), Image.open

    def counting(path: Path) -> Image.Image:
        found.append(path)
        return original(path)

    monkeypatch.setattr(Image, "open", counting)
    return found


@pytest.mark.parametrize(("cache", "memory"), WAYS)
def test_what_is_explained_trained_on_and_fingerprinted_is_the_same_in_every_way(
    cache: str | None, memory: int, root: Path, tmp_path: Path
) -> None:
    data = load(root, cache and tmp_path / cache, memory)
    data.setup()
    assert isinstance(data.contents.train.inputs, Tensor) == bool(memory)
    train, test = (torch.stack([decoded(path) for path in paths(root, split)]) for split in COUNTS)
    [batch] = data.explained_batches(6)
    assert_close(batch.inputs, (test[batch.index].float() / 255 - 0.4) / 0.2, rtol=0, atol=0)
    assert batch.label.tolist() == [0, 0, 0, 1, 1, 1]
    inputs, labels = data.official("train")
    assert_close(inputs, (train.float() / 255 - 0.4) / 0.2, rtol=0, atol=0)
    assert labels.tolist() == [0] * 13 + [1] * 13
    reference = load(root, tmp_path / "other", 1)
    assert data.fingerprint() == reference.fingerprint()
    for one, other in zip(data.batches("train"), reference.batches("train"), strict=True):
        assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("memory", [0, 1])
def test_the_fingerprint_is_that_of_all_bytes_in_their_order(
    memory: int, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "PORTION", 7 * 90)
    data, expected = load(root, None, memory), hashlib.sha256(repr((SHAPE, 2)).encode())
    for split, count in COUNTS.items():
        labels = torch.arange(2).repeat_interleave(count // 2)
        for part in (*map(decoded, paths(root, split)), labels):
            expected.update(part.contiguous().numpy().tobytes())
    held_out = torch.randperm(26, generator=torch.Generator().manual_seed(0))[:6].sort().values
    for part in (torch.full((3, 1, 1), 0.4), torch.full((3, 1, 1), 0.2), held_out):
        expected.update(part.numpy().tobytes())
    assert data.fingerprint() == expected.hexdigest()


def test_pictures_are_decoded_when_they_are_asked_for(root: Path, opened: list[Path]) -> None:
    data = load(root, None, 0)
    data.setup()
    assert opened == paths(root, "train") + paths(root, "test")  # once, to see that all are whole
    opened.clear()
    index = torch.cat([batch.index for batch in data.explained_batches(4)])
    assert opened == [paths(root, "test")[position] for position in index.tolist()]


def test_a_later_run_decodes_nothing_and_reads_what_is_asked_for(
    root: Path, tmp_path: Path, opened: list[Path]
) -> None:
    first = load(root, tmp_path, 0)
    first.setup()
    assert len(opened) == sum(COUNTS.values())
    opened.clear()
    later = load(root, tmp_path, 0)
    later.setup()
    assert later.fingerprint() == first.fingerprint()
    assert_close(later.background(5), first.background(5), rtol=0, atol=0)
    assert opened == []


@pytest.mark.parametrize(("cache", "source"), [("cache", Stored), (None, Pictures)])
def test_no_more_than_a_portion_and_a_batch_are_ever_in_memory(
    cache: str | None, source: type[Stored | Pictures], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = 5
    monkeypatch.setattr(contents, "PORTION", several * 90)
    alive, most = weakref.WeakSet[Tensor](), list[int]()

    def watched(kind: type[Stored | Pictures]) -> None:
        original: Callable[[Any, Tensor], Tensor] = kind.__getitem__

        def counting(self: Any, index: Tensor) -> Tensor:
            found = original(self, index)
            alive.add(found)
            most.append(sum(map(len, alive)))
            return found

        monkeypatch.setattr(kind, "__getitem__", counting)

    watched(Pictures)
    watched(Stored)
    data = load(root, cache and tmp_path / cache, 0)
    data.setup()
    data.fingerprint()
    assert isinstance(data.contents.train.inputs, source)
    assert sum(len(batch.inputs) for batch in data.explained_batches(4)) == 6
    assert sum(len(inputs) for inputs, _ in data.batches("train", 4)) == 20
    assert len(data.background(3)[0]) == 3
    assert len(most) > 20
    assert max(most) <= 2 * several  # a portion is let go of when the next has come
    assert len(alive) == 0


@pytest.mark.parametrize(("cache", "memory"), WAYS)
def test_a_damaged_picture_is_named_before_anything_long(
    cache: str | None, memory: int, root: Path, tmp_path: Path
) -> None:
    for split in COUNTS:
        for path in paths(root, split):
            copy = tmp_path / "mine" / path.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    last = paths(tmp_path / "mine", "test")[-1]
    last.write_bytes(last.read_bytes()[:40])
    where = f"{last.parent.name}/{last.name}".replace(".", r"\.")
    with pytest.raises(BenchError, match=f"Expected a picture in test/{where}, got"):
        load(tmp_path / "mine", cache and tmp_path / cache, memory).setup()
    assert {path.suffix for path in tmp_path.glob("cache/*")} <= {".lock"}  # nothing unfinished is left


@pytest.mark.parametrize("more", [0, 1])
def test_as_many_are_held_as_memory_is_given(more: int, tmp_path: Path) -> None:
    train, test = (torch.randint(256, (count, 1, 32, 32)).to(torch.uint8) for count in (1000, 24 + more))
    given = Contents(*(Split(inputs, torch.zeros(len(inputs)).long()) for inputs in (train, test)), ["a"])
    found = Keeping(tmp_path, memory=1).contents("it.pt", lambda: given)
    assert isinstance(found.train.inputs, Tensor) == (more == 0)
    for ours, theirs in ((found.train, train), (found.test, test)):
        assert_close(together(ours.inputs), theirs)
        index = torch.randint(len(theirs), (50,))
        assert_close(ours.inputs[index], theirs[index])


@pytest.mark.parametrize("memory", [-1, 0.5, None, True])
def test_memory_is_a_whole_number(memory: Any, root: Path) -> None:
    with pytest.raises(BenchError, match=r"dataset\.memory to be a whole number >= 0"):
        load(root, None, memory)


def test_kept_bytes_that_are_cut_off_are_made_again_and_missing_ones_are_told(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = load(root, tmp_path, 0).fingerprint()
    [kept] = tmp_path.glob("*.bytes")
    kept.write_bytes(kept.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        data = load(root, tmp_path, 0)
        assert data.fingerprint() == before
    assert "is damaged" in caplog.text
    kept.unlink()
    with pytest.raises(BenchError, match=r"Expected decoded pictures in .*\.bytes, got.*run it again"):
        next(data.explained_batches(2))


def test_what_an_earlier_version_kept_is_replaced(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = load(root, tmp_path, 0).fingerprint()
    [kept] = tmp_path.glob("*.pt")
    split = torch.zeros(2, *SHAPE, dtype=torch.uint8), torch.zeros(2).long()
    torch.save({"train": split, "test": split, "class_names": ["a", "b"]}, kept)
    with caplog.at_level(logging.WARNING):
        assert load(root, tmp_path, 0).fingerprint() == before
    assert not caplog.text


@pytest.mark.parametrize("shape", [(0, 3), (7, 3), (20, 1), (4, 100)])
def test_portions_are_all_samples_in_their_order(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "PORTION", 12)
    x = torch.rand(shape)
    found = list(portions(x))
    assert_close(torch.cat(found), x, rtol=0, atol=0)
    assert max(map(len, found)) <= max(1, 12 // shape[1])
    inputs: Inputs = x
    assert together(inputs) is x


def test_a_picture_in_memory_is_decoded_like_one_in_a_file(root: Path) -> None:
    [path, *_] = paths(root, "train")
    buffer = io.BytesIO(path.read_bytes())
    with Image.open(buffer) as image:
        assert image.size == (8, 9)
    pictures = [Picture("train", "a", path.name, source) for source in (path, path.read_bytes())]
    one, other = Pictures(pictures, SHAPE)[torch.tensor([0, 1])]
    assert_close(one, other)
    assert_close(one, decoded(path))
