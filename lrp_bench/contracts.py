"""What the parts of lrp_bench hand to each other: plain frozen records and protocols, nothing that computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, Required, TypedDict, Unpack

if TYPE_CHECKING:  # the command line and the report start without torch
    from torch import Tensor, nn


class BenchError(Exception):
    """What the user must mend: says what was expected, what came, and what to do. Shown without a traceback."""


class NotApplicable(BenchError):  # noqa: N818  not a fault of anyone's
    """What a metric has nothing to say about: its row is n.a., with this reason, beside the metrics that apply."""


@dataclass(frozen=True)
class Batch:
    """Samples to explain, in the order of the explained subset.

    inputs: (batch, ...) as the model takes them; label: (batch,) int64; index: (batch,) int64, the position of each
    sample in the data set's official test split; mask: (batch, *positions) bool, where the evidence for the label lies,
    for data whose truth is known.
    """

    inputs: Tensor
    label: Tensor
    index: Tensor
    mask: Tensor | None = None


@dataclass(frozen=True)
class LedgerEntry:
    """Where the relevance that reached one layer went, per sample: arrived = passed + bias + stabilizer + rule.

    Every field is (batch,), in units of the explained score.
    """

    arrived: Tensor
    passed: Tensor
    bias: Tensor
    stabilizer: Tensor
    rule: Tensor


@dataclass(frozen=True)
class Explanation:
    """One batch, explained.

    inputs and relevance: (batch, ...), the same shape (token ids: relevance is (batch, tokens)); logits: (batch,
    classes);
    target: (batch,) int64, or (batch, classes) weights; score: (batch,), the explained output; layers: module name ->
    relevance at that module's input; ledger: module name -> LedgerEntry; amplification: the ledger's names -> (batch,),
    sum |R_in| / sum |R_out| of that layer, NaN where nothing arrived. Explainers other than LRP leave the last three
    empty.
    """

    inputs: Tensor
    logits: Tensor
    target: Tensor
    score: Tensor
    relevance: Tensor
    layers: Mapping[str, Tensor] = field(default_factory=dict)
    ledger: Mapping[str, LedgerEntry] = field(default_factory=dict)
    amplification: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class JointExplanation(Explanation):
    """One batch of a model with several inputs: inputs and relevance are tuples, in the model's order."""

    inputs: tuple[Tensor, ...]  # type: ignore[assignment]
    relevance: tuple[Tensor, ...]  # type: ignore[assignment]


@dataclass(frozen=True)
class NamedExplanation(Explanation):
    """One batch of a model whose inputs have names: inputs and relevance are mappings with these keys."""

    inputs: Mapping[str, Tensor]  # type: ignore[assignment]
    relevance: Mapping[str, Tensor]  # type: ignore[assignment]


class Explainer(Protocol):
    """Anything that attributes a model's score to its input: LRP, a Captum method, or a random map.

    One that has an attribute `follows_weights`, and it is true, explains its model with the weights that it has at the
    call; others may hold on to those that it had at first, and are made anew when weights change.
    """

    def explain(self, inputs: Tensor, target: Tensor | None = None) -> Explanation:
        """Explain a batch; target None means each sample's predicted class, otherwise (batch,) int64."""
        ...


@dataclass(frozen=True)
class Measure:
    """What one column of numbers means: its header, direction, bounds and version.

    higher_is_better None: the number has no good direction. version: raised when the definition changes, so that old
    and new numbers are never mixed. headline: shown in the table at the end of a sweep. summary: what a table shows of
    the samples, the mean with its interval or the median with its quartiles. gate: a sanity check, which a method fails
    whose mean is on the worse side of this number.
    """

    title: str
    family: str
    higher_is_better: bool | None
    lower: float = float("-inf")
    upper: float = float("inf")
    version: int = 1
    headline: bool = True
    summary: Literal["mean", "median"] = "mean"
    gate: float | None = None


@dataclass(frozen=True)
class Curve:
    """Scores (samples, steps+1) as fractions (steps+1,) of the input are removed, or of the layers randomised."""

    fractions: Tensor
    scores: Tensor


@dataclass(frozen=True)
class Panels:
    """Maps that an evaluator has drawn.

    rows: (k,) int64, which of the samples; inputs: (k, ...), as the model takes them; maps: heading -> (k, height,
    width), all of a sample on one scale.
    """

    rows: Tensor
    inputs: Tensor
    maps: Mapping[str, Tensor]


@dataclass(frozen=True)
class Scores:
    """What an evaluator found: measure name -> one value per sample (samples,), NaN where undefined; and its curves.

    layers: what it found within the model, layer -> quantity -> (samples,); the same quantities for every layer.
    panels: name of a figure -> what it shows.
    """

    values: Mapping[str, Tensor]
    measures: Mapping[str, Measure]
    curves: Mapping[str, Curve] = field(default_factory=dict)
    layers: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    panels: Mapping[str, Panels] = field(default_factory=dict)


NOTE = "mlflow.note.content"  # the tag that MLflow's page shows as a run's description, in Markdown


class Log(Protocol):
    """What takes the numbers, files and facts of a run."""

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Record numbers; values that are not finite are left out."""
        ...

    def log_curve(self, name: str, values: Sequence[float], steps: Sequence[int]) -> None:
        """Record one metric at several steps."""
        ...

    def log_file(self, path: Path, folder: str = "") -> None:
        """Store a copy of a file as an artifact."""
        ...

    def log_data(self, name: str, digest: str, split: str, facts: Mapping[str, object]) -> None:
        """Record which data the run used.

        digest: at most 36 characters, another one for other data; split: what it was for, training or explained; facts:
        how many samples, of what shape.
        """
        ...

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or replace tags."""
        ...


class Run(Log, Protocol):
    """One open run of a tracker."""

    id: str

    def at(self, seconds: float) -> Log:
        """The same run, to log what was measured then, in seconds since 1970; logged again it is there once."""
        ...

    def log_model(self, model: nn.Module, example: Tensor) -> None:
        """Keep a model in eval mode; one that cannot be kept is told and left out. example: two or more inputs."""
        ...


class RunFacts(TypedDict, total=False):
    """What a run is opened with.

    kind: sweep, training or explanation. parent: the id of the run it belongs to. params: the config, nested or flat.
    tags: facts it is found by.
    """

    kind: Required[str]
    parent: str | None
    params: Mapping[str, object]
    tags: Mapping[str, str]


class Tracker(Protocol):
    """Where results are kept."""

    def run(self, name: str, **facts: Unpack[RunFacts]) -> AbstractContextManager[Run]:
        """Open a run; leaving it marks it FINISHED, FAILED or KILLED."""
        ...

    def find(self, *, kind: str, fingerprint: str, parent: str | None = None) -> str | None:
        """The id of a FINISHED run with this kind, this `fingerprint` tag and, if given, this parent; else None."""
        ...
