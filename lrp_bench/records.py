"""What a run keeps of an evaluation: numbers with intervals, curves, one row per sample, pictures, and its config."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lrp_bench.contracts import BenchError, Log
from lrp_bench.data.protocol import DataSet
from lrp_bench.data.text import TextData
from lrp_bench.evaluation import Evaluation
from lrp_bench.report.numbers import statistics
from lrp_bench.report.store import artifacts, maps
from lrp_bench.report.store.maps import Maps
from lrp_bench.tracking.record import without_secrets


def keep(run: Log, evaluation: Evaluation, data: DataSet, config: str, folder: Path) -> None:
    """Write the run's files into folder, and log them with all numbers.

    Raises BenchError where the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = [*_scores(evaluation, folder), _config(config, folder), *_coverage(evaluation, folder)]
        if evaluation.inputs.shape[0]:
            paths += _pictures(evaluation, data, folder)
        paths += _panels(evaluation, data, folder)
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


def first_samples(evaluation: Evaluation, data: DataSet, count: int = 3) -> str:
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
    path.write_text(without_secrets(config), encoding="utf-8")
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


def _pictures(evaluation: Evaluation, data: DataSet, folder: Path) -> list[Path]:
    from lrp_bench.report.figures.bars import table_maps
    from lrp_bench.report.figures.heatmaps import heatmap_grid

    shown = _maps(evaluation, data)
    kept = maps.write(shown, folder)
    titles = [
        f"{title}\nscore {score:.3g} {shown.unit}".rstrip()
        for title, score in zip(shown.titles.tolist(), shown.score.tolist(), strict=True)
    ]
    if shown.kind == "text":
        return [kept, *_sentences(shown, titles, folder)]
    path = heatmap_grid(shown.inputs, shown.relevance, titles, folder / "heatmaps.png", shown.features, shown.unit)
    if shown.kind == "image":
        return [kept, path]
    rows = [", ".join(title.splitlines()) for title in shown.titles.tolist()]
    table = table_maps(shown.inputs, shown.relevance, rows, shown.features, folder / "table.png", shown.unit)
    return [kept, path, table]


def _maps(evaluation: Evaluation, data: DataSet) -> Maps:
    """Some samples and their relevance, as pictures show them."""
    columns = (evaluation.index, evaluation.label, evaluation.prediction, evaluation.score)
    index, label, prediction, score = (column[evaluation.pictured] for column in columns)
    told = zip(label.tolist(), prediction.tolist(), strict=True)
    R = evaluation.relevance * data.scale
    return Maps(
        sample=index.numpy(),
        label=label.numpy(),
        prediction=prediction.numpy(),
        score=(score * data.scale).numpy(),
        titles=np.array([data.title(*each) for each in told]),
        inputs=data.denormalize(evaluation.inputs).numpy(),
        relevance=(R.sum(1) if R.ndim == 4 else R).float().numpy(),
        unit=data.unit,
        features=tuple(f"{name} ({unit})" if unit else name for name, unit in data.features.items()),
        words=maps.filled(data.sentences(index.tolist())) if isinstance(data, TextData) else None,
    )


def _panels(evaluation: Evaluation, data: DataSet, folder: Path) -> list[Path]:
    """What evaluators have drawn."""
    from lrp_bench.report.figures.panels import panel_grid

    paths = []
    for name, panels in evaluation.panels.items():
        told = zip(*(each[panels.rows].tolist() for each in (evaluation.label, evaluation.prediction)), strict=True)
        drawn = {heading: each.numpy() * data.scale for heading, each in panels.maps.items()}
        images = data.denormalize(panels.inputs).numpy()
        paths.append(panel_grid(images, drawn, [data.title(*each) for each in told], folder / f"{name}.png"))
    return paths


def _sentences(shown: Maps, titles: Sequence[str], folder: Path) -> list[Path]:
    from lrp_bench.report.figures.sentences import sentences, write_png
    from lrp_bench.report.pages.sentences import write_html

    words = [shown.sentence(place) for place in range(len(titles))]
    told = sentences(words, shown.relevance, [", ".join(title.splitlines()) for title in titles])
    return [write_html(told, folder / "sentences.html"), write_png(told, folder / "sentences.png")]
