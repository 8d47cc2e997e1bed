"""What was published, beside what comes out here: experiments/NAME.yaml against the latest sweep of that experiment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from lrp_bench.contracts import BenchError
from lrp_bench.report.conditions import is_random
from lrp_bench.report.derived import DERIVED, WHOLE, derive
from lrp_bench.report.evidence import Evidence
from lrp_bench.report.statistics import interval, quartiles

REACHED, MISSED, NOT_RUN = "reached", "not reached", "not run"
RELATIONS = ("=", ">=", "<=")
STATISTICS = ("mean", "median", *DERIVED)
KEY = ("row", "column", "sample", "statistic", "minus", "dataset", "model", "versus", "over", "where")
MEASURED = ("ours", "low", "high", "n", "measured")


@dataclass(frozen=True)
class Claim:
    """One published number, or a relation that the text states.

    what: in words. column: a measure, score, prediction, or a number of the run such as test_accuracy. row: the method,
    as the table calls it; None where the number is the model's. dataset, model: where there are several; where: other
    settings, as {imputer: blur}. What is not told is averaged. sample: the position of one sample in the test split;
    None for all. statistic: mean or median of the samples, or a number derived from several means: kendall_distance,
    how far apart the rankings of the methods are under each two values of the setting `over`; rank_correlation,
    Spearman's between the means of `column` and of `versus`, over the values of a setting or, of two rankings, over
    `method`. minus: a second row, or what else is different, as {column: NAME}, whose number is taken away on the same
    samples. relation: of our number to the published one; = means within tolerance (relative: as a share of the
    published number). source: where it stands. deviation: what is done differently here. id: a name for `says`.
    """

    what: str
    column: str
    published: float
    source: str
    row: str | None = None
    dataset: str | None = None
    model: str | None = None
    sample: int | None = None
    statistic: str = "mean"
    over: str | None = None
    versus: str | None = None
    where: Mapping[str, object] = field(default_factory=dict, hash=False)
    minus: str | Mapping[str, Any] | None = field(default=None, hash=False)
    relation: str = "="
    tolerance: float = 0.0
    relative: bool = False
    deviation: str = ""
    id: str = ""

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS or self.statistic not in STATISTICS:
            raise ValueError(f"relation is one of {RELATIONS}, statistic one of {STATISTICS}")
        if not all(_number(value) for value in (self.published, self.tolerance)) or self.tolerance < 0:
            raise ValueError("published and tolerance are numbers, the tolerance not negative")
        if (self.over is not None) != (self.statistic in DERIVED):
            raise ValueError(f"over belongs to a statistic of {DERIVED}")
        if (self.versus is not None) != (self.statistic == "rank_correlation"):
            raise ValueError("versus belongs to rank_correlation")
        if self.minus is not None and not set(self.less) <= {"row", "column", "versus", "dataset", "model", "where"}:
            raise ValueError("minus is a row, or a mapping of row, column, versus, dataset, model and where")
        if self.sample is not None and not isinstance(self.sample, int):
            raise ValueError("sample is the position of a sample in the test split")

    @property
    def key(self) -> tuple[str, ...]:
        """What the measured number is a number of."""
        return tuple(_text(getattr(self, name)) for name in KEY)

    @property
    def less(self) -> Mapping[str, Any]:
        """What is different about the number that is taken away."""
        return {"row": self.minus} if isinstance(self.minus, str) else self.minus or {}

    @property
    def both(self) -> tuple[Claim, ...]:
        """The number, and the one that is taken away, as claims of their own."""
        first = replace(self, minus=None)
        return (first, replace(first, **self.less)) if self.less else (first,)

    def holds(self, ours: float) -> bool:
        """Whether a measured number fulfils the claim."""
        room = self.tolerance * (abs(self.published) if self.relative else 1.0)
        off = ours - self.published
        return {"=": abs(off) <= room, ">=": off >= -room, "<=": off <= room}[self.relation]


@dataclass(frozen=True)
class Study:
    """One file of claims: experiments/<name>.yaml.

    title, about: what the system is. experiment: the preset that measures it; beside: others whose numbers its claims
    compare with. says: a sentence that is made from the measured numbers: {id}, {id_low} and {id_high} for each.
    """

    name: str
    title: str
    about: str
    experiment: str
    claims: tuple[Claim, ...]
    says: Sequence[str] = ()
    beside: Sequence[str] = ()


def read_study(path: Path) -> Study:
    """A file of claims. Raises BenchError that names the file and what is wrong with it."""
    try:
        plain: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        claims = tuple(Claim(**{"source": plain["source"], **each}) for each in plain["claims"])
        study = Study(
            path.stem,
            plain["title"],
            plain["about"],
            plain["experiment"],
            claims,
            says=tuple(plain.get("says", ())),
            beside=tuple(plain.get("beside", ())),
        )
    except OSError as error:
        raise BenchError(f"Expected claims in {path}, got: {error}: check the path.") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        known = ", ".join(each.name for each in fields(Claim))
        raise BenchError(
            f"Expected title, about, source, experiment and claims ({known}) in {path}, got: {error}"
        ) from error
    if unknown := set(plain) - {"title", "about", "source", "experiment", "claims", "says", "beside"}:
        raise BenchError(f"Expected no {', '.join(sorted(unknown))} in {path}: correct the key.")
    return study


def measure(study: Study, evidence: Evidence) -> pd.DataFrame:
    """Our numbers, one row a claim: the key, then ours, low, high, n and measured; NaN where nothing was measured."""
    rows = [(*claim.key, *_ours(claim, evidence), evidence.measured) for claim in study.claims]
    return pd.DataFrame(rows, columns=[*KEY, *MEASURED])


def judge(study: Study, measured: pd.DataFrame | None) -> pd.DataFrame:
    """Every claim with our number, the difference and the verdict; what was not measured is `not run`."""
    known = {} if measured is None else {_key(row): row for row in measured.to_dict("records")}
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
    values = (parts[0] if len(parts) == 1 else parts[0] - parts[1]).dropna(how="all")
    if claim.statistic == "median":
        q1, median, q3 = np.mean(
            [quartiles(each.to_numpy()) for _, each in values.items()] or [(math.nan, math.nan, math.nan)], axis=0
        )
        return float(median), float(q1), float(q3), len(values)
    if list(values.index) == [WHOLE]:
        seeds = values.to_numpy(dtype=np.float64)[0]
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
    """A row per sample that all seeds explained, a column per seed, NaN where undefined; WHOLE: numbers of the run."""
    cells = frame.fillna({"sample": WHOLE})
    explained = cells.pivot_table("value", "sample", "seed", aggfunc="size").notna().all(axis=1)
    return cells.pivot_table("value", "sample", "seed", dropna=False)[explained]


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
    sign = 1.0 if evidence.higher_is_better(claim.column) else -1.0
    return sign * frame.fillna({"sample": WHOLE}).pivot_table("value", "sample", items)


def _key(row: Mapping[Any, Any]) -> tuple[str, ...]:
    return tuple(_text(row.get(name)) for name in KEY)


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(_text(each) if isinstance(each, Mapping) else f"{key}={each}" for key, each in value.items())
    return "" if value is None or value != value else str(value)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
