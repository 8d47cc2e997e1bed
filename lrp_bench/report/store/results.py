"""A sweep read back, as tidy frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pandas.api.types import union_categoricals

from lrp_bench.contracts import Measure
from lrp_bench.report.store.artifacts import CURVE_COLUMNS, LAYER_COLUMNS, SAMPLE_COLUMNS, Artifacts
from lrp_bench.report.store.maps import Maps

IDENTITY = ("dataset", "model", "method", "seed")
_NONE = np.empty(0, dtype=int)


@dataclass(frozen=True)
class Failure:
    """A run without numbers, and why."""

    dataset: str
    model: str
    method: str
    reason: str


@dataclass(frozen=True)
class Explained:
    """A run with numbers.

    settings: its flattened config; unavailable: what has no numbers, a metric or agreement/<baseline> -> why; seconds:
    of the explanations alone, NaN where these were not taken.
    """

    run: str
    name: str
    dataset: str
    model: str
    method: str
    seed: str
    settings: Mapping[str, str]
    unavailable: Mapping[str, str]
    artifacts: Artifacts
    seconds: float


@dataclass(frozen=True)
class Results:
    """What a sweep measured.

    frame: one row per run x measure x sample, columns run, dataset, model, method, seed, measure, sample, value;
    curves: one row per point, columns run, curve, sample, fraction, value; layers: one row per run x layer x sample,
    from the output down, columns run, layer, sample and the quantities; maps: run id -> the relevance of some of its
    samples, of those that kept it; outputs: one row per run x sample, columns run, sample, label, prediction, score;
    runs: indexed by run id in the order they started, columns name, dataset, model, method, seed, settings (dict),
    samples (frozenset), seconds; notes: what a reader must know.
    """

    sweep: str
    name: str
    runs: pd.DataFrame
    frame: pd.DataFrame
    curves: pd.DataFrame
    layers: pd.DataFrame
    maps: Mapping[str, Maps]
    outputs: pd.DataFrame
    measures: Mapping[str, Measure]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]


def assemble(sweep: str, name: str, explained: Sequence[Explained], failures: Sequence[Failure]) -> Results:
    """One sweep's runs as frames. Numbers of an older definition of a measure are left out, and a note says so."""
    measures = newest(each.artifacts for each in explained)
    return Results(
        sweep=sweep,
        name=name,
        runs=_runs(explained),
        frame=_frame(explained, measures),
        curves=_curves(explained),
        layers=_layers(explained),
        outputs=_outputs(explained),
        maps={each.run: each.artifacts.maps for each in explained if each.artifacts.maps is not None},
        measures=measures,
        failures=tuple(failures),
        notes=(*_outdated(explained, measures), *_unavailable(explained)),
    )


def _runs(explained: Sequence[Explained]) -> pd.DataFrame:
    rows = [
        (each.name, each.dataset, each.model, each.method, each.seed, each.settings, _samples(each), each.seconds)
        for each in explained
    ]
    index = pd.Index([each.run for each in explained], dtype=object)
    return pd.DataFrame(rows, columns=["name", *IDENTITY, "settings", "samples", "seconds"], index=index, dtype=object)


def _samples(each: Explained) -> frozenset[object]:
    return frozenset(each.artifacts.scores["sample"])


def newest(files: Iterable[Artifacts]) -> dict[str, Measure]:
    """Each measure as its latest definition has it."""
    found: dict[str, Measure] = {}
    for each in files:
        for name, measure in each.measures.items():
            if name not in found or measure.version > found[name].version:
                found[name] = measure
    return found


def current(files: Artifacts, newest: Mapping[str, Measure]) -> list[str]:
    """The measures of a run that mean what the newest definition says."""
    return [name for name, measure in files.measures.items() if measure.version == newest[name].version]


def _outdated(explained: Sequence[Explained], newest: Mapping[str, Measure]) -> Iterator[str]:
    for each in explained:
        if older := sorted(set(each.artifacts.measures) - set(current(each.artifacts, newest))):
            yield f"{each.name} was measured by an older definition, left out, of {', '.join(older)}"


def _unavailable(explained: Sequence[Explained]) -> list[str]:
    """One sentence for each baseline that could not explain a model, and each metric that did not apply."""
    told = {
        f"no {what.replace('/', ' with ')} on {each.dataset}, {each.model}: {reason.rstrip('. ')}": None
        for each in explained
        for what, reason in each.unavailable.items()
    }
    return list(told)


def _frame(explained: Sequence[Explained], newest: Mapping[str, Measure]) -> pd.DataFrame:
    """Built from codes: over many samples the repeated names would fill the memory."""
    places = {name: place for place, name in enumerate(newest)}
    runs, measures, samples, values = [_NONE], [_NONE], [_NONE], [np.empty(0)]
    for place, each in enumerate(explained):
        names, scores = current(each.artifacts, newest), each.artifacts.scores
        runs.append(np.full(len(names) * len(scores), place))
        measures.append(np.repeat(np.array([places[name] for name in names], dtype=int), len(scores)))
        samples.append(np.tile(scores["sample"].to_numpy(), len(names)))
        values.append(scores[names].to_numpy(dtype=np.float64).T.ravel())
    codes = np.concatenate(runs)
    columns = {
        key: pd.Categorical([getattr(each, key) for each in explained]).take(codes) for key in ("run", *IDENTITY)
    }
    measure = pd.Categorical(list(newest)).take(np.concatenate(measures))
    return pd.DataFrame(
        {**columns, "measure": measure, "sample": np.concatenate(samples), "value": np.concatenate(values)}
    )


def _curves(explained: Sequence[Explained]) -> pd.DataFrame:
    return _joined(explained, [each.artifacts.curves for each in explained], "curve", CURVE_COLUMNS)


def _layers(explained: Sequence[Explained]) -> pd.DataFrame:
    return _joined(explained, [each.artifacts.layers for each in explained], "layer", LAYER_COLUMNS)


def _joined(
    explained: Sequence[Explained], frames: Sequence[pd.DataFrame], key: str, columns: Sequence[str]
) -> pd.DataFrame:
    """The runs' frames, one behind the other under their run, with run and `key` as categories, made once."""
    kept = {each.run: frame for each, frame in zip(explained, frames, strict=True) if len(frame)}
    runs = pd.CategoricalDtype([each.run for each in explained])
    if not kept:
        return pd.DataFrame({"run": [], **{name: [] for name in columns}}).astype({"run": runs, key: "category"})
    whole = pd.concat([frame.drop(columns=key) for frame in kept.values()], ignore_index=True)
    names = union_categoricals([frame[key].astype("category") for frame in kept.values()], sort_categories=True)
    codes = np.repeat(runs.categories.get_indexer(pd.Index(list(kept))), [len(frame) for frame in kept.values()])
    return pd.DataFrame({"run": pd.Categorical.from_codes(codes, dtype=runs), key: names, **whole})


def _outputs(explained: Sequence[Explained]) -> pd.DataFrame:
    frames = [each.artifacts.scores[[*SAMPLE_COLUMNS]].assign(run=each.run) for each in explained]
    columns = ["run", *SAMPLE_COLUMNS]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)
