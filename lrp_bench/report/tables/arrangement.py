"""Which tables the columns of a layout make: rule x measure, rule x data set, rule x model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, NamedTuple

from lrp_bench.report.numbers.comparison import Comparison
from lrp_bench.report.tables.layout import MEAN_RANK, Column, Layout

By = Literal["measure", "dataset", "model"]


class Place(NamedTuple):
    """Where a setting was measured, and what else it says."""

    dataset: str
    model: str
    rest: str


def arranged(layout: Layout, comparison: Comparison, by: By) -> Layout:
    """The same columns as tables of one kind: what `by` names lies side by side, each other combination is a table.

    measure: a table for each setting; dataset, model: one for each measure and model (data set) and each other
    condition. Ranks averaged over settings stand where a table holds them all.
    """
    places = _places(comparison)
    titles = list(dict.fromkeys(_group(column, places, by) for column in layout.columns if column.setting != MEAN_RANK))
    columns = [column._replace(group=_group(column, places, by)) for column in layout.columns]
    whole = by != "measure" and len(titles) == len({column.measure for column in layout.columns})
    kept = [column for column in columns if column.setting != MEAN_RANK or whole]
    if whole:  # a mean rank goes to its measure's table
        tables = {column.measure: column.group for column in kept if column.setting != MEAN_RANK}
        kept = [column._replace(group=tables[column.measure]) for column in kept]
    return replace(layout, columns=tuple(sorted(kept, key=lambda column: titles.index(column.group))))


def _places(comparison: Comparison) -> dict[str, Place]:
    known = comparison.cells[["setting", "dataset", "model"]].drop_duplicates("setting")
    several = known["model"].nunique() > 1
    return {
        setting: Place(dataset, model if several else "", _rest(setting, dataset, model if several else ""))
        for setting, dataset, model in known.itertuples(index=False)
    }


def _rest(setting: str, dataset: str, model: str) -> str:
    """The conditions in a setting's name beside data set and model."""
    return setting.removeprefix(dataset).removeprefix(", ").removeprefix(model).removeprefix(", ")


def _group(column: Column, places: Mapping[str, Place], by: By) -> str:
    if by == "measure" or column.setting not in places:
        return column.setting
    place = places[column.setting]
    where = place.model if by == "dataset" else place.dataset
    return ", ".join(part for part in (column.title, where, place.rest) if part)
