"""The same samples under every method, for the sample browser of the page."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from lrp_bench.contracts import Measure
from lrp_bench.report.pages.web import data_uri
from lrp_bench.report.store.conditions import is_random, labelled
from lrp_bench.report.store.maps import Maps
from lrp_bench.report.store.results import Results
from lrp_bench.report.tables.layout import ARROWS, unique_titles

ROOM = 9_000_000  # characters of all pictures in the browser
CRISP = 64  # up to this side the pixels of a picture stay squares
ENDS = np.array([(33, 102, 172), (255, 255, 255), (178, 24, 43)])  # against, nothing, for
UNDEFINED = (204, 204, 204)
ZERO, STEPS = 127, 254  # palette: 0 to 254 from blue by white to red, then what is undefined

Scores = Mapping[tuple[str, Hashable], Mapping[str, str]]


@dataclass(frozen=True)
class Mark:
    """A word or a feature; share: of the scale, in [-1, 1], NaN where undefined; value: the input's own."""

    name: str
    share: float
    relevance: float
    value: str = ""


@dataclass(frozen=True)
class Card:
    """One sample under one method.

    picture: an address of a PNG, or marks. limit: the largest |relevance|, the end of this map's scale; share: of the
    largest of all methods. scores: title -> number of each measure, of this sample.
    """

    method: str
    limit: float
    scores: Mapping[str, str]
    picture: str = ""
    marks: tuple[Mark, ...] = ()
    share: float = 1.0


@dataclass(frozen=True)
class Sample:
    """One sample. title: label and prediction; input: an address of a PNG; missing: the methods without its map."""

    id: str
    index: int
    title: str
    score: str
    input: str
    cards: tuple[Card, ...]
    missing: tuple[str, ...]

    @property
    def common(self) -> float:
        """The end of the scale that all maps of the sample share."""
        return max(card.limit for card in self.cards)

    @property
    def measures(self) -> list[str]:
        """The titles of what some method has a score for."""
        return list(dict.fromkeys(title for card in self.cards for title in card.scores))


@dataclass(frozen=True)
class Gallery:
    """The samples of one setting. explained: how many there are maps of, shown or not; seed: whose maps these are."""

    setting: str
    kind: str
    unit: str
    crisp: bool
    seed: str
    explained: int
    samples: tuple[Sample, ...]


