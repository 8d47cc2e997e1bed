"""How text files are written."""

from __future__ import annotations

from pathlib import Path

from lrp_bench.contracts import BenchError


def write(path: Path, text: str) -> Path:
    """Write whole or not at all, into a folder that is made where it is missing.

    Raises BenchError where the disk refuses it.
    """
    draft = path.with_name(f".{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text, encoding="utf-8")
        return draft.replace(path)
    except OSError as error:
        raise BenchError(f"Expected to write {path}, got {error}: free the disk or choose another folder.") from error
