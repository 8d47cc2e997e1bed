"""`python -m lrp_bench.report claims`: experiments/README.md and a CSV per experiment."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment
from rich.console import Console
from rich.text import Text

from lrp_bench.contracts import BenchError
from lrp_bench.report.claims import MISSED, NOT_RUN, REACHED, Study, judge, measure, place, read_study, sentences
from lrp_bench.report.evidence import gather
from lrp_bench.report.summary import write
from lrp_bench.report.trends import draw_trends

STYLES = {REACHED: "green", MISSED: "red"}
TEMPLATE = """\
# Claims

What was published for each system, and what comes out here. `make reproduce` measures all of it and writes this page;
`make reproduce only=NAME` measures one, and so does `python -m lrp_bench experiment=NAME` followed by
`python -m lrp_bench.report claims`. A claim that is not reached stays in its table.
Ours is a mean with its 95 % interval, or a median with the quartiles; n counts samples, or seeds for a number of the
model.

| system | command | claims | reached | not reached | not run |
|---|---|---:|---:|---:|---:|
{% for study, counts in totals -%}
| [{{ study.title }}](#{{ study.name }}) | `experiment={{ study.experiment }}` | {{ counts | join(" | ") }} |
{% endfor %}
{%- for study, table, said, measured, notes in parts %}
## <a name="{{ study.name }}"></a>{{ study.title }}

{{ study.about | trim }}

{% for sentence in said -%}
**{{ sentence }}**

{% endfor -%}
| claim | row, column | published | ours | difference | allowed | verdict |
|---|---|---:|---:|---:|---:|---|
{% for row in table -%}
| {{ row | join(" | ") }} |
{% endfor %}
{% for note in notes -%}
{{ note }}
{% endfor -%}
{{ measured }}
{% endfor -%}
"""


def main(arguments: Sequence[str]) -> int:
    """Measure the claims from the store, and write the page; a claim that is not reached is no error."""
    options = _parser().parse_args(arguments)
    console = Console()
    studies = _studies(options.folder, options.names)
    for study in studies:
        judged = update(study, options.folder, options.uri, options.experiment)
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in judged["verdict"].value_counts().items())
        console.print(Text(f"{study.name}: {verdicts}"))
        for row in judged[judged["verdict"] == MISSED].itertuples():
            console.print(Text(f"  {row.what}: published {row.published:g}, ours {row.ours:g}", style="red"))
    console.print(Text(str(write_page(options.folder))), soft_wrap=True)
    return 0


def update(study: Study, folder: Path, uri: str, experiment: str) -> pd.DataFrame:
    """Judge a study by what the store holds, else by its CSV of an earlier time, and write the CSV.

    Where the store holds several trainings of one network, their figure comes into a folder of the study's name.
    """
    evidence = gather(uri, experiment, study.experiment)
    if evidence is not None:
        draw_trends(evidence, folder / study.name)
    measured = _earlier(study, folder) if evidence is None else measure(study, evidence)
    judged = judge(study, measured)
    write(folder / f"{study.name}.csv", judged.to_csv(index=False, lineterminator="\n"))
    return judged


def write_page(folder: Path) -> Path:
    """README.md of all studies in a folder, from their CSV files."""
    parts, totals = [], []
    for study in _studies(folder, ()):
        judged = judge(study, _earlier(study, folder))
        counts = judged["verdict"].value_counts().reindex([REACHED, MISSED, NOT_RUN], fill_value=0)
        when = sorted({text for text in judged["measured"] if text})
        table = [_cells(row) for row in judged.to_dict("records")]
        measured = f"Measured {'; '.join(when)}." if when else "Not measured yet."
        totals.append((study, [len(judged), *counts]))
        parts.append((study, table, sentences(study, judged), measured, _notes(judged)))
    page = Environment(autoescape=False).from_string(TEMPLATE).render(parts=parts, totals=totals)
    return write(folder / "README.md", page.rstrip() + "\n")


def _studies(folder: Path, names: Sequence[str]) -> list[Study]:
    there = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    if unknown := sorted(set(names) - set(there)):
        known = ", ".join(there) or "none"
        raise BenchError(f"Expected names of files in {folder}, got {', '.join(unknown)}: there are {known}.")
    return [read_study(path) for name, path in there.items() if not names or name in names]


def _earlier(study: Study, folder: Path) -> pd.DataFrame | None:
    path = folder / f"{study.name}.csv"
    if not path.exists():
        return None
    numbers = dict.fromkeys(("ours", "low", "high"), "")
    return pd.read_csv(path, keep_default_na=False, na_values=numbers, dtype={"sample": str})


def _cells(row: Mapping[Any, Any]) -> list[str]:
    """One line of the table."""
    published, ours = row["published"], row["ours"]
    places = _places(published, row["tolerance"])
    sign = {">=": "≥ ", "<=": "≤ "}.get(row["relation"], "")
    difference = "" if math.isnan(ours) else f"{ours - published:+.1e}"
    told = [row["what"], place(row), f"{sign}{published:.{places}f}", _ours(row, places), difference, _allowed(row)]
    return [str(cell).replace("|", "\\|").replace("\n", " ") for cell in [*told, row["verdict"]]]


def _allowed(row: Mapping[Any, Any]) -> str:
    if row["relation"] != "=":
        return ""
    return f"{100 * row['tolerance']:g} %" if row["relative"] else f"{row['tolerance']:g}"


def _ours(row: Mapping[Any, Any], places: int) -> str:
    ours, low, high = row["ours"], row["low"], row["high"]
    if math.isnan(ours):
        return "n.a."
    if math.isnan(low):
        return f"{ours:.{places}f}"
    return f"{ours:.{places}f} [{low:.{places}f}, {high:.{places}f}], n = {row['n']}"


def _places(published: float, tolerance: float) -> int:
    """Decimals that show the published number whole, and a difference as large as the tolerance."""
    typed = len(f"{published:.10f}".rstrip("0").partition(".")[2])
    return max(typed, 2, -math.floor(math.log10(tolerance)) if tolerance else 0)


def _notes(judged: pd.DataFrame) -> list[str]:
    sources = [f"Source: {text}." for text in dict.fromkeys(judged["source"])]
    told = judged[judged["deviation"] != ""].groupby("deviation", sort=False)["what"].apply(", ".join)
    return [*sources, "", *(f"- {what}: {deviation}" for deviation, what in told.items()), *([""] if len(told) else [])]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m lrp_bench.report claims", description="Published numbers beside those in the MLflow store."
    )
    parser.add_argument("names", nargs="*", help="which files of the folder, without .yaml (default: all)")
    parser.add_argument("--folder", type=Path, default=Path("experiments"), help="of the claims (default: %(default)s)")
    parser.add_argument(
        "--uri", default="sqlite:///outputs/mlflow.db", help="where the runs are (default: %(default)s)"
    )
    parser.add_argument("--experiment", default="lrp_bench", help="MLflow experiment (default: %(default)s)")
    return parser
