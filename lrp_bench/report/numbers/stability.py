"""Does the order of the methods depend on the conditions they were measured under: imputer, seed, data set, model?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lrp_bench.contracts import Measure
from lrp_bench.report.numbers.comparison import Table, in_order, tabulate
from lrp_bench.report.numbers.statistics import Array, bootstrap_ends, medians, shares
from lrp_bench.report.store.conditions import is_random, labelled
from lrp_bench.report.store.results import Results

ALL = "all"
SUMMARY = ["measure", "over", "distance", "low", "high", "conditions", "pairs"]
DISTANCES = ["measure", "a", "b", "differ_in", "distance"]


@dataclass(frozen=True)
class Stability:
    """How far apart the rankings of the same methods are under different conditions.

    summary: columns measure, over (what the two conditions of a pair differ in and nothing else; `all`: any two),
    distance (mean over pairs), low, high (its 95 % bootstrap interval over samples), conditions and pairs (how many);
    distances: every pair, columns measure, a, b, differ_in, distance; conditions and methods in the order of the sweep;
    left_out: methods that were not measured under all conditions.
    """

    summary: pd.DataFrame
    distances: pd.DataFrame
    measures: Mapping[str, Measure]
    conditions: tuple[str, ...]
    methods: tuple[str, ...]
    left_out: tuple[str, ...]


class _Condition(NamedTuple):
    """One way of measuring. runs: method -> its place among the runs; samples: those that every method explained."""

    name: str
    factors: Mapping[str, str]
    runs: Mapping[str, int]
    samples: frozenset[object]


def stability(results: Results, *, resample: bool = True) -> Stability | None:
    """Normalised Kendall distances between method rankings, for each measure with a direction.

    None where the sweep does not hold two conditions and two methods measured under both; `random` is no contestant. A
    measure that comes out the same under all conditions (it has no imputer, say) is left out, and so is one that some
    method lacks.

    The interval draws samples, the same for all conditions that explained the same ones. Where methods are close,
    resampled rankings are further apart than the original ones, and the interval leans upwards. resample: False leaves
    it out, NaN, in a fraction of the time.
    """
    conditions = _conditions(results.runs)
    methods = [m for m in (conditions[0].runs if conditions else ()) if all(m in each.runs for each in conditions)]
    if len(conditions) < 2 or len(methods) < 2:
        return None
    measures = {name: results.measures[name] for name in in_order(results.measures)}
    table = tabulate(results.frame, list(results.runs.index), list(measures))
    differ = [_differ_in(a, b) for a, b in combinations(conditions, 2)]
    rows, matrices = [], []
    for place, (name, measure) in enumerate(measures.items()):
        blocks = _blocks(table, place, conditions, methods) if measure.higher_is_better is not None else None
        if blocks is None:
            continue
        distances = kendall_distances(_scores(blocks, measure.summary))
        matrices.append(_matrix(name, conditions, differ, distances))
        rows += [(name, *row) for row in _summary(blocks, measure.summary, differ, distances, resample=resample)]
    summary = pd.DataFrame(rows, columns=SUMMARY)
    everyone = dict.fromkeys(method for each in conditions for method in each.runs)
    return Stability(
        summary,
        pd.concat(matrices, ignore_index=True) if matrices else pd.DataFrame(columns=DISTANCES),
        {name: measures[name] for name in dict.fromkeys(summary["measure"])},
        tuple(each.name for each in conditions),
        tuple(methods),
        tuple(method for method in everyone if method not in methods),
    )


def kendall_distances(scores: Array) -> Array:
    """How far apart rankings are: the share of pairs of methods in another order, in [0, 1].

    A pair that is tied in one ranking alone counts half, one that is tied in both not at all (Fagin et al. 2006, K with
    p = 1/2). Without ties it is (1 - tau) / 2 of Kendall's tau.

    Args:
        scores: (conditions, methods, ...), at least two of each.

    Returns:
        (pairs of conditions, ...), in the order of itertools.combinations.

    >>> kendall_distances(np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [3.0, 2.0, 2.0]])).round(3)
    array([1.   , 0.167, 0.833])
    """
    a, b = np.triu_indices(len(scores), 1)
    pairs = list(combinations(range(scores.shape[1]), 2))
    apart = np.zeros((len(a), *scores.shape[2:]))
    for one, other in pairs:  # one pair at a time: over many resamples all at once would fill the memory
        order = np.sign(scores[:, one] - scores[:, other])
        apart += np.abs(order[a] - order[b])
    return apart / (2 * len(pairs))


def _conditions(runs: pd.DataFrame) -> list[_Condition]:
    """Settings, and within them seeds, in the order of the sweep."""
    runs = labelled(runs).assign(place=range(len(runs)))
    runs = runs[~runs["label"].map(is_random).astype(bool)]
    several = len(set(runs["seed"])) > 1
    found = []
    for (setting, seed), group in runs.groupby(["setting", "seed"], sort=False):
        factors = dict(group["factors"].iloc[0])
        told = several and "seed" not in factors
        places = dict(zip(group["label"], group["place"], strict=True))
        samples = frozenset.intersection(*group["samples"])
        name = f"{setting}, seed={seed}" if told else str(setting)
        found.append(_Condition(name, factors | {"seed": seed} if told else factors, places, samples))
    return found


def _differ_in(a: _Condition, b: _Condition) -> str:
    keys = dict.fromkeys((*a.factors, *b.factors))
    return " and ".join(key for key in keys if a.factors.get(key) != b.factors.get(key))


def _blocks(
    table: Table, measure: int, conditions: Sequence[_Condition], methods: Sequence[str]
) -> list[tuple[list[int], Array]] | None:
    """Values by set of samples: (places of the conditions, (conditions, methods, samples)), defined for all of them.

    None where there is nothing to compare.
    """
    groups: dict[object, list[int]] = {}
    for place, each in enumerate(conditions):
        groups.setdefault((each.factors["dataset"], each.samples), []).append(place)
    blocks = []
    for places in groups.values():
        samples = conditions[places[0]].samples
        columns = np.fromiter((sample in samples for sample in table.samples), dtype=bool)
        rows = [[conditions[place].runs[method] for method in methods] for place in places]
        values = table.cube[:, measure][rows][..., columns]
        blocks.append((places, values[..., np.isfinite(values).all((0, 1))]))
    first = blocks[0][1]
    same = len(blocks) == 1 and bool(np.all(first == first[:1]))
    return None if same or any(block.shape[2] == 0 for _, block in blocks) else blocks


def _scores(blocks: Sequence[tuple[list[int], Array]], summary: str, *drawn: NDArray[np.int64]) -> Array:
    """What the methods are ranked by: (conditions, methods), or (conditions, methods, resamples) of drawn samples."""
    sizes = [block.shape[2] for _, block in blocks]
    if summary == "median":
        each = [medians(block, d) for (_, block), d in zip(blocks, drawn, strict=True)] if drawn else None
        parts = each or [np.median(block, axis=-1) for _, block in blocks]
    elif drawn:
        weights = [shares(d, size).T for d, size in zip(drawn, sizes, strict=True)]
        parts = [block @ weight for (_, block), weight in zip(blocks, weights, strict=True)]
    else:
        parts = [block.mean(-1) for _, block in blocks]
    order = np.argsort([place for places, _ in blocks for place in places])
    return np.concatenate(parts)[order]


def _summary(
    blocks: Sequence[tuple[list[int], Array]], summary: str, differ: Sequence[str], distances: Array, *, resample: bool
) -> Iterator[tuple[object, ...]]:
    """Over what, mean distance, its interval, and the numbers of conditions and pairs."""
    alone = {key: np.array([key == each for each in differ]) for key in dict.fromkeys(differ) if " and " not in key}
    groups = alone if len(set(differ)) == 1 else alone | {ALL: np.ones(len(differ), dtype=bool)}
    weights = np.array([group / group.sum() for group in groups.values()])  # (groups, pairs)
    low = high = np.full(len(groups), np.nan)
    sizes = [block.shape[2] for _, block in blocks]
    if resample and min(sizes) > 1:
        low, high = bootstrap_ends(lambda *d: weights @ kendall_distances(_scores(blocks, summary, *d)), sizes)
    a, b = np.triu_indices(sum(len(places) for places, _ in blocks), 1)
    for place, (key, group) in enumerate(groups.items()):
        conditions = len(set(a[group]) | set(b[group]))
        yield key, (weights @ distances)[place], low[place], high[place], conditions, group.sum()


def _matrix(measure: str, conditions: Sequence[_Condition], differ: Sequence[str], distances: Array) -> pd.DataFrame:
    pairs = [(a.name, b.name) for a, b in combinations(conditions, 2)]
    rows = [(measure, *pair, what, distance) for pair, what, distance in zip(pairs, differ, distances, strict=True)]
    return pd.DataFrame(rows, columns=DISTANCES)
