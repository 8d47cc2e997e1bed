"""Progress bars: one at a time, on a terminal only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import current_process

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def terminal() -> Console | None:
    """Where a bar can be shown: nowhere in the workers of a launcher, whose bars would overwrite each other."""
    console = Console(stderr=True)
    return console if console.is_terminal and current_process().name == "MainProcess" else None


def bar(console: Console | None) -> Progress:
    """A bar that tells how far, of how much and how long still, and is gone when it stops."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=console is None)


@contextmanager
def steps(title: str, total: int, console: Console | None) -> Iterator[Callable[[str], None]]:
    """A bar of `total` steps; what is given is called with a word after each."""
    with bar(console) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, advance=1, description=f"{title}, {done}")
