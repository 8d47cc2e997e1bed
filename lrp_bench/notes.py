"""What MLflow's page says of a run in words, and the numbers where its charts and tables look for them."""

from __future__ import annotations

import html
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lrp_bench.contracts import Measure
from lrp_bench.tracking.record import TAG_LENGTH, clean

if TYPE_CHECKING:  # the sweep's process starts without torch
    from lrp_bench.evaluation import Evaluation
    from lrp_bench.report.numbers.comparison import Comparison

TABLES = "mlflow.loggedArtifacts"  # the tag that names the files to be shown as tables
SAMPLES = "samples.json"


def of_explanation(about: str, measures: Mapping[str, Measure], metrics: Mapping[str, float]) -> str:
    """A run's description in Markdown: what was explained, and the headline numbers with their intervals.

    metrics: as `report.statistics.metrics` names them.
    """
    rows = [
        f"| {plain(measure.title)}{_arrow(measure)} | {_number(name, measure, metrics)} | {metrics[f'{name}/n']:.0f} |"
        for name, measure in measures.items()
        if measure.headline and f"{name}/n" in metrics
    ]
    table = (
        ["| measure | mean (95 % interval) or median (quartiles) | n |", "| :-- | --: | --: |", *rows] if rows else []
    )
    return shortened("\n".join([about, "", *table]))


def of_sweep(command: str, table: str) -> str:
    """A sweep's description in Markdown: the command and the table."""
    return shortened("\n".join([*(f"    {line}" for line in command.splitlines()), "", table]))


def plain(text: str) -> str:
    """A name that may hold anything, for Markdown."""
    return re.sub(r"([\\*_`\[\]|#])", r"\\\1", html.escape(text, quote=False))


def shortened(text: str, longest: int = TAG_LENGTH) -> str:
    """Whole lines, as many as a tag holds."""
    if len(text) <= longest:
        return text
    return text[: longest - 2].rpartition("\n")[0] + "\n…"


def beside_each_other(comparison: Comparison) -> dict[str, float]:
    """The headline measures of all methods, as <measure>/<method>, or <measure>/<setting>/<method>."""
    keys = ["measure", *(["setting"] if len(comparison.settings) > 1 else []), "method"]
    found, seen = dict[str, float](), Counter[str]()
    for row in comparison.cells[[*keys, "shown"]].to_dict("records"):
        if comparison.measures[row["measure"]].headline:
            name = clean("/".join(str(row[key]).replace(", ", " ") for key in keys))
            seen[name] += 1  # some differ only in what a key cannot hold
            found[name if seen[name] == 1 else f"{name}:{seen[name]}"] = float(row["shown"])
    return found


def samples_table(evaluation: Evaluation, folder: Path) -> tuple[Path, dict[str, str]]:
    """A file with a row per sample that MLflow's page shows as a table, and the tag by which it knows."""
    shown = [name for name, measure in evaluation.measures.items() if measure.headline]
    columns = {
        **{name: getattr(evaluation, name).tolist() for name in ("label", "prediction", "score")},
        **{name: evaluation.values[name].tolist() for name in shown},
    }
    rows = [[_json(cell) for cell in row] for row in zip(evaluation.index.tolist(), *columns.values(), strict=True)]
    path = folder / SAMPLES
    path.write_text(json.dumps({"columns": ["sample", *columns], "data": rows}), encoding="utf-8")
    return path, {TABLES: json.dumps([{"path": SAMPLES, "type": "table"}])}


def _json(cell: float) -> float | None:
    return cell if math.isfinite(cell) else None


def _arrow(measure: Measure) -> str:
    return {True: " ↑", False: " ↓", None: ""}[measure.higher_is_better]


def _number(name: str, measure: Measure, metrics: Mapping[str, float]) -> str:
    ends = ("/median", "/q1", "/q3") if measure.summary == "median" else ("", "/low", "/high")
    middle, low, high = (metrics[name + end] for end in ends)
    return f"{middle:.4g} ({low:.4g} to {high:.4g})"
