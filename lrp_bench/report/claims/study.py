"""What was published: experiments/NAME.yaml, read and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from lrp_bench.contracts import BenchError
from lrp_bench.report.numbers.derived import DERIVED

RELATIONS = ("=", ">=", "<=")
STATISTICS = ("mean", "median", *DERIVED)
KEY = ("row", "column", "sample", "statistic", "minus", "dataset", "model", "versus", "over", "where")
ROUNDING = 1e-9  # 0.97 is 0.96 + 0.01, though not in floating point


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
        room += ROUNDING * max(1.0, abs(self.published))
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


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(_text(each) if isinstance(each, Mapping) else f"{key}={each}" for key, each in value.items())
    return "" if value is None else str(value)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
