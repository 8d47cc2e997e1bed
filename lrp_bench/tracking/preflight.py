"""What is checked about a store before MLflow touches it: MLflow itself retries for minutes."""

from __future__ import annotations

import os
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path
from queue import Empty, Queue
from threading import Thread

from lrp_bench.contracts import BenchError

SQLITE = "sqlite:///"


def absolute(uri: str) -> str:
    """A tracking address that means the same store from any directory; BenchError for what MLflow cannot use."""
    if not uri.startswith(SQLITE):
        if "://" not in uri or uri.startswith(("file:", "sqlite:")):
            raise BenchError(
                f"Expected tracker.uri as {SQLITE}PATH, http://HOST:PORT or a database address, got {uri!r}: "
                "MLflow no longer keeps runs in plain folders."
            )
        return uri.rstrip("/")
    path = Path(uri.removeprefix(SQLITE)).expanduser().resolve()
    if {"%", "?"} & set(str(path)):
        raise BenchError(
            f"Expected a store path without '%' and '?', got {path}: SQLite addresses give them a meaning, "
            "so choose another folder."
        )
    return f"{SQLITE}{path}"


def sqlite_path(uri: str) -> Path | None:
    """The database file of an absolute SQLite address; None for every other kind of store."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def holds_data(path: Path) -> bool:
    """Whether the file is there and not empty."""
    return path.exists() and path.stat().st_size > 0


def check_database(path: Path) -> None:
    """Raise BenchError unless the SQLite file is there and can be read, and written together with its folder."""
    if not holds_data(path):
        raise BenchError(
            f"Expected an MLflow store in {path}, got no such file: run a sweep first, or name another store."
        )
    try:
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA schema_version").fetchone()
        reason = "" if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) else "it cannot be written"
    except sqlite3.OperationalError as error:
        reason = "" if "locked" in str(error) else str(error)
    except sqlite3.DatabaseError as error:
        reason = str(error)
    if reason:
        raise BenchError(
            f"Expected a writable MLflow store in {path}, got: {reason}: mend it, move it away, or choose tracker.uri."
        )


def check_folder(folder: Path) -> None:
    """Make a folder; BenchError where it cannot be made or written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BenchError(
            f"Expected to make the folder {folder}, got {error}: choose paths.outputs elsewhere."
        ) from error
    if not os.access(folder, os.W_OK):
        raise BenchError(f"Expected a writable folder, got {folder}: choose paths.outputs elsewhere.")


def check_server(uri: str, timeout: float) -> None:
    """Raise BenchError unless an MLflow server answers within `timeout` seconds."""
    answer: Queue[str] = Queue()
    # A name server or a second address may each take their own timeout: only the wait for a thread bounds the sum.
    Thread(target=lambda: answer.put(_health(uri, timeout)), daemon=True).start()
    try:
        problem = answer.get(timeout=timeout)
    except Empty:
        problem = f"no answer within {timeout:g} s"
    if problem:
        raise BenchError(
            f"Expected an MLflow server at {uri}, got: {problem}: start it (mlflow server --backend-store-uri ...), "
            "mend tracker.uri, or leave it out to use the embedded store."
        )


def _health(uri: str, timeout: float) -> str:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=timeout):
            return ""
    except urllib.error.HTTPError as error:
        with error:
            return "" if error.code == 401 else f"HTTP {error.code} {error.reason}"  # 401: MLflow adds the password
    except (OSError, ValueError) as error:
        return str(error)
