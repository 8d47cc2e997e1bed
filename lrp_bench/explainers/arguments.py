"""Parameters of explainers, checked before anything runs."""

from __future__ import annotations

import math

from lrp_bench.contracts import BenchError


def expect(holds: bool, wanted: str, value: object) -> None:
    """Raise BenchError unless it holds."""
    if not holds:
        raise BenchError(f"Expected {wanted}, got {value!r}: correct it in the explainer's config.")


def expect_number(name: str, value: object, least: float = -math.inf) -> None:
    """Raise BenchError unless the value is a finite number of at least `least`."""
    finite = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    bound = "" if least == -math.inf else f" >= {least:g}"
    expect(finite and value >= least, f"{name} to be a finite number{bound}", value)  # type: ignore[operator]


def expect_count(name: str, value: object) -> None:
    """Raise BenchError unless the value is a whole number >= 1."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    expect(whole and value >= 1, f"{name} to be a whole number >= 1", value)  # type: ignore[operator]


def expect_flag(name: str, value: object) -> None:
    """Raise BenchError unless the value is a bool."""
    expect(isinstance(value, bool), f"{name} to be true or false", value)


def expect_seed(seed: object) -> None:
    """Raise BenchError unless the seed is an integer from 0 to 2**63 - 1."""
    whole = isinstance(seed, int) and not isinstance(seed, bool)
    expect(whole and 0 <= seed < 2**63, "seed to be an integer from 0 to 2**63 - 1", seed)  # type: ignore[operator]
