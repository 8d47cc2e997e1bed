"""What comes out here beside what was published: each claim measured by its experiment's latest sweep, and judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from lrp_bench.contracts import BenchError
from lrp_bench.report.claims.evidence import Evidence
from lrp_bench.report.claims.study import KEY, Claim, Study
from lrp_bench.report.numbers.derived import DERIVED, WHOLE, derive
from lrp_bench.report.numbers.statistics import interval, quartiles
from lrp_bench.report.store.conditions import is_random

REACHED, MISSED, NOT_RUN = "reached", "not reached", "not run"
TELL = "name them as dataset and model in the claim."
MEASURED = ("ours", "low", "high", "n", "measured")


def measure(study: Study, evidence: Evidence) -> pd.DataFrame:
    """Our numbers, one row a claim: the key, then ours, low, high, n and measured; NaN where nothing was measured."""
    rows = [(*claim.key, *_ours(claim, evidence), evidence.measured) for claim in study.claims]
    return pd.DataFrame(rows, columns=[*KEY, *MEASURED])


def judge(study: Study, measured: pd.DataFrame | None) -> pd.DataFrame:
    """Every claim with our number, the difference and the verdict; what was not measured is `not run`."""
    rows = [] if measured is None else measured.to_dict("records")
    known = {tuple(str(row.get(name, "")) for name in KEY): row for row in rows}
    return pd.DataFrame([_judged(claim, known.get(claim.key, {})) for claim in study.claims])


def sentences(study: Study, judged: pd.DataFrame) -> list[str]:
    """The study's sentences with the measured numbers in them; none where one is missing."""
    told = judged.assign(id=[claim.id for claim in study.claims])
    told = told[told["id"] != ""]
    if told["ours"].isna().any():
        return []
    ends = {"": "ours", "_low": "low", "_high": "high"}
    numbers = [dict(zip(told["id"] + end, told[name], strict=True)) for end, name in ends.items()]
    return [text.format(**numbers[0], **numbers[1], **numbers[2]) for text in study.says]


def place(row: Mapping[Any, Any]) -> str:
    """Of what a judged number is one: row and column of the experiment's own table, and what else tells it apart."""
    derived = row["statistic"] in DERIVED
    parts = [row["row"] or ("all methods" if derived else "the model"), row["column"]]
    parts += [f"sample {row['sample']}"] if row["sample"] else []
    parts += [row["statistic"].replace("_", " ")] if row["statistic"] != "mean" else []
    parts += [f"with {row['versus']}"] if row["versus"] else []
    parts += [f"over {row['over']}"] if row["over"] else []
    parts += [row[name] for name in ("model", "dataset", "where") if row[name]]
    parts += [f"less {row['minus']}"] if row["minus"] else []
    return ", ".join(parts)


def _judged(claim: Claim, found: Mapping[Any, Any]) -> dict[str, object]:
    ours = float(found.get("ours", math.nan))
    verdict = NOT_RUN if math.isnan(ours) else REACHED if claim.holds(ours) else MISSED
    return {
        "what": claim.what,
        **dict(zip(KEY, claim.key, strict=True)),
        "relation": claim.relation,
        "published": claim.published,
        "tolerance": claim.tolerance,
        "relative": claim.relative,
        "ours": ours,
        "low": float(found.get("low", math.nan)),
        "high": float(found.get("high", math.nan)),
        "n": int(found.get("n", 0)),
        "difference": ours - claim.published,
        "verdict": verdict,
        "measured": found.get("measured", ""),
        "source": claim.source,
        "deviation": claim.deviation,
    }


def _ours(claim: Claim, evidence: Evidence) -> tuple[float, float, float, int]:
    """Our number, the ends of its interval (or the quartiles, or the range over seeds), and how many values it is of.

    A measure that is undefined for some samples of a seed is averaged over the others, the seeds of a sample first. A
    median is that of each seed, averaged.
    """
    if claim.statistic in DERIVED:
        return derive(claim.statistic, [_tables(each, evidence) for each in claim.both])
    parts = [_by_seed(_found(each, evidence)) for each in claim.both]
    if parts[0].index.names != parts[-1].index.names and all(map(len, parts)):
        raise BenchError(f"Expected both numbers of one data set and model, got several for {claim.what}: {TELL}")
    values = (parts[0] if len(parts) == 1 else parts[0] - parts[1]).dropna(how="all")
    if claim.statistic == "median":
        q1, median, q3 = np.mean(
            [quartiles(each.to_numpy()) for _, each in values.items()] or [(math.nan, math.nan, math.nan)], axis=0
        )
        return float(median), float(q1), float(q3), len(values)
    if set(values.index.get_level_values("sample")) == {WHOLE}:
        seeds = values.mean(axis=0).dropna().to_numpy(dtype=np.float64)
        low, high = (seeds.min(), seeds.max()) if len(seeds) > 1 else (math.nan, math.nan)
        return float(seeds.mean()), float(low), float(high), len(seeds)
    return interval(values.mean(axis=1) if values.isna().to_numpy().any() else values.to_numpy().T)


def _found(claim: Claim, evidence: Evidence) -> pd.DataFrame:
    """The rows of the evidence that a claim speaks of."""
    frame = evidence.frame
    wanted: dict[str, object] = {"column": claim.column, "method": claim.row, "sample": claim.sample}
    wanted |= {"dataset": claim.dataset, "model": claim.model}
    for column, value in wanted.items():
        frame = frame if value is None else frame[frame[column] == value]
    for key, value in claim.where.items():
        frame = frame[evidence.setting(key).loc[frame.index] == str(value)]
    return frame


def _by_seed(frame: pd.DataFrame) -> pd.DataFrame:
    """A row per sample that all seeds explained, a column per seed, NaN where undefined; WHOLE: numbers of the run.

    Samples of several data sets or models are rows of their own.
    """
    cells = frame.fillna({"sample": WHOLE})
    rows = [*_several(cells), "sample"]
    explained = cells.pivot_table("value", rows, "seed", aggfunc="size").notna().all(axis=1)
    return cells.pivot_table("value", rows, "seed", dropna=False, observed=True).reindex(explained[explained].index)


def _several(frame: pd.DataFrame) -> list[str]:
    return [name for name in ("dataset", "model") if len(set(frame[name])) > 1]


def _tables(claim: Claim, evidence: Evidence) -> list[pd.DataFrame]:
    """What a derived number is derived from: a row per sample; more is better where the measure has a direction."""
    columns = [claim.column] if claim.versus is None else [claim.column, claim.versus]
    return [_table(replace(claim, column=column), evidence) for column in columns]


def _table(claim: Claim, evidence: Evidence) -> pd.DataFrame:
    """Columns (setting, method), or what `over` names alone. A number of the run is the same for every sample."""
    frame = _found(claim, evidence)
    frame = frame if claim.row else frame[~frame["method"].map(is_random).astype(bool)]
    if claim.over != "method":
        frame = frame.assign(over=evidence.setting(str(claim.over)).loc[frame.index])
    items = {"kendall_distance": ["over", "method"]}.get(claim.statistic, ["over" if "over" in frame else "method"])
    if frame.drop_duplicates([*_several(frame), *items]).duplicated(items).any():
        raise BenchError(f"Expected one data set and model, got several for {claim.what}: {TELL}")
    sign = 1.0 if evidence.higher_is_better(claim.column) else -1.0
    return sign * frame.fillna({"sample": WHOLE}).pivot_table("value", "sample", items)
