"""What a run keeps of an evaluation: numbers with intervals, curves, one row per sample, pictures, and its config."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from lrp_bench.contracts import BenchError, Run
from lrp_bench.data.base import TensorData
from lrp_bench.data.text import TextData, Words
from lrp_bench.evaluation import Evaluation
from lrp_bench.report import artifacts, statistics


def keep(run: Run, evaluation: Evaluation, data: TensorData, config: str, folder: Path) -> None:
    """Write the run's files into folder, and log them with all numbers.

    Raises BenchError where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [*_scores(evaluation, folder), _config(config, folder), *_coverage(evaluation, folder)]
        if evaluation.inputs.shape[0]:
            paths += _pictures(evaluation, data, folder)
    except OSError as error:
        raise BenchError(
            f"Expected {folder} to be writable, got: {error}: free some space or set paths.outputs."
        ) from error
    run.log_metrics(statistics.metrics({name: values.numpy() for name, values in evaluation.values.items()}))
    run.log_metrics({"explain_seconds": evaluation.seconds})
    for name, curve in evaluation.curves.items():
        run.log_curve(name, curve.scores.mean(0).tolist(), range(len(curve.fractions)))
    run.set_tags({f"{artifacts.UNAVAILABLE}{name}": reason for name, reason in evaluation.unavailable.items()})
    run.set_tags({"samples": ",".join(map(str, evaluation.index.tolist()))})
    for path in paths:
        run.log_file(path)


def _scores(evaluation: Evaluation, folder: Path) -> list[Path]:
    columns = {
        "sample": evaluation.index,
        "label": evaluation.label,
        "prediction": evaluation.prediction,
        "score": evaluation.score,
    }
    return artifacts.write(
        folder,
        samples={name: column.numpy() for name, column in columns.items()},
        values={name: values.numpy() for name, values in evaluation.values.items()},
        measures=evaluation.measures,
        curves={name: (curve.fractions.numpy(), curve.scores.numpy()) for name, curve in evaluation.curves.items()},
        layers={
            layer: {name: values.numpy() for name, values in quantities.items()}
            for layer, quantities in evaluation.layers.items()
        },
    )


def _config(config: str, folder: Path) -> Path:
    path = folder / "config.yaml"
    path.write_text(config, encoding="utf-8")
    return path


def _coverage(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Which operator of which module got which rule."""
    if not evaluation.coverage:
        return []
    path = folder / "coverage.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [f.name for f in fields(evaluation.coverage[0])])
        table.writeheader()
        table.writerows(asdict(row) for row in evaluation.coverage)
    return [path]


def _pictures(evaluation: Evaluation, data: TensorData, folder: Path) -> list[Path]:
    from lrp_bench.report.figures import heatmap_grid

    names, shown = data.class_names, len(evaluation.inputs)
    titles = [
        f"true {names[label]}\npredicted {names[prediction]}\nscore {score:.3g}"
        for label, prediction, score in zip(
            *(c[:shown].tolist() for c in (evaluation.label, evaluation.prediction, evaluation.score)), strict=True
        )
    ]
    if isinstance(data, TextData):
        return _sentences(data.sentences(evaluation.index[:shown].tolist()), evaluation, titles, folder)
    path = folder / "heatmaps.png"
    heatmap_grid(data.denormalize(evaluation.inputs).numpy(), evaluation.relevance.numpy(), titles, path)
    return [path]


def _sentences(words: Sequence[Words], evaluation: Evaluation, titles: Sequence[str], folder: Path) -> list[Path]:
    from lrp_bench.report.sentences import sentences, write_html, write_png

    told = sentences(words, evaluation.relevance.numpy(), [", ".join(title.splitlines()) for title in titles])
    return [write_html(told, folder / "sentences.html"), write_png(told, folder / "sentences.png")]
