"""report.html: a sweep as one page that can be sent to a colleague."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from lrp_bench.report.claims.tables import CAPTION, HEADER, ClaimsTable
from lrp_bench.report.figures.picture import Picture
from lrp_bench.report.numbers.comparison import Comparison
from lrp_bench.report.numbers.findings import sanity
from lrp_bench.report.numbers.gates import GATE
from lrp_bench.report.pages.files import write
from lrp_bench.report.pages.gallery import galleries
from lrp_bench.report.pages.summary import Summary
from lrp_bench.report.pages.web import data_uri, render
from lrp_bench.report.store.conditions import differing, is_random
from lrp_bench.report.store.origin import Origin
from lrp_bench.report.store.results import Results
from lrp_bench.report.tables.layout import Layout, lay_out, unique_titles

NAMED = 4  # methods that the heading names
VERSIONS = ("lrp_bench", "torch", "captum", "python")
UNFINISHED = {
    "RUNNING": "This sweep has not finished: below is what there is so far.",
    "KILLED": "This sweep was interrupted: below is what there is; with sweep.resume=true its command does the rest.",
    "FAILED": "Some of this sweep gave no numbers: what, and why, stands under “What is missing”.",
}


@dataclass(frozen=True)
class Shown:
    """A figure as an address that is the figure."""

    name: str
    title: str
    caption: str
    address: str


@dataclass(frozen=True)
class RunRow:
    """A run as its reader finds it. settings: what it does not share with all others."""

    id: str
    name: str
    seed: str
    link: str | None
    settings: tuple[tuple[str, str], ...]


def write_page(
    results: Results,
    summary: Summary,
    pictures: Sequence[Picture],
    folder: Path,
    *,
    origin: Origin,
    more: Mapping[str, Layout] | None = None,
    claims: ClaimsTable | None = None,
) -> Path:
    """Write report.html into a folder: one file, without a server or a network.

    pictures: figures, shown as the PNG among their files; more: further tables under their headings; claims: of
    the sweep's preset. Raises BenchError where the folder cannot be written.
    """
    comparison = summary.comparison
    every = lay_out(comparison, every=True)
    directed = {
        name: measure
        for name, measure in comparison.measures.items()
        if measure.headline and measure.higher_is_better is not None
    }
    settings = [dict(each) for each in results.runs["settings"]]
    page = render(
        "report.html",
        title=_title(comparison),
        name=results.name,
        facts=list(_facts(comparison, results, origin)),
        status=UNFINISHED.get(origin.status, ""),
        findings=[*summary.table.findings, *sanity(comparison)],
        table=summary.table,
        every=every if len(every.columns) > len(summary.table.columns) else None,
        more=more or {},
        gated=any(GATE in method for method in summary.table.methods),
        galleries=galleries(results, directed),
        pictures=list(_shown(pictures)),
        claims=claims,
        claims_header=HEADER,
        claims_caption=CAPTION,
        missing=[*summary.table.failures, *_unmeasured(comparison)],
        notes=summary.table.notes,
        origin=origin,
        shared=_shared(settings),
        runs=_runs(results, settings, origin),
    )
    return write(folder / "report.html", page)


def _title(comparison: Comparison) -> str:
    methods = [method for method in comparison.methods if not is_random(method)]
    where = "; ".join(comparison.settings[:3]) + (" ..." if len(comparison.settings) > 3 else "")
    if not methods:
        return "A sweep without numbers"
    named = ", ".join(methods) if len(methods) <= NAMED else f"{len(methods)} methods"
    return f"{named} on {where}"


def _facts(comparison: Comparison, results: Results, origin: Origin) -> Iterator[tuple[str, str]]:
    """What was compared: headings and texts."""
    yield "Data", ", ".join(dict.fromkeys(results.runs["dataset"])) or "none"
    yield "Model", "; ".join(_models(results, origin)) or "none"
    yield "Explained", _explained(comparison)
    yield "Seeds", ", ".join(sorted(set(results.runs["seed"]))) or "none"
    yield "When", _when(origin)
    yield "Versions", ", ".join(f"{name} {origin.versions[name]}" for name in VERSIONS if name in origin.versions)
    yield "Commit", origin.commit or "not from a checkout"


def _models(results: Results, origin: Origin) -> Iterator[str]:
    places = dict.fromkeys(results.runs[["dataset", "model"]].itertuples(index=False, name=None))
    for dataset, model in places:
        where = f" on {dataset}" if len(set(results.runs["dataset"])) > 1 else ""
        told = [_quality(name, values) for name, values in origin.quality.get((dataset, model), {}).items()]
        yield f"{model}{where}" + (f" ({', '.join(told)})" if told else "")


def _quality(name: str, values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    spread = f" to {high:.3f} over {len(values)} trainings" if high > low else ""
    return f"{name.replace('_', ' ')} {low:.3f}{spread}"


def _explained(comparison: Comparison) -> str:
    counts = " or ".join(map(str, sorted(set(comparison.samples.values())))) or "no"
    random = sum(map(is_random, comparison.methods))
    methods = len(comparison.methods) - random
    told = f"{counts} test samples, {methods} method{'s' * (methods != 1)}"
    return f"{told} and random maps" if random else told


def _when(origin: Origin) -> str:
    if origin.started is None:
        return "unknown"
    took = "" if math.isnan(origin.seconds) else f", took {timedelta(seconds=round(origin.seconds))}"
    return f"{origin.started:%Y-%m-%d %H:%M} UTC{took}"


def _unmeasured(comparison: Comparison) -> Iterator[str]:
    """Headline measures that some methods lack on a setting where others have them."""
    cells, titles = comparison.cells, unique_titles(comparison.measures)
    cells = cells[
        cells["measure"].map({name: each.headline for name, each in comparison.measures.items()}).astype(bool)
    ]
    for (setting, name), here in cells.groupby(["setting", "measure"], sort=False, observed=True):
        rows = set(cells.loc[cells["setting"] == setting, "method"])
        if lacking := [method for method in comparison.methods if method in rows - set(here["method"])]:
            yield f"{titles[str(name)]}, {setting}: not measured for {', '.join(lacking)}."


def _shown(pictures: Sequence[Picture]) -> Iterator[Shown]:
    for picture in pictures:
        png = next(path for path in picture.files if path.suffix == ".png")
        yield Shown(picture.name, picture.title, picture.caption, data_uri(png.read_bytes(), "image/png"))


def _shared(settings: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    different = set(differing(settings))
    return sorted((key, value) for key, value in (settings[0] if settings else {}).items() if key not in different)


def _runs(results: Results, settings: Sequence[Mapping[str, str]], origin: Origin) -> list[RunRow]:
    keys = sorted(differing(settings))
    rows = zip(results.runs.index, results.runs["name"], results.runs["seed"], settings, strict=True)
    return [
        RunRow(run, name, seed, origin.link(run), tuple((key, each[key]) for key in keys if key in each))
        for run, name, seed, each in rows
    ]
