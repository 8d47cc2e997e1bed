"""Picture files with the names and shapes of the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def write_idx(path: Path, values: np.ndarray[Any, np.dtype[np.uint8]]) -> None:
    """One IDX file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
    path.write_bytes(header + values.tobytes())


def write_mnist(root: Path, name: str) -> dict[str, np.ndarray[Any, np.dtype[np.uint8]]]:
    """20 pictures for training and 10 for testing, of ten classes."""
    draw = np.random.default_rng(0)
    written = {}
    for split, size in (("train", 20), ("t10k", 10)):
        pictures = draw.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        write_idx(root / name / "raw" / f"{split}-images-idx3-ubyte", pictures)
        write_idx(root / name / "raw" / f"{split}-labels-idx1-ubyte", np.arange(size, dtype=np.uint8) % 10)
        written[split] = pictures
    return written


def write_cifar10(root: Path) -> None:
    """Folders of ten classes, two pictures each for training and one for testing."""
    draw = np.random.default_rng(0)
    for split, count in (("train", 2), ("test", 1)):
        for each in range(10 * count):
            path = root / "cifar10" / split / str(each % 10) / f"{each}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
