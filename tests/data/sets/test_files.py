from __future__ import annotations

import hashlib
import io
import logging
import pickle
import tarfile
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from pictures import write_mnist
from PIL import Image
from scipy.ndimage import binary_dilation
from torchvision import datasets

from lrp_bench.contracts import BenchError
from lrp_bench.data import CIFAR10, MNIST, FashionMNIST, ImageFolder

COMMON: dict[str, Any] = {"mean": 0.5, "std": 0.5, "validation": 0.25, "batch_size": 4, "samples": 2, "seed": 0}
RGB: dict[str, Any] = {"shape": [3, 32, 32], "classes": 2, **COMMON}


def png(level: int, size: tuple[int, int] = (32, 32)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (level, 0, 255 - level)).save(buffer, "PNG")
    return buffer.getvalue()


def write_pictures(folder: Path, size: tuple[int, int] = (32, 32)) -> None:
    """Class "ant" holds levels below 100, class "bee" those above; the file's name is its position in the class."""
    for split, each in (("train", 4), ("test", 3)):
        for base, name in ((0, "ant"), (100, "bee")):
            for number in range(each):
                path = folder / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png(base + number, size))


def check_pictures(data: CIFAR10 | ImageFolder) -> None:
    assert data.class_names == ["ant", "bee"]
    assert data.contents.train.labels.tolist() == [0] * 4 + [1] * 4
    levels = torch.tensor([0, 1, 2, 100, 101, 102], dtype=torch.uint8)
    expected = torch.stack([levels, torch.zeros_like(levels), 255 - levels], dim=1)
    assert torch.equal(data.contents.test.inputs[:, :, 0, 0], expected)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise URLError("no network in this test")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", refuse)
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", refuse)


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
def test_idx_files_are_read_with_the_official_split(kind: type[MNIST], tmp_path: Path) -> None:
    written = write_mnist(tmp_path, kind.__name__)
    data = kind(root=tmp_path, shape=[1, 28, 28], classes=10, **COMMON)
    assert torch.equal(data.contents.train.inputs[:, 0], torch.from_numpy(written["train"]))
    assert torch.equal(data.contents.test.inputs[:, 0], torch.from_numpy(written["t10k"]))
    assert data.contents.test.labels.tolist() == list(range(10))
    assert data.class_names[9] == ("9" if kind is MNIST else "Ankle boot")
    inputs = next(data.explained_batches(2)).inputs
    torch.testing.assert_close(data.denormalize(inputs) * 255, data.contents.test.inputs[data.indices].float())


def test_padding_is_black_and_told_to_the_shape(tmp_path: Path) -> None:
    written = write_mnist(tmp_path, "MNIST")
    data = MNIST(root=tmp_path, padding=2, shape=[1, 32, 32], classes=10, **COMMON)
    stored = data.contents.train.inputs[:, 0]
    assert torch.equal(stored[:, 2:-2, 2:-2], torch.from_numpy(written["train"]))
    assert int(stored.sum()) == int(written["train"].sum())
    with pytest.raises(BenchError, match=r"\[1, 32, 32\]: set dataset\.shape"):
        _ = MNIST(root=tmp_path, padding=2, shape=[1, 28, 28], classes=10, **COMMON).contents


def test_the_mask_holds_the_strokes_and_what_touches_them(tmp_path: Path) -> None:
    written = write_mnist(tmp_path, "MNIST")
    data = MNIST(root=tmp_path, padding=1, truth="strokes", shape=[1, 30, 30], classes=10, **COMMON)
    expected = binary_dilation(written["t10k"] >= 128, np.ones((1, 3, 3)))
    assert data.contents.train.mask is None
    assert data.contents.test.mask is not None
    assert torch.equal(data.contents.test.mask[:, 1:-1, 1:-1], torch.from_numpy(expected))
    with pytest.raises(BenchError, match=r"dataset\.truth.*strokes"):
        MNIST(root=tmp_path, truth="box", shape=[1, 28, 28], classes=10, **COMMON)


