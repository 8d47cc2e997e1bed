"""The relevance of some of a run's samples, and what is needed to draw it, as one file that needs no pickle."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FILE = "maps.npz"


@dataclass(frozen=True)
class Maps:
    """Samples and their relevance, as pictures show them.

    sample, label, prediction, score: (n,), the score in `unit`; titles: (n,), label and prediction in words; inputs:
    (n, channels, height, width) in [0, 1], (n, features) or the ids (n, length); relevance: float32, in `unit`, (n,
    height, width) with channels summed, (n, features) or (n, length); features: the names of a table's columns; words:
    (n, length) of sentences, whose ends are filled up with empty ones. What does not apply is empty.
    """

    sample: NDArray[np.int64]
    label: NDArray[Any]
    prediction: NDArray[Any]
    score: NDArray[np.floating[Any]]
    titles: NDArray[np.str_]
    inputs: NDArray[Any]
    relevance: NDArray[np.float32]
    unit: str = ""
    features: tuple[str, ...] = ()
    words: NDArray[np.str_] | None = None

    @property
    def kind(self) -> Literal["text", "table", "image"]:
        """How these maps are drawn."""
        if self.words is not None:
            return "text"
        return "table" if self.relevance.ndim == 2 else "image"

    def sentence(self, place: int) -> tuple[str, ...]:
        """The words of one sample."""
        return () if self.words is None else tuple(word for word in self.words[place].tolist() if word)


def filled(sentences: Sequence[Sequence[str]]) -> NDArray[np.str_]:
    """Sentences as one array (n, longest), filled up with empty words.

    >>> filled([("a", "b"), ("c",)]).tolist()
    [['a', 'b'], ['c', '']]
    """
    longest = max(map(len, sentences), default=0)
    return np.array([[*words, *[""] * (longest - len(words))] for words in sentences], dtype=np.str_)


def write(maps: Maps, folder: Path) -> Path:
    """Write a run's maps."""
    arrays = {name: value for name, value in vars(maps).items() if value is not None}
    np.savez_compressed(folder / FILE, allow_pickle=False, **{name: np.asarray(each) for name, each in arrays.items()})
    return folder / FILE


def read(folder: Path) -> Maps | None:
    """Read a run's maps; None where it kept none. Raises OSError or ValueError for a damaged file."""
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            found: dict[str, Any] = {each.name: file[each.name] for each in fields(Maps) if each.name in file.files}
        found |= {"unit": str(found["unit"]), "features": tuple(found["features"].tolist())}
        return _checked(Maps(**found))
    except (zipfile.BadZipFile, KeyError, TypeError, EOFError) as error:
        raise ValueError(f"{FILE} is damaged: {error}") from error


def _checked(maps: Maps) -> Maps:
    per_sample = (maps.label, maps.prediction, maps.score, maps.titles, maps.inputs, maps.relevance)
    if any(len(each) != len(maps.sample) for each in per_sample):
        raise ValueError(f"{FILE} has {[len(each) for each in per_sample]} rows for {len(maps.sample)} samples")
    return maps
