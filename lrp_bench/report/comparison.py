"""A sweep's numbers, method by method: means with intervals, ranks, and what must be said beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from lrp_bench.contracts import Measure
from lrp_bench.report.results import Failure, Results
from lrp_bench.report.statistics import interval

RANDOM = "random"
LONGEST = 40  # characters of what tells two rows of one method apart
FAMILIES = ("conservation", "faithfulness", "flipping", "localisation", "sparseness", "robustness", "agreement")


@dataclass(frozen=True)
class Comparison:
    """What the tables show.

    cells: one row per dataset x model x method x measure, columns dataset, model, setting, method, measure, mean, half,
    low, high, n (defined), samples (explained), rank (1 is best; NaN where nothing is compared); methods: the rows,
    `random` last; settings: data sets, with the model where there are several; samples: setting -> samples explained.
    """

    name: str
    cells: pd.DataFrame
    measures: Mapping[str, Measure]
    methods: tuple[str, ...]
    settings: tuple[str, ...]
    samples: Mapping[str, int]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]


def compare(results: Results) -> Comparison:
    """Mean and interval of each method on each setting, and who is best.

    Runs that differ in the seed alone are averaged sample by sample, if they explained the same samples; any others of
    one method are kept apart, as rows of their own. Ranks follow the mean; `random`, undefined means and measures
    without direction have none.
    """
    runs = labelled(results.runs)
    cells = _cells(results.frame.join(runs[["setting", "label"]], on="run"), runs)
    cells["rank"] = _ranks(cells, results.measures)
    return Comparison(
        name=results.name,
        cells=cells,
        measures={name: results.measures[name] for name in _in_order(results.measures)},
        methods=tuple(sorted(dict.fromkeys(runs["label"]), key=lambda label: label == RANDOM)),
        settings=tuple(dict.fromkeys(runs["setting"])),
        samples={str(setting): max(map(len, group)) for setting, group in runs.groupby("setting")["samples"]},
        failures=results.failures,
        notes=(*results.notes, *_on_samples(runs), *_on_seeds(runs), *_on_undefined(cells, results.measures)),
    )


def labelled(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of Results with two more columns: `label`, their row in a table, and `setting`, their column."""
    several = len(set(runs["model"])) > 1
    runs = runs.assign(setting=runs["dataset"] + (", " + runs["model"] if several else ""), label=runs["method"])
    for _, group in runs.groupby(["setting", "method"], sort=False):
        runs.loc[group.index, "label"] = _labels(group)
    return runs


def _labels(group: pd.DataFrame) -> pd.Series[str]:
    """Runs of one method in one setting: one row of the table if they can be averaged, else a row each."""
    if group["seed"].is_unique and len(set(group["samples"])) == 1:
        return group["method"]
    told = pd.Series(_differences(list(group["settings"])), index=group.index)
    apart = told if told.is_unique and (told.str.len() <= LONGEST).all() else group.index.str.slice(0, 8)
    return group["method"] + " (" + apart + ")"


def _differences(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """How configs differ, in words like `epsilon=0.1, seed=2`; the last word of a dotted key names it."""
    keys = list(dict.fromkeys(key for each in settings for key in each))
    differing = [key for key in keys if len({each.get(key) for each in settings}) > 1]
    told = [{key.rpartition(".")[2]: each[key] for key in differing if key in each} for each in settings]
    return [", ".join(f"{key}={value}" for key, value in each.items()) for each in told]


def _cells(frame: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    keys = ["setting", "label", "measure"]
    per_sample = frame.groupby([*keys, "sample"], observed=True, sort=False)["value"].mean().reset_index()
    rows = [
        (*key, found.mean, found.half, found.low, found.high, found.n)
        for key, group in per_sample.groupby(keys, observed=True, sort=False)["value"]
        for found in [interval(group.to_numpy())]
    ]
    columns = ["setting", "method", "measure", "mean", "half", "low", "high", "n"]
    places = runs[["setting", "label", "dataset", "model"]].assign(samples=runs["samples"].map(len))
    places = places.drop_duplicates(["setting", "label"]).rename(columns={"label": "method"})
    return pd.DataFrame(rows, columns=columns).merge(places, on=["setting", "method"], how="left")


def _ranks(cells: pd.DataFrame, measures: Mapping[str, Measure]) -> pd.Series[float]:
    directions = cells["measure"].map({name: measure.higher_is_better for name, measure in measures.items()})
    signed = cells["mean"] * directions.map({True: -1.0, False: 1.0}).astype(float)
    signed = signed.where(cells["method"] != RANDOM)
    groups = signed.groupby([cells["setting"], cells["measure"]], observed=True)
    return groups.rank(method="min").where(groups.transform("count") > 1)  # alone in its column nothing is best


def _in_order(measures: Mapping[str, Measure]) -> list[str]:
    known = {family: place for place, family in enumerate(FAMILIES)}
    places = {name: known.get(measure.family, len(known)) for name, measure in measures.items()}
    families = list(dict.fromkeys(measure.family for measure in measures.values()))
    return sorted(measures, key=lambda name: (places[name], families.index(measures[name].family)))


def _on_samples(runs: pd.DataFrame) -> Iterator[str]:
    for setting, group in runs.groupby("setting", sort=False):
        explained = dict(zip(group["label"], group["samples"], strict=True))
        if len(set(explained.values())) > 1:
            counts = ", ".join(f"{label} {len(samples)}" for label, samples in explained.items())
            yield f"{setting}: the methods explained different samples ({counts}), so their means are not comparable"


def _on_seeds(runs: pd.DataFrame) -> Iterator[str]:
    groups = runs.groupby(["setting", "label"], sort=False)["seed"]
    pooled = {", ".join(sorted(seeds)) for _, seeds in groups if len(seeds) > 1}
    if pooled:
        yield f"averaged, sample by sample, over the seeds {' and '.join(sorted(pooled))}"


def _on_undefined(cells: pd.DataFrame, measures: Mapping[str, Measure]) -> Iterator[str]:
    short = cells[(cells["n"] > 0) & (cells["n"] < cells["samples"])]
    told = short["method"] + " " + short["n"].astype(str) + " of " + short["samples"].astype(str)
    for measure, places in told.groupby(short["measure"], sort=False, observed=True):
        yield f"{measures[str(measure)].title} is undefined for some samples, defined for: {', '.join(places)}"
