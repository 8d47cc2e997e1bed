"""A sweep's numbers, method by method: means with intervals, ranks, tests, and what must be said beside them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lrp_bench.contracts import Measure
from lrp_bench.report.numbers import ranking
from lrp_bench.report.numbers.statistics import Array, intervals_of_blocks, quartiles
from lrp_bench.report.store.conditions import is_random, labelled, on_conditions
from lrp_bench.report.store.results import Failure, Results

FAMILIES = (
    *("conservation", "flipping", "localisation", "mprt", "smprt", "random_logit"),
    *("sparseness", "robustness", "cost", "agreement"),
)
NAMED = 3  # measures of which the same is said, before the others are counted


@dataclass(frozen=True)
class Comparison:
    """What the tables show.

    cells: one row per setting x method x measure, columns setting, dataset, model, method, measure, mean, low, high (of
    the mean's 95 % interval), n (samples defined), q1, median, q3, shown (mean or median, as the measure says), samples
    (explained), seeds (tuple), compared and common (as `ranking.on_common_samples` returns them), rank (1 is best; NaN
    where nothing is compared) and tied (not significantly different from the best);
    pairs: as `ranking.pairs` returns them; mean_ranks: as `ranking.mean_ranks` does; methods: the rows, `random` last;
    settings: data sets, with model and conditions where there are several and the numbers depend on them; samples:
    setting -> samples explained.
    """

    cells: pd.DataFrame
    pairs: pd.DataFrame
    mean_ranks: pd.DataFrame
    measures: Mapping[str, Measure]
    methods: tuple[str, ...]
    settings: tuple[str, ...]
    samples: Mapping[str, int]
    failures: tuple[Failure, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """cube: (runs, measures, samples), NaN where undefined or not measured; measured: (runs, measures)."""

    cube: Array
    measured: NDArray[np.bool_]
    samples: list[object]


def compare(results: Results) -> Comparison:
    """Mean and interval of each method on each setting, who is best, and whether that is more than chance.

    Runs that differ in the seed alone are averaged sample by sample, if they explained the same samples; any others of
    one method are kept apart. Ranks follow what is shown, of the samples that all methods define; `random`, undefined
    numbers and measures without direction have none.
    """
    runs = labelled(results.runs)
    measures = {name: results.measures[name] for name in in_order(results.measures)}
    cells, by_seed = _once(*_cells(tabulate(results.frame, list(runs.index), list(measures)), runs, measures))
    cells, by_sample = ranking.on_common_samples(cells, _averaged(by_seed), measures)
    cells["rank"] = ranking.ranks(cells, measures)
    pairs = ranking.pairs(cells, by_sample, by_seed, measures)
    cells["tied"] = ranking.tied(cells, pairs)
    return Comparison(
        cells=cells,
        pairs=pairs,
        mean_ranks=ranking.mean_ranks(cells, measures),
        measures=measures,
        methods=tuple(sorted(dict.fromkeys(runs["label"]), key=is_random)),
        settings=tuple(dict.fromkeys([*cells["setting"], *runs["setting"]])),
        samples={str(s): int(n) for s, n in cells.groupby("setting", sort=False)["samples"].max().items()},
        failures=results.failures,
        notes=(
            *results.notes,
            *on_conditions(runs),
            *_on_samples(runs),
            *_on_seeds(runs),
            *_on_undefined(cells, measures),
            *_on_common(cells, measures),
            *_on_verdicts(cells, pairs, measures),
        ),
    )


def tabulate(frame: pd.DataFrame, runs: Sequence[str], measures: Sequence[str]) -> Table:
    """The frame of Results as one array, its axes in the order of `runs` and `measures`."""
    samples, places = np.unique(frame["sample"].to_numpy(), return_inverse=True)
    run = pd.Categorical(frame["run"], categories=np.array(runs, dtype=object)).codes
    measure = pd.Categorical(frame["measure"], categories=np.array(measures, dtype=object)).codes
    cube = np.full((len(runs), len(measures), len(samples)), np.nan)
    cube[run, measure, places] = frame["value"].to_numpy(dtype=np.float64)
    measured = np.zeros(cube.shape[:2], dtype=bool)
    measured[run, measure] = True
    return Table(cube, measured, samples.tolist())


def _cells(table: Table, runs: pd.DataFrame, measures: Mapping[str, Measure]) -> tuple[pd.DataFrame, list[Array]]:
    """The numbers of every cell, and its values, (seeds, samples) each."""
    seeds = runs["seed"].to_numpy()
    groups = [
        np.array(sorted(places, key=lambda place: seeds[place]))
        for places in runs.groupby(["setting", "label"], sort=False).indices.values()
    ]
    measured = [np.any(table.measured[places], axis=0) for places in groups]
    blocks = [
        table.cube[places][:, which].transpose(1, 0, 2)  # (measures, seeds, samples)
        for places, which in zip(groups, measured, strict=True)
    ]
    by_seed = [cell for block in blocks for cell in block]
    first = runs.iloc[[places[0] for places in groups]].assign(samples=lambda first: first["samples"].map(len))
    first["seeds"] = pd.Series([tuple(seeds[places]) for places in groups], index=first.index, dtype=object)
    keys = first[["setting", "dataset", "model", "label", "samples", "seeds"]].rename(columns={"label": "method"})
    cells = keys.loc[np.repeat(keys.index, [which.sum() for which in measured])].reset_index(drop=True)
    cells["measure"] = [name for which in measured for name, here in zip(measures, which, strict=True) if here]
    for name, column in intervals_of_blocks(blocks)._asdict().items():
        cells[name] = column
    cells[["q1", "median", "q3"]] = np.array([quartiles(cell.mean(0)) for cell in by_seed]).reshape(-1, 3)
    by_median = cells["measure"].map({name: measure.summary == "median" for name, measure in measures.items()})
    return cells.assign(shown=cells["mean"].where(~by_median.astype(bool), cells["median"])), by_seed


def _averaged(by_seed: Sequence[Array]) -> Array:
    """(cells, samples)."""
    return np.array([cell.mean(0) for cell in by_seed]) if by_seed else np.empty((0, 0))


def _once(cells: pd.DataFrame, by_seed: list[Array]) -> tuple[pd.DataFrame, list[Array]]:
    """One cell in place of several where no value of a measure depends on the conditions beside data set and model."""
    told = cells.assign(values=[cell.mean(0).tobytes() for cell in by_seed])
    groups = told.groupby(["dataset", "model", "measure"], observed=True, sort=False)
    settings = groups["setting"].transform("nunique")
    alike = told.groupby(["dataset", "model", "measure", "method"], observed=True)
    same = (alike["values"].transform("nunique") == 1) & (alike["setting"].transform("nunique") == settings)
    same = (settings > 1) & same.groupby([cells[key] for key in ("dataset", "model", "measure")]).transform("all")
    several = len(set(cells["model"])) > 1
    base = cells["dataset"] + ", " + cells["model"] if several else cells["dataset"]
    cells = cells.assign(setting=cells["setting"].where(~same, base))
    kept = ~cells.duplicated(["setting", "method", "measure"])
    return cells[kept].reset_index(drop=True), [by_seed[place] for place in np.flatnonzero(kept)]


def in_order(measures: Mapping[str, Measure]) -> list[str]:
    """Names of measures as tables show them: families together."""
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
    if any("seed" in factors for factors in runs["factors"]):
        yield (
            "The seeds explained different samples and are columns of their own; one dataset.seed for all of them "
            "would let them be averaged"
        )


def _on_seeds(runs: pd.DataFrame) -> Iterator[str]:
    groups = runs.groupby(["setting", "label"], sort=False)["seed"]
    pooled = {", ".join(sorted(seeds)) for _, seeds in groups if len(seeds) > 1}
    if pooled:
        yield f"Averaged, sample by sample, over the seeds {' and '.join(sorted(pooled))}"
        yield (
            "Over several seeds a difference is significant only if its 95 % bootstrap interval over seeds and samples "
            "leaves out 0 as well"
        )
    contest = runs[~runs["label"].map(is_random).astype(bool)]
    for setting, group in contest.groupby("setting", sort=False):
        seeds = {", ".join(sorted(each["seed"])) for _, each in group.groupby("label", sort=False)}
        if len(seeds) > 1:
            yield f"{setting}: methods of other seeds ({' and '.join(sorted(seeds))}) are never told apart"


def _on_undefined(cells: pd.DataFrame, measures: Mapping[str, Measure]) -> Iterator[str]:
    short = cells[(cells["n"] > 0) & (cells["n"] < cells["samples"])]
    told = short["method"] + " " + short["n"].astype(str) + " of " + short["samples"].astype(str)
    for titles, places in _alike(told.groupby(short["measure"], sort=False, observed=True), measures):
        yield f"{titles} undefined for some samples, defined for: {places}"


def _on_common(cells: pd.DataFrame, measures: Mapping[str, Measure]) -> Iterator[str]:
    """Where some method defines fewer samples than another, so that all are compared by fewer than are shown."""
    directed = cells["measure"].map({name: each.higher_is_better is not None for name, each in measures.items()})
    contest = cells[directed.astype(bool) & ~cells["method"].map(is_random).astype(bool) & (cells["n"] > 0)]
    short = contest[contest["common"] < contest["n"]].drop_duplicates(["setting", "measure"])
    told = short["setting"].astype(str) + " " + short["common"].astype(str) + " of " + short["samples"].astype(str)
    for titles, places in _alike(told.groupby(short["measure"], sort=False, observed=True), measures):
        yield f"{titles} ranked and tested by the samples that all define: {places}"


def _alike(
    told: Iterable[tuple[Hashable, pd.Series[str]]], measures: Mapping[str, Measure]
) -> Iterator[tuple[str, str]]:
    """What is told of measures, said once for those of which it is the same: (`A and B are`, what is told)."""
    titles: dict[str, list[str]] = {}
    for measure, places in told:
        titles.setdefault(", ".join(places), []).append(measures[str(measure)].title)
    for same, names in titles.items():
        more = len(names) - NAMED
        words = names if more < 2 else [*names[:NAMED], f"{more} more measures"]
        yield f"{', '.join(words[:-1])} and {words[-1]} are" if words[1:] else f"{words[0]} is", same


def _on_verdicts(cells: pd.DataFrame, pairs: pd.DataFrame, measures: Mapping[str, Measure]) -> Iterator[str]:
    """Pairs with one of the best, of which the shown numbers and the test name opposite winners."""
    best = set(cells[cells["rank"] == 1][["setting", "measure", "method"]].itertuples(index=False, name=None))
    found = pairs[pairs["verdict"] == ranking.DISAGREE]
    for setting, measure, a, b in found[["setting", "measure", "a", "b"]].astype(str).to_numpy():
        if {(setting, measure, a), (setting, measure, b)} & best:
            yield (
                f"{measures[measure].title}, {setting}: {a} and {b} count as tied, since the "
                f"{measures[measure].summary} and the test, sample by sample, name opposite winners"
            )
