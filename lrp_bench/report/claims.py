"""What was published, beside what comes out here: experiments/NAME.yaml against the latest sweep of that experiment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import yaml

from lrp_bench.contracts import BenchError
from lrp_bench.report.evidence import Evidence
from lrp_bench.report.statistics import interval, quartiles

REACHED, MISSED, NOT_RUN = "reached", "not reached", "not run"
RELATIONS = ("=", ">=", "<=")
STATISTICS = ("mean", "median")
KEY = ("row", "column", "sample", "statistic", "minus", "dataset", "model")
MEASURED = ("ours", "low", "high", "n", "measured")


@dataclass(frozen=True)
class Claim:
    """One published number, or a relation that the text states.

    what: in words. column: a measure, score, prediction, or a number of the run such as test_accuracy. row: the method,
    as the table calls it; None where the number is the model's. dataset, model: where there are several. sample: the
    position of one sample in the test split; None for all. statistic: mean or median of the samples. minus: a second
    row, whose values are taken away sample by sample. relation: of our number to the published one; = means within
    tolerance (relative: as a share of the published number). source: where it stands. deviation: what is done
    differently here. id: a name for `says`.
    """

    what: str
    column: str
    published: float
    source: str
    row: str | None = None
    dataset: str | None = None
    model: str | None = None
    sample: int | None = None
    statistic: Literal["mean", "median"] = "mean"
    minus: str | None = None
    relation: Literal["=", ">=", "<="] = "="
    tolerance: float = 0.0
    relative: bool = False
    deviation: str = ""
    id: str = ""

    def __post_init__(self) -> None:
        if self.relation not in RELATIONS or self.statistic not in STATISTICS:
            raise ValueError(f"relation is one of {RELATIONS}, statistic one of {STATISTICS}")
        if not all(_number(value) for value in (self.published, self.tolerance)) or self.tolerance < 0:
            raise ValueError("published and tolerance are numbers, the tolerance not negative")
        if self.sample is not None and not isinstance(self.sample, int):
            raise ValueError("sample is the position of a sample in the test split")

    @property
    def key(self) -> tuple[str, ...]:
        """What the measured number is a number of."""
        return tuple(_text(getattr(self, name)) for name in KEY)

    def holds(self, ours: float) -> bool:
        """Whether a measured number fulfils the claim."""
        room = self.tolerance * (abs(self.published) if self.relative else 1.0)
        off = ours - self.published
        return {"=": abs(off) <= room, ">=": off >= -room, "<=": off <= room}[self.relation]


@dataclass(frozen=True)
class Study:
    """One file of claims: experiments/<name>.yaml.

    title, about: what the system is. experiment: the preset that measures it. says: a sentence that is made from the
    measured numbers, {id} for each.
    """

    name: str
    title: str
    about: str
    experiment: str
    claims: tuple[Claim, ...]
    says: Sequence[str] = field(default=())


def read_study(path: Path) -> Study:
    """A file of claims. Raises BenchError that names the file and what is wrong with it."""
    try:
        plain: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
        claims = tuple(Claim(**{"source": plain["source"], **each}) for each in plain["claims"])
        study = Study(
            path.stem, plain["title"], plain["about"], plain["experiment"], claims, tuple(plain.get("says", ()))
        )
    except OSError as error:
        raise BenchError(f"Expected claims in {path}, got: {error}: check the path.") from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        known = ", ".join(each.name for each in fields(Claim))
        raise BenchError(
            f"Expected title, about, source, experiment and claims ({known}) in {path}, got: {error}"
        ) from error
    if unknown := set(plain) - {"title", "about", "source", "experiment", "claims", "says"}:
        raise BenchError(f"Expected no {', '.join(sorted(unknown))} in {path}: correct the key.")
    return study


def measure(study: Study, evidence: Evidence) -> pd.DataFrame:
    """Our numbers, one row a claim: the key, then ours, low, high, n and measured; NaN where nothing was measured."""
    rows = [(*claim.key, *_ours(claim, evidence.frame), evidence.measured) for claim in study.claims]
    return pd.DataFrame(rows, columns=[*KEY, *MEASURED])


def judge(study: Study, measured: pd.DataFrame | None) -> pd.DataFrame:
    """Every claim with our number, the difference and the verdict; what was not measured is `not run`."""
    known = {} if measured is None else {_key(row): row for row in measured.to_dict("records")}
    return pd.DataFrame([_judged(claim, known.get(claim.key, {})) for claim in study.claims])


def sentences(study: Study, judged: pd.DataFrame) -> list[str]:
    """The study's sentences with the measured numbers in them; none where one is missing."""
    ours = {claim.id: value for claim, value in zip(study.claims, judged["ours"], strict=True) if claim.id}
    if any(math.isnan(value) for value in ours.values()):
        return []
    return [text.format(**ours) for text in study.says]


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


def _ours(claim: Claim, frame: pd.DataFrame) -> tuple[float, float, float, int]:
    """Our number, the ends of its interval (of a median: the quartiles), and how many values are behind it."""
    values = _values(claim, claim.row, frame)
    if claim.minus is not None:
        values = (values - _values(claim, claim.minus, frame)).dropna()
    if claim.statistic == "median":
        q1, median, q3 = quartiles(values.to_numpy())
        return median, q1, q3, len(values)
    found = interval(values.to_numpy())
    return found.mean, found.low, found.high, found.n


def _values(claim: Claim, row: str | None, frame: pd.DataFrame) -> pd.Series[float]:
    """One value per sample that all seeds have, their mean; of a number of the run, one per seed."""
    wanted: dict[str, object] = {"column": claim.column, "method": row, "sample": claim.sample}
    wanted |= {"dataset": claim.dataset, "model": claim.model}
    for column, value in wanted.items():
        frame = frame if value is None else frame[frame[column] == value]
    if frame["sample"].isna().all():
        return frame.groupby("seed")["value"].mean()
    return frame.pivot_table("value", "sample", "seed").mean(axis=1, skipna=False).dropna()


def _key(row: Mapping[Any, Any]) -> tuple[str, ...]:
    return tuple(_text(row[name]) for name in KEY)


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
