"""Tables in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lrp_bench.contracts import BenchError

TEST_FRACTION = 0.2  # of a table that has no official test split


def read_csv(path: Path) -> NDArray[np.float64]:
    """The numbers of a table with one line of headers: (rows, columns)."""
    try:
        return np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
    except ValueError as error:
        raise BenchError(f"Expected numbers separated by commas in {path}, got: {error}; fetch it again") from error
