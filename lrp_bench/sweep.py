"""A sweep's parent run: opened before its first job, closed with the table after its last."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from lrp_bench.startup import uncollected

PARENT = "LRP_BENCH_PARENT_RUN"  # how a job, in whatever process, knows its sweep

# What decides no number; with the preset's name, whose contents count; and what decides only what a method costs.
ASIDE = ("paths", "tracker", "sweep", "hydra", "names")
NEUTRAL = ("experiment", *ASIDE)
MACHINE = ("device", "threads", "trainer.accelerator")

INTERRUPTED = 128 + signal.SIGTERM

log = logging.getLogger(__name__)

_open: list[Sweep] = []  # in the process that opened them


class Sweep(Callback):
    """Hydra calls this around every sweep; a single run is a sweep of one.

    It is pickled to the workers of a launcher; only the process that opened the parent closes it. Hydra makes a warning
    of an Exception in here: what must end the command with a status other than 0 is a SystemExit.
    """

    def __init__(self) -> None:
        self.parent: str | None = None
        self.command = ""
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
        if str(config.tracker._target_).startswith("lrp_bench.tracking.memory."):
            return  # what stays in a job's memory has no parent
        typed: list[str] = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)  # type: ignore[assignment]
        self.command = " ".join(["python -m lrp_bench", *typed])
        self.folder = folder.resolve()
        with uncollected():
            self._begin(config, typed, str(folder))
        _open.append(self)

    def _begin(self, config: DictConfig, typed: Sequence[str], folder: str) -> None:
        from lrp_bench.contracts import BenchError
        from lrp_bench.tracking.preflight import check_folder

        params = {"command": self.command, "folder": folder}
        tags = {"fingerprint": fingerprint(config), "experiment": experiment(config, typed)}
        try:
            self.tracker = instantiate(config.tracker)
            check_folder(self.folder)
            self.parent = self._earlier(tags["fingerprint"]) if config.sweep.resume else None
            if self.parent is None:
                self.parent = self.tracker.start(name(typed), kind="sweep", params=params, tags=tags).id
        except Exception as error:
            sys.exit(str(error.__cause__ if isinstance(error.__cause__, BenchError) else error))

    def _earlier(self, fingerprint: str) -> str | None:
        """The sweep to go on with. Ends the command where the same sweep was finished."""
        if finished := self.tracker.find(kind="sweep", fingerprint=fingerprint):
            log.info("Finished before, as run %s: nothing to do (sweep.resume=false does it again)", finished)
            sys.exit(0)
        unfinished: str | None = self.tracker.find(kind="sweep", fingerprint=fingerprint, status="")
        if unfinished:
            log.info("Going on with the unfinished sweep %s", unfinished)
            self.tracker.reopen(unfinished)
        return unfinished

    def close(self, cause: BaseException | None = None) -> None:
        """Show the table, attach it, and mark the parent: KILLED after an interruption, FAILED if a job failed.

        Raises SystemExit where there is no table to show, or it cannot be kept.
        """
        if self not in _open:
            return
        _open.remove(self)
        interrupted = isinstance(cause, KeyboardInterrupt) or (
            isinstance(cause, SystemExit) and cause.code == INTERRUPTED
        )
        try:
            if not self.tracker.discard_if_empty(self.parent):
                self.tracker.end(self.parent, cause if interrupted else self._conclude())
        except BaseException as error:
            self.tracker.end(self.parent, error)
            if not isinstance(error, Exception):
                raise
            _exit(error)

    def _conclude(self) -> Exception | None:
        """Print and keep the table; what the parent failed of."""
        from rich.console import Console

        from lrp_bench import notes
        from lrp_bench.contracts import NOTE, BenchError
        from lrp_bench.report.pages.summary import summarize

        console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
        summary = summarize(self.tracker.uri, self.tracker.experiment, self.parent, self.folder)
        console.print(summary.render(console.width))
        console.print(
            f"Tables: {self.folder}/table.md, .html, .csv, .tex; runs: {self.tracker.page(self.parent)}", soft_wrap=True
        )
        run = self.tracker.resume(self.parent)
        for file in summary.files:
            run.log_file(file)
        table = "".join(file.read_text(encoding="utf-8") for file in summary.files if file.suffix == ".md")
        run.set_tags({NOTE: notes.of_sweep(self.command, table)})
        run.log_metrics(notes.beside_each_other(summary.comparison))
        failures = summary.comparison.failures
        return BenchError(f"{len(failures)} runs failed") if failures else None


def name(typed: Sequence[str]) -> str:
    """What a sweep is called: what was typed, without what decides no number."""
    return " ".join(_without(typed, ASIDE)) or "defaults"


def experiment(config: DictConfig, typed: Sequence[str]) -> str:
    """The chosen preset, and in brackets what was typed that may change its numbers, on whatever machine."""
    changes = _without(typed, (*NEUTRAL, *MACHINE))
    preset = config.hydra.runtime.choices.get("experiment") or ""
    return f"{preset} ({', '.join(changes)})" if changes else str(preset)


def _without(typed: Sequence[str], groups: tuple[str, ...]) -> list[str]:
    return [override for override in typed if not override.lstrip("+~").startswith(groups)]


def fingerprint(config: DictConfig) -> str:
    """A sha256 of all that decides the numbers of a sweep, the code included; interpolations count as written."""
    from lrp_bench.tracking import machine, provenance
    from lrp_bench.tracking.record import digest

    whole: dict[str, Any] = OmegaConf.to_container(config, resolve=False)  # type: ignore[assignment]
    hydra = whole.pop("hydra")
    facts = {group: each for group, each in whole.items() if not group.startswith(NEUTRAL)}
    typed = OverridesParser.create().parse_overrides(hydra["overrides"]["task"])
    swept = [override.input_line for override in typed if override.is_sweep_override()]
    outside = [_told(config, "paths.data"), _content(config), provenance.code(), provenance.versions()]
    gpus = [] if facts.get("device") == "cpu" else machine.gpus()
    return digest([facts, hydra["sweeper"].get("params"), swept, outside, gpus])


def _told(config: DictConfig, key: str) -> str:
    return str(OmegaConf.select(config, key, default="", throw_on_resolution_failure=False))


def _content(config: DictConfig) -> str:
    """A sha256 of the file that holds the model, where there is one."""
    path = Path(_told(config, "model.path"))
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def parent_of_this_job() -> str | None:
    """The run id of the sweep that this job belongs to."""
    return os.environ.get(PARENT) or None


def _exit(error: Exception) -> NoReturn:
    from lrp_bench.contracts import BenchError

    if isinstance(error, BenchError):
        sys.exit(f"The sweep's table is not shown or not kept. {error}")
    log.error("This may be a fault of lrp_bench; please report it.", exc_info=error)
    sys.exit(f"The sweep's table is not shown or not kept, by {type(error).__name__}: {error}")


def close_open(cause: BaseException) -> None:
    """Close what is still open when the command line ends early."""
    while _open:
        _open[0].close(cause)