def galleries(results: Results, measures: Mapping[str, Measure]) -> list[Gallery]:
    """A gallery for each setting whose runs kept their maps; of several seeds the first one's.

    measures: whose numbers stand beside the maps. Where the pictures would take more than ROOM characters, the last
    samples are left out.
    """
    if not results.maps:
        return []
    runs = labelled(results.runs)
    runs = runs[runs.index.isin(list(results.maps))]
    runs = runs.sort_values("label", key=lambda labels: labels.map(is_random), kind="stable")
    groups = [(str(name), group) for name, group in runs.groupby("setting", sort=False)]
    scores = _scores(results, measures)
    return [_gallery(place, *named, results.maps, scores, ROOM // len(groups)) for place, named in enumerate(groups)]


def _scores(results: Results, measures: Mapping[str, Measure]) -> Scores:
    """(run, sample) -> title and number of each measure."""
    arrows = {name: ARROWS[measure.higher_is_better] for name, measure in measures.items()}
    titles = {
        name: f"{title}\N{NO-BREAK SPACE}{arrows[name]}".rstrip() for name, title in unique_titles(measures).items()
    }
    shown = {sample for maps in results.maps.values() for sample in maps.sample.tolist()}
    frame = results.frame
    frame = frame[frame["measure"].isin(list(titles)) & frame["sample"].isin(shown)]
    found: dict[tuple[str, Hashable], dict[str, str]] = {}
    for run, sample, name, value in frame[["run", "sample", "measure", "value"]].itertuples(index=False):
        if not np.isnan(value):
            found.setdefault((run, sample), {})[name] = f"{value:.3g}"
    return {key: {titles[name]: told[name] for name in measures if name in told} for key, told in found.items()}


def _gallery(
    place: int, setting: str, runs: pd.DataFrame, maps: Mapping[str, Maps], scores: Scores, room: int
) -> Gallery:
    seed = str(runs["seed"].iloc[0])
    of_seed = {label: run for run, label in runs[runs["seed"] == seed]["label"].items()}
    chosen = {str(label): (str(run), maps[str(run)]) for label, run in of_seed.items()}
    first = next(iter(chosen.values()))[1]
    every = list(dict.fromkeys(sample for _, each in chosen.values() for sample in each.sample.tolist()))
    side = max(first.relevance.shape[1:])
    samples = tuple(_fitting((_sample(f"sample-{place}-{index}", index, chosen, scores) for index in every), room))
    return Gallery(setting, first.kind, first.unit, side <= CRISP, seed, len(every), samples)


def _fitting(samples: Iterator[Sample], room: int) -> Iterator[Sample]:
    for sample in samples:
        room -= len(sample.input) + sum(len(card.picture) + 100 * len(card.marks) for card in sample.cards)
        if room < 0:
            return
        yield sample


def _sample(name: str, index: int, chosen: Mapping[str, tuple[str, Maps]], scores: Scores) -> Sample:
    there = {
        label: (run, maps, int(np.flatnonzero(maps.sample == index)[0]))
        for label, (run, maps) in chosen.items()
        if index in maps.sample
    }
    _, first, place = next(iter(there.values()))
    cards = [_card(label, maps, place, scores.get((run, index), {})) for label, (run, maps, place) in there.items()]
    common = max(card.limit for card in cards)
    return Sample(
        id=name,
        index=index,
        title=", ".join(str(first.titles[place]).splitlines()),
        score=f"{first.score[place]:.3g} {first.unit}".rstrip(),
        input=_input(first.inputs[place]) if first.kind == "image" else "",
        cards=tuple(replace(card, share=card.limit / common if common else 1.0) for card in cards),
        missing=tuple(label for label in chosen if label not in there),
    )


def _card(method: str, maps: Maps, place: int, scores: Mapping[str, str]) -> Card:
    relevance = maps.relevance[place].astype(np.float64)
    words = maps.sentence(place)
    relevance = relevance[: len(words)] if words else relevance
    finite = np.abs(relevance[np.isfinite(relevance)])
    limit = float(finite.max()) if finite.size else 0.0
    shares = relevance / (limit or 1.0)
    if maps.kind == "image":
        return Card(method, limit, scores, picture=_picture(shares))
    names = words or maps.features or tuple(map(str, range(len(relevance))))
    inputs = [""] * len(names) if words else [f"{value:.4g}" for value in maps.inputs[place].tolist()]
    told = zip(names, shares.tolist(), relevance.tolist(), inputs, strict=True)
    return Card(method, limit, scores, marks=tuple(Mark(*each) for each in told))


def _picture(shares: NDArray[np.floating[Any]]) -> str:
    """A map as a PNG of 255 colours. The colours are linear in the relevance, so paler is exactly less."""
    shades = np.where(np.isfinite(shares), np.rint(ZERO * (1 + np.clip(shares, -1, 1))), STEPS + 1)
    picture = Image.fromarray(shades.astype(np.uint8))
    picture.putpalette(_palette())
    return _png(picture)


def _palette() -> list[int]:
    steps = np.linspace(0, 2, STEPS + 1)
    colors = np.stack([np.interp(steps, range(3), ENDS[:, channel]) for channel in range(3)], 1)
    return [*np.rint(colors).astype(int).ravel().tolist(), *UNDEFINED]


def _input(values: NDArray[Any]) -> str:
    """(channels, height, width) in [0, 1], grey unless there are three channels; (height, width) on its own scale."""
    if values.ndim == 2:
        low, high = values.min(), values.max()
        values = ((values - low) / (high - low or 1.0))[None]
    levels = np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)
    return _png(Image.fromarray(levels.transpose(1, 2, 0) if len(levels) == 3 else levels[0]))


def _png(picture: Image.Image) -> str:
    file = BytesIO()
    picture.save(file, "PNG", optimize=True)
    return data_uri(file.getvalue(), "image/png")
