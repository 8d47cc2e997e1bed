"""What a run has to say, kept beside its files until a tracker has taken it."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lrp_bench.contracts import BenchError, Run
from lrp_bench.tracking import provenance
from lrp_bench.tracking.record import without_secrets

UNSENT = "unsent.json"

logger = logging.getLogger(__name__)


class Outbox:
    """Takes what is logged and hands it over in one go; what cannot be handed over stays in `folder`.

    tracker: the settings of the run's MLflowTracker, by which `send` finds the store again.
    """

    def __init__(self, folder: Path, tracker: Mapping[str, object]) -> None:
        self.folder = folder
        self.tracker = {key: value for key, value in tracker.items() if not key.startswith("_")}
        self.handed = False
        self.metrics: dict[str, float] = {}
        self.calls: list[tuple[str, list[object]]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Take numbers."""
        self.metrics |= metrics
        self._take("log_metrics", dict(metrics), step)

    def log_curve(self, name: str, values: Sequence[float], steps: Sequence[int]) -> None:
        """Take one metric at several steps."""
        self._take("log_curve", name, list(values), list(steps))

    def log_file(self, path: Path, folder: str = "") -> None:
        """Take a file, which lies in the outbox's folder and stays there."""
        self._take("log_file", path.relative_to(self.folder).as_posix(), folder)

    def log_data(self, name: str, digest: str, split: str, facts: Mapping[str, object]) -> None:
        """Take which data the run used."""
        self._take("log_data", name, digest, split, dict(facts))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Take tags."""
        self._take("set_tags", dict(tags))

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What is handed over within stays in the folder, too, until all that is done within went well.

        A BenchError says how to send it later.
        """
        try:
            yield
        except BenchError as error:
            if not self.handed:
                raise
            raise BenchError(
                f"{error} What was measured is kept: python -m lrp_bench.tracking send {self.folder}"
            ) from error
        (self.folder / UNSENT).unlink(missing_ok=True)  # who sent it meanwhile has taken it

    def hand_over(self, run: Run) -> None:
        """Log everything to `run`. Raises BenchError where that fails."""
        self.log_metrics({"peak_memory_mib": provenance.peak_memory()})
        told = {"run": run.id, "tracker": self.tracker, "ended": time.time(), "calls": self.calls}
        draft = self.folder / f".{UNSENT}"
        draft.write_text(json.dumps(told), encoding="utf-8")
        draft.replace(self.folder / UNSENT)
        self.handed = True
        _repeat(told, run, self.folder)

    def _take(self, name: str, *arguments: object) -> None:
        self.calls.append((name, list(arguments)))


def send(folder: Path, uri: str | None = None) -> list[str]:
    """Hand over what was left unsent in a folder and those below it; the ids of the runs, which are FINISHED now.

    uri: the store's address, where it has another one by now. Raises BenchError where there is nothing to send, and,
    when all others are sent, where the store does not answer or know a run, or a file is damaged; these stay.
    """
    found = sorted(folder.rglob(UNSENT))
    if not found:
        raise BenchError(f"Expected {UNSENT} in {folder} or below, got none: nothing was left unsent there.")
    sent, failed = [], []
    for path in found:
        try:
            sent.append(_send(path, uri))
        except (BenchError, OSError, ValueError, KeyError) as error:
            failed.append(f"{path}: {error}")
    if failed:
        raise BenchError(f"Expected to send everything, got what was not sent and stays: {'; '.join(failed)}")
    return sent


def _send(path: Path, uri: str | None) -> str:
    from lrp_bench.tracking.mlflow import MLflowTracker

    told = json.loads(path.read_text(encoding="utf-8"))
    tracker = MLflowTracker(**told["tracker"] | ({"uri": uri} if uri else {}))
    run = tracker.resume(told["run"])
    _repeat(told, run, path.parent)
    tracker.finish(run.id, told["ended"])
    path.unlink(missing_ok=True)
    logger.info("Sent %s to %s, run %s", path.parent, without_secrets(tracker.uri), run.id)
    return run.id


def _repeat(told: Mapping[str, Any], run: Run, folder: Path) -> None:
    log = run.at(told["ended"])  # what came through the first time is not there twice
    for name, arguments in told["calls"]:
        if name == "log_file":
            log.log_file(folder / str(arguments[0]), *map(str, arguments[1:]))
        else:
            getattr(log, name)(*arguments)
