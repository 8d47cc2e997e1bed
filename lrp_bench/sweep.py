"""A sweep's parent run: opened before its first job, closed with the table after its last."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig

PARENT = "LRP_BENCH_PARENT_RUN"  # how a job, in whatever process, knows its sweep

INTERRUPTED = 128 + signal.SIGTERM

_open: list[Sweep] = []  # in the process that opened them


class Sweep(Callback):
    """Hydra calls this around every sweep; a single run is a sweep of one.

    It is pickled to the workers of a launcher; only the process that opened the parent closes it.
    """

    def __init__(self) -> None:
        self.parent: str | None = None
        self.folder = Path()
        self.tracker: Any = None

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "tracker": None}

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Open the parent of a single run."""
        self._start(config, Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Open the parent of a sweep, and make the store before any worker asks for it."""
        self._start(config, Path(config.hydra.sweep.dir))

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Tell the job its parent."""
        os.environ[PARENT] = self.parent or ""

    def on_run_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Show the table."""
        self.close()

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Show the table; not called when a job failed, hence `close_open`."""
        self.close()

    def _start(self, config: DictConfig, folder: Path) -> None:
        from lrp_bench.contracts import BenchError

        if str(config.tracker._target_).startswith("lrp_bench.tracking.memory."):
            return  # what stays in a job's memory has no parent
        try:
            self.tracker = instantiate(config.tracker)
        except Exception as error:
            sys.exit(str(error.__cause__ if isinstance(error.__cause__, BenchError) else error))
        command = " ".join(config.hydra.overrides.task)
        self.folder = folder.resolve()
        params = {"command": f"python -m lrp_bench {command}", "folder": str(folder)}
        self.parent = self.tracker.start(command or "defaults", kind="sweep", params=params).id
        _open.append(self)

    def close(self, cause: BaseException | None = None) -> None:
        """Show the table, attach it, and mark the parent: KILLED after an interruption, FAILED if a job failed."""
        if self not in _open:
            return
        _open.remove(self)
        if self.tracker.discard_if_empty(self.parent):
            return
        interrupted = isinstance(cause, KeyboardInterrupt) or (
            isinstance(cause, SystemExit) and cause.code == INTERRUPTED
        )
        self.tracker.end(self.parent, cause if interrupted else self._conclude())

    def _conclude(self) -> Exception | None:
        """Print and keep the table; what the parent failed of."""
        from rich.console import Console

        from lrp_bench.contracts import BenchError
        from lrp_bench.report.summary import summarize

        console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
        try:
            summary = summarize(self.tracker.uri, self.tracker.experiment, self.parent, self.folder)
        except BenchError as error:
            console.print(f"No table: {error}")
            return error
        run = self.tracker.resume(self.parent)
        for file in summary.files:
            run.log_file(file)
        console.print(summary.render(console.width))
        console.print(f"Tables: {self.folder}/table.md, .csv, .tex; runs: {self.tracker.uri}", soft_wrap=True)
        return BenchError(f"{len(summary.failures)} runs failed") if summary.failures else None


def parent_of_this_job() -> str | None:
    """The run id of the sweep that this job belongs to."""
    return os.environ.get(PARENT) or None


def close_open(cause: BaseException) -> None:
    """Close what is still open when the command line ends early."""
    for sweep in _open:
        sweep.close(cause)
