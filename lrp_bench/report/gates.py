"""Sanity checks: a method that fails one is marked wherever its scores are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lrp_bench.report.comparison import Comparison

GATE = "‡"  # behind the name of a method that fails a sanity check


def failed_gates(comparison: Comparison) -> dict[str, list[str]]:
    """Each sanity check that some method fails, in words, and the methods that fail it on any setting."""
    return dict(_failed(comparison))


def told(gates: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The note below a table."""
    if gates:
        words = "; ".join(f"{check} ({', '.join(methods)})" for check, methods in gates.items())
        yield f"{GATE} fails a sanity check: {words}."


def _failed(comparison: Comparison) -> Iterator[tuple[str, list[str]]]:
    for name, measure in comparison.measures.items():
        if measure.gate is None or measure.higher_is_better is None:
            continue
        cells = comparison.cells[comparison.cells["measure"] == name]
        worse = cells["mean"] < measure.gate if measure.higher_is_better else cells["mean"] > measure.gate
        failing = set(cells.loc[worse, "method"])
        if failing:
            words = f"{measure.title} {'below' if measure.higher_is_better else 'above'} {measure.gate:g}"
            yield words, [method for method in comparison.methods if method in failing]
