"""A figure as its readers get it: files, and the words that stand beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Picture:
    """One figure. name: of its files; caption: what is seen and how to read it; files: PNG and PDF."""

    name: str
    title: str
    caption: str
    files: tuple[Path, ...]
