"""The figures in one picture."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


def draw(found: pd.DataFrame, title: str, path: Path) -> None:
    """Differences, times, throughput."""