@pytest.mark.usefixtures("offline")
def test_missing_files_are_named_with_where_and_how(tmp_path: Path) -> None:
    write_mnist(tmp_path, "MNIST")
    (tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(BenchError, match=r"missing: t10k-labels-idx1-ubyte.*no network.*LRP_BENCH_DATA") as caught:
        MNIST(root=tmp_path, shape=[1, 28, 28], classes=10, **COMMON).setup()
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(BenchError, match="cifar-10-batches-py"):
        CIFAR10(root=tmp_path, cache=tmp_path, **RGB).setup()


@pytest.mark.usefixtures("offline")
def test_a_data_directory_that_cannot_be_made_is_an_error_of_the_same_kind(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(BenchError, match="Expected MNIST"):
        MNIST(root=tmp_path / "file" / "data", shape=[1, 28, 28], classes=10, **COMMON).setup()


def test_truncated_files_are_an_error(tmp_path: Path) -> None:
    write_mnist(tmp_path, "MNIST")
    path = tmp_path / "MNIST/raw/train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(BenchError, match="Expected whole IDX files"):
        MNIST(root=tmp_path, shape=[1, 28, 28], classes=10, **COMMON).setup()


def test_cifar10_as_torchvision_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    pictures = np.random.default_rng(0).integers(0, 256, (6, 3072), dtype=np.uint8)
    contents = {
        "data_batch_1": {"data": pictures[:4], "labels": [0, 1, 0, 1]},
        "test_batch": {"data": pictures[4:], "labels": [1, 0]},
        "batches.meta": {"label_names": ["ant", "bee"]},
    }
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
    sums = {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in contents}
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)

    data = CIFAR10(root=tmp_path, cache=tmp_path / "cache", **RGB)
    assert torch.equal(data.contents.train.inputs.flatten(1), torch.from_numpy(pictures[:4]))
    assert torch.equal(data.contents.test.inputs.flatten(1), torch.from_numpy(pictures[4:]))
    assert data.contents.test.labels.tolist() == [1, 0]
    assert data.class_names == ["ant", "bee"]

    (folder / "test_batch").write_bytes(b"damaged")
    with pytest.raises(BenchError, match="Expected CIFAR-10 whole"):
        CIFAR10(root=tmp_path, cache=tmp_path / "cache", **RGB).setup()


def test_cifar10_as_folders_and_packed_are_the_same(tmp_path: Path) -> None:
    write_pictures(tmp_path / "folders" / "cifar10")
    (tmp_path / "packed").mkdir()
    with tarfile.open(tmp_path / "packed" / "cifar10.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "folders" / "cifar10", "cifar10")
    cache = tmp_path / "cache"
    for form in ("folders", "packed"):
        check_pictures(CIFAR10(root=tmp_path / form, cache=cache, **RGB))
    assert sorted(path.name for path in (tmp_path / "packed").iterdir()) == ["cifar10.tar.gz"]
    assert len(list(cache.glob("*.pt"))) == 2
    assert not list(cache.glob("*.unfinished"))


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "cifar10.tar.gz").write_bytes(b"no archive")
    with pytest.raises(BenchError, match=r"cifar10\.tar\.gz to be a whole tar archive"):
        CIFAR10(root=tmp_path, cache=tmp_path / "cache", **RGB).setup()


def test_image_folder_sorts_resizes_and_converts(tmp_path: Path) -> None:
    write_pictures(tmp_path / "mine", size=(50, 20))
    (tmp_path / "mine" / "train" / "ant" / "notes.txt").write_text("no picture")
    check_pictures(ImageFolder(root=tmp_path / "mine", cache=tmp_path / "cache", **RGB))
    grey = ImageFolder(root=tmp_path / "mine", cache=tmp_path / "cache", **{**RGB, "shape": [1, 8, 4]})
    assert grey.contents.test.inputs.shape == (6, 1, 8, 4)


def test_decoded_pictures_are_kept_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "mine"
    write_pictures(root)

    def read() -> ImageFolder:
        data = ImageFolder(root=root, cache=tmp_path / "cache", **RGB)
        data.setup()
        return data

    before = read().fingerprint()
    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", lambda *_: pytest.fail("decoded again"))
        assert read().fingerprint() == before
    (root / "train" / "bee" / "9.png").write_bytes(png(109))
    assert len(read().contents.train.labels) == 9
    assert read().fingerprint() != before


def test_a_damaged_cache_is_made_again_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_pictures(tmp_path / "mine")
    check_pictures(ImageFolder(root=tmp_path / "mine", cache=tmp_path / "cache", **RGB))
    [kept] = (tmp_path / "cache").glob("*.pt")
    kept.write_bytes(kept.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        check_pictures(ImageFolder(root=tmp_path / "mine", cache=tmp_path / "cache", **RGB))
    assert "damaged" in caplog.text
    caplog.clear()
    check_pictures(ImageFolder(root=tmp_path / "mine", cache=tmp_path / "cache", **RGB))
    assert not caplog.text


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    write_pictures(tmp_path / "mine")
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(BenchError, match=r"Expected room to write in .*file/cache"):
        ImageFolder(root=tmp_path / "mine", cache=tmp_path / "file" / "cache", **RGB).setup()


def test_wrong_folders_say_what_lies_there(tmp_path: Path) -> None:
    root, cache = tmp_path / "mine", tmp_path / "cache"
    with pytest.raises(
        BenchError, match=r"Expected train/<class>/<picture>.*in .*mine, got no folder of a class in .*train"
    ):
        ImageFolder(root=root, cache=cache, **{**RGB, "classes": 0})
    (root / "train" / "ant").mkdir(parents=True)
    with pytest.raises(BenchError, match=r"Expected train/<class>/<picture>.*got 0 pictures"):
        ImageFolder(root=root, cache=cache, **RGB).setup()
    write_pictures(root)
    with pytest.raises(BenchError, match=r"Expected 3 classes, got 2 \(ant, bee\)"):
        ImageFolder(root=root, cache=cache, **{**RGB, "classes": 3}).setup()
    with pytest.raises(BenchError, match=r"shape \[1 or 3, height, width\].*got \[2, 8, 8\]"):
        ImageFolder(root=root, cache=cache, **{**RGB, "shape": [2, 8, 8]}).setup()
    (root / "test" / "cow").mkdir()
    (root / "test" / "cow" / "0.png").write_bytes(png(7))
    with pytest.raises(BenchError, match="got cow only in test"):
        ImageFolder(root=root, cache=cache, **RGB).setup()
    (root / "test" / "cow" / "0.png").unlink()
    (root / "test" / "ant" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(BenchError, match=r"Expected a picture in test/ant/bad\.png"):
        ImageFolder(root=root, cache=cache, **RGB).setup()
