"""The tracker for tests: runs as plain Python objects, with the semantics of the MLflow one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Unpack

from lrp_bench.contracts import RunFacts
from lrp_bench.tracking import provenance
from lrp_bench.tracking.base import RunTracker
from lrp_bench.tracking.record import finite, flatten, outcome, tag_text

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass
class Record:
    """One run: what was logged to it.

    files: artifact path -> content; curves: name -> [(step, value), ...]; data: (name, digest, split) -> facts.
    """

    id: str
    name: str
    kind: str
    parent: str | None
    params: dict[str, str]
    tags: dict[str, str]
    status: str = "RUNNING"
    metrics: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    data: dict[tuple[str, str, str], dict[str, object]] = field(default_factory=dict)
    models: list[tuple[nn.Module, Tensor]] = field(default_factory=list)
    began: float = field(default_factory=time.time)
    cpu_began: float = field(default_factory=time.process_time)

    def at(self, seconds: float) -> Record:
        """The same: nothing here bears a time."""
        return self

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Record numbers; values that are not finite are left out."""
        for name, value in finite(metrics).items():
            self.metrics[name] = value
            self.curves.setdefault(name, []).append((step, value))

    def log_curve(self, name: str, values: Sequence[float], steps: Sequence[int]) -> None:
        """Record one metric at several steps."""
        for value, step in zip(values, steps, strict=True):
            self.log_metrics({name: value}, step)

    def log_file(self, path: Path, folder: str = "") -> None:
        """Store a copy of a file as an artifact."""
        self.files[str(PurePosixPath(folder) / path.name)] = path.read_bytes()

    def log_data(self, name: str, digest: str, split: str, facts: Mapping[str, object]) -> None:
        """Record which data the run used."""
        self.data[name, digest, split] = dict(facts)

    def log_model(self, model: nn.Module, example: Tensor) -> None:
        """Keep a model as it is."""
        self.models.append((model, example))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set or replace tags."""
        self.tags |= tag_text(tags)


class MemoryTracker(RunTracker):
    """Keeps runs in `runs`, id -> Record in order of their start, for this process only."""

    def __init__(self) -> None:
        self.runs: dict[str, Record] = {}

    def start(self, name: str, **facts: Unpack[RunFacts]) -> Record:
        """Open a run that `end` closes."""
        kind, parent = facts["kind"], facts.get("parent")
        held = tag_text({**provenance.describe(), **facts.get("tags", {}), "kind": kind})
        record = Record(uuid.uuid4().hex, name, kind, parent, flatten(facts.get("params", {})), held)
        self.runs[record.id] = record
        return record

    def end(self, run_id: str, error: BaseException | None = None) -> None:
        """Close a run: status, `error` tag, and what it cost (see `provenance.cost`)."""
        record = self.runs[run_id]
        record.status, tags = outcome(error)
        record.set_tags(tags)
        record.log_metrics(provenance.cost(time.time() - record.began, record.cpu_began))

    def reopen(self, run_id: str) -> None:
        """Go on with a run that ended."""
        record = self.runs[run_id]
        record.status, record.cpu_began = "RUNNING", time.process_time()
        record.began = time.time() - record.metrics.get("seconds", 0.0)
        record.tags.pop("error", None)

    def resume(self, run_id: str) -> Record:
        """A handle on a run that is there already."""
        return self.runs[run_id]

    def find(self, *, kind: str, fingerprint: str, parent: str | None = None, status: str = "FINISHED") -> str | None:
        """The id of the latest run with this kind, `fingerprint` tag, status ("" is any) and, if given, parent."""
        for run in reversed(self.runs.values()):
            wanted = (run.kind, run.tags.get("fingerprint")) == (kind, fingerprint) and status in ("", run.status)
            if wanted and parent in (None, run.parent):
                return run.id
        return None

    def page(self, run_id: str) -> str:
        """Where a reader finds a run: nowhere else."""
        return f"memory, run {run_id}"

    def children(self, parent: str) -> list[str]:
        """Ids of the runs whose parent is this run, in the order they started."""
        return [run.id for run in self.runs.values() if run.parent == parent]

    def discard_if_empty(self, run_id: str) -> bool:
        """Delete a run that has no children; whether it was deleted."""
        if self.children(run_id):
            return False
        del self.runs[run_id]
        return True
