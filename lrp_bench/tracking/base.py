"""What the trackers share: how a run is opened, and how it ends whatever happens inside it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Unpack

from lrp_bench.contracts import Run, RunFacts


class RunTracker(ABC):
    """A `contracts.Tracker`, and what a sweep needs beside it: runs that open and close in different functions."""

    @contextmanager
    def run(self, name: str, **facts: Unpack[RunFacts]) -> Iterator[Run]:
        """Open a run; leaving it marks it FINISHED, after an Exception FAILED, after Ctrl-C or SystemExit KILLED."""
        run = self.start(name, **facts)
        try:
            yield run
        except BaseException as error:
            self.end(run.id, error)
            raise
        self.end(run.id)

    @abstractmethod
    def start(self, name: str, **facts: Unpack[RunFacts]) -> Run:
        """Open a run that `end` closes; prefer `run` where one function can hold it."""

    @abstractmethod
    def end(self, run_id: str, error: BaseException | None = None) -> None:
        """Close a run: status, `error` tag, and what it cost (see `provenance.cost`)."""

    @abstractmethod
    def reopen(self, run_id: str) -> None:
        """Go on with a run that ended, or whose process did, as one of this process; `end` adds to its seconds."""

    @abstractmethod
    def resume(self, run_id: str) -> Run:
        """A handle on a run that is there already, to add to it, also after it ended."""

    @abstractmethod
    def find(self, *, kind: str, fingerprint: str, parent: str | None = None, status: str = "FINISHED") -> str | None:
        """The id of the latest run with this kind, `fingerprint` tag, status ("" is any) and, if given, parent."""

    @abstractmethod
    def page(self, run_id: str) -> str:
        """Where a reader finds a run: a link where there is a server, else the store."""

    @abstractmethod
    def children(self, parent: str) -> list[str]:
        """Ids of the runs whose parent is this run, in the order they started."""

    @abstractmethod
    def discard_if_empty(self, run_id: str) -> bool:
        """Delete a run that has no children, such as the parent of a sweep that never began; whether it was deleted."""
