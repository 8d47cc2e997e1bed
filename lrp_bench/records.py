"""What a run keeps of an evaluation: numbers with intervals, curves, one row per sample, pictures, and its config."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError, Log
from lrp_bench.data.base import TensorData
from lrp_bench.data.text import TextData, Words
from lrp_bench.evaluation import Evaluation
from lrp_bench.report import artifacts, statistics


def keep(run: Log, evaluation: Evaluation, data: TensorData, config: str, folder: Path) -> None:
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


def first_samples(evaluation: Evaluation, data: TensorData, count: int = 3) -> str:
    """A table of the first samples' scores and relevance; empty where the relevance is not among the values."""
    told = _told(evaluation.values, most=32)
    if not told:
        return ""
    places = 8 if data.dtype == torch.float64 else 4
    shown = {"score": evaluation.score, **told}
    numbers = {name: [f"{value:.{places}f}" for value in each[:count].tolist()] for name, each in shown.items()}
    samples = zip(evaluation.label[:count].tolist(), evaluation.prediction[:count].tolist(), strict=True)
    titles = [", ".join(data.title(*each).splitlines()) for each in samples]
    header = [f"sample {index}" for index in evaluation.index[:count].tolist()]
    return _aligned([["", *header], ["", *titles], *([name, *row] for name, row in numbers.items())])


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    first, *others = widths
    return "\n".join(
        "  ".join([name.ljust(first), *(cell.rjust(width) for cell, width in zip(cells, others, strict=True))]).rstrip()
        for name, *cells in rows
    )


def _told(values: Mapping[str, Tensor], most: int) -> dict[str, Tensor]:
    """What is said of the relevance: of single units only where they are few."""
    told = {name: each for name, each in values.items() if name.startswith(("relevance/", "activation/"))}
    units = {name for name in told if name.count("/") > 1 and name.rpartition("/")[2].isdigit()}
    dropped = units if len(told) > most else set()
    return {name.removeprefix("relevance/"): each for name, each in told.items() if name not in dropped}


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
    from lrp_bench.report.bars import table_maps
    from lrp_bench.report.figures import heatmap_grid

    shown = len(evaluation.inputs)
    told = (c[:shown].tolist() for c in (evaluation.label, evaluation.prediction, evaluation.score * data.scale))
    titles = [
        f"{data.title(label, prediction)}\nscore {score:.3g} {data.unit}".rstrip()
        for label, prediction, score in zip(*told, strict=True)
    ]
    if isinstance(data, TextData):
        return _sentences(data.sentences(evaluation.index[:shown].tolist()), evaluation, titles, folder)
    features = [f"{name} ({unit})" if unit else name for name, unit in data.features.items()]
    path = folder / "heatmaps.png"
    inputs, relevance = data.denormalize(evaluation.inputs).numpy(), evaluation.relevance.numpy() * data.scale
    heatmap_grid(inputs, relevance, titles, path, features, data.unit)
    if relevance.ndim > 2:
        return [path]
    rows = [", ".join(title.splitlines()[:-1]) for title in titles]
    return [path, table_maps(inputs, relevance, rows, features, folder / "table.png", data.unit)]


def _sentences(words: Sequence[Words], evaluation: Evaluation, titles: Sequence[str], folder: Path) -> list[Path]:
    from lrp_bench.report.sentences import sentences, write_html, write_png

    told = sentences(words, evaluation.relevance.numpy(), [", ".join(title.splitlines()) for title in titles])
    return [write_html(told, folder / "sentences.html"), write_png(told, folder / "sentences.png")]
