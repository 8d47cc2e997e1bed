"""The last resort for missing files: torchvision's own download, with a clear end where there is no network."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from lrp_bench.contracts import BenchError

log = logging.getLogger(__name__)

TIMEOUT = 15.0


def ensure(files: Sequence[Path], root: Path, download: Callable[[], object]) -> None:
    """Call `download` unless all `files` are there; of several processes, one does.

    Raises:
        BenchError: naming the missing files, where they were looked for and how to get them.
    """
    if not _missing(files):
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".download.lock"), _timeout():
            if _missing(files):
                log.info("Downloading %s to %s", ", ".join(_missing(files)), root)
                download()
    except (OSError, RuntimeError, EOFError) as error:
        raise BenchError(
            f"Expected {', '.join(str(file.relative_to(root)) for file in files)} in {root.absolute()}, missing:"
            f" {', '.join(_missing(files)) or 'none'}; the download failed ({_short(error)}). Copy the files there,"
            " or set paths.data or LRP_BENCH_DATA to a folder that holds them"
        ) from error


def _missing(files: Sequence[Path]) -> list[str]:
    return [file.name for file in files if not file.exists()]


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


@contextmanager
def _timeout() -> Iterator[None]:
    # torchvision opens its addresses without a limit; a network that swallows packets would hang for minutes.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
