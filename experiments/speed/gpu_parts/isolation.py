"""Each part in a process of its own, within its share of the time: one that fails costs nothing of the others."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from pathlib import Path

from gpu_parts.sheet import Scale, Sheet

ENDED = "How each part ended"
LEAST = 4.0  # seconds, below which no part is begun
PRELOADED = ["torch", "torchvision", "pandas", "lrp_bench.engine", "lrp_bench.metrics"]  # none of them touches a GPU


@dataclass(frozen=True)
class Part:
    """target: module:function, called with the sheet and the scale. share: of the time, beside the others' shares."""

    name: str
    target: str
    share: float


@dataclass(frozen=True)
class Outcome:
    """How a part ended. reason: why it did not come to its end; empty where it did."""

    part: str
    seconds: float
    limit: float
    reason: str = ""


def started_by(method: str) -> BaseContext:
    """How processes are made: forkserver, which imports the large packages once, or spawn."""
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(PRELOADED)
    return context


def run_parts(
    parts: Sequence[Part],
    scale: Scale,
    folder: Path,
    ends: float,
    context: BaseContext,
    told: Callable[[Sequence[Outcome]], object],
) -> list[Outcome]:
    """Run one part after the other until `ends` (seconds since 1970); what one leaves of its time is the others'.

    folder: for each part's NAME.jsonl and NAME.log. told: called after each part.
    """
    outcomes: list[Outcome] = []
    for place, part in enumerate(parts):
        shares = sum(each.share for each in parts[place:])
        limit = (ends - time.time()) * part.share / shares
        outcomes.append(run_part(part, scale, folder, limit, context))
        told(outcomes)
    return outcomes


def run_part(part: Part, scale: Scale, folder: Path, limit: float, context: BaseContext) -> Outcome:
    """Run one part, and stop it at its limit, in seconds."""
    if limit < LEAST:
        return Outcome(part.name, 0.0, max(limit, 0.0), "left out: no time was left")
    began, log = time.time(), folder / f"{part.name}.log"
    sheet = Sheet(folder / f"{part.name}.jsonl", part.name, began + 0.8 * limit)
    process = context.Process(target=_work, args=(part.target, sheet, scale, log))
    try:
        process.start()
    except (EOFError, OSError) as error:  # what starts the processes has died itself; the next part starts it anew
        return Outcome(part.name, time.time() - began, limit, f"could not be started: {type(error).__name__}: {error}")
    try:
        process.join(limit)
        stopped = process.is_alive()
    finally:  # also where this program itself is stopped
        _end(process.pid)
        process.kill()
        process.join()
    words = f"stopped at its limit of {limit:.0f} s" if stopped else _why(process.exitcode, log)
    return Outcome(part.name, time.time() - began, limit, words)


def _work(target: str, sheet: Sheet, scale: Scale, log: Path) -> None:
    os.setsid()  # so that what it starts ends with it
    with log.open("w") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    module, function = target.split(":")
    try:
        getattr(importlib.import_module(module), function)(sheet, scale)
    finally:
        spent = os.times()
        own, started = spent.user + spent.system, spent.children_user + spent.children_system
        sheet.put(ENDED, sheet.part, processor_seconds=own + started)


def _end(pid: int | None) -> None:
    """End a process and all that it started."""
    if pid is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _why(code: int | None, log: Path) -> str:
    if not code:
        return ""
    if code < 0:
        return f"ended by the system, {signal.Signals(-code).name}: perhaps for want of memory"
    said = (
        [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()] if log.exists() else []
    )
    return f"failed: {said[-1]}"[:300] if said else f"ended with exit code {code}"
