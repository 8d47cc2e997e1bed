"""`python -m lrp_bench.report claims`: experiments/README.md, a CSV per experiment, and the tables in every format."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from jinja2 import Environment, PackageLoader
from rich.console import Console
from rich.text import Text

from lrp_bench.contracts import BenchError
from lrp_bench.report.claims.evidence import gather
from lrp_bench.report.claims.study import Study, read_study
from lrp_bench.report.claims.tables import CAPTION, HEADER, ClaimsTable, claims_table, latex
from lrp_bench.report.claims.trends import draw_trends
from lrp_bench.report.claims.verdicts import MISSED, NOT_RUN, REACHED, judge, measure
from lrp_bench.report.pages.files import write
from lrp_bench.report.pages.web import render
from lrp_bench.report.tables.formats import markdown_text


def main(arguments: Sequence[str]) -> int:
    """Measure the claims from the store, and write the page; a claim that is not reached is no error."""
    options = _parser().parse_args(arguments)
    console = Console()
    studies = _studies(options.folder, options.names)
    found = {study: update(study, options.folder, options.uri, options.experiment) for study in studies}
    for study, judged in found.items():
        console.print(Text(f"{study.name}: {claims_table(study, judged).counts}"))
        for row in judged[judged["verdict"] == MISSED].itertuples():
            console.print(Text(f"  {row.what}: published {row.published:g}, ours {row.ours:g}", style="red"))
    files = [write_page(options.folder), *(write_tables(found, options.out) if options.out else ())]
    for path in files:
        console.print(Text(str(path)), soft_wrap=True)
    return 0


def update(study: Study, folder: Path, uri: str, experiment: str) -> pd.DataFrame:
    """Judge a study by what the store holds, else by its CSV of an earlier time, and write the CSV.

    Where the store holds several trainings of one network, their figure comes into a folder of the study's name.
    """
    evidence = gather(uri, experiment, study.experiment, study.beside)
    if evidence is not None:
        draw_trends(evidence, folder / study.name)
    measured = _earlier(study, folder) if evidence is None else measure(study, evidence)
    judged = judge(study, measured)
    write(folder / f"{study.name}.csv", judged.to_csv(index=False, lineterminator="\n"))
    return judged


def of_sweep(study: Study, uri: str, experiment: str, sweep: str) -> ClaimsTable | None:
    """The claims of a study, judged by one sweep alone; None where the sweep is not a finished one of its preset."""
    evidence = gather(uri, experiment, study.experiment, study.beside, sweep)
    return None if evidence is None else claims_table(study, judge(study, measure(study, evidence)))


def write_page(folder: Path) -> Path:
    """README.md of all studies in a folder, from their CSV files."""
    judged = {study: _known(study, folder) for study in _studies(folder, ())}
    counts = {
        study: each["verdict"].value_counts().reindex([REACHED, MISSED, NOT_RUN], fill_value=0)
        for study, each in judged.items()
    }
    totals = [(study, [len(judged[study]), *each]) for study, each in counts.items()]
    environment = Environment(loader=PackageLoader("lrp_bench.report.pages"), autoescape=False)
    environment.filters |= {"cell": _cell, "prose": _prose}
    tables = [claims_table(study, each) for study, each in judged.items()]
    page = environment.get_template("claims.md").render(
        tables=tables,
        totals=totals,
        header=HEADER,
        caption=CAPTION,
        figures={study.name: _figures(study, folder) for study in judged},
    )
    return write(folder / "README.md", page.rstrip() + "\n")


def write_tables(judged: Mapping[Study, pd.DataFrame], folder: Path) -> list[Path]:
    """claims.html, claims.csv and claims.tex of some studies into one folder. judged: of `verdicts.judge`."""
    tables = [claims_table(study, each) for study, each in judged.items()]
    rows = pd.concat([each.assign(study=study.name) for study, each in judged.items()])
    texts = {
        "claims.html": render("claims.html", judged=tables, header=HEADER, caption=CAPTION),
        "claims.csv": rows[["study", *rows.columns.drop("study")]].to_csv(index=False, lineterminator="\n"),
        "claims.tex": latex(tables),
    }
    return [write(folder / name, text) for name, text in texts.items()]


def _cell(text: str) -> str:
    """Text that renders as it stands; brackets that make no link, those of intervals, stay readable."""
    return re.sub(r"\\(\[|\](?![(\[:\\]))", r"\1", markdown_text(text))


def _prose(text: str) -> str:
    """Outside a table, where a pipe means nothing; `code` stays code."""
    return re.sub(r"\\([|`])", r"\1", _cell(text))


def _known(study: Study, folder: Path) -> pd.DataFrame:
    return judge(study, _earlier(study, folder))


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


def _figures(study: Study, folder: Path) -> list[str]:
    """What lies in the folder of the study's name, as the page links to it."""
    return [path.relative_to(folder).as_posix() for path in sorted((folder / study.name).glob("*.png"))]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m lrp_bench.report claims", description="Published numbers beside those in the MLflow store."
    )
    parser.add_argument("names", nargs="*", help="which files of the folder, without .yaml (default: all)")
    parser.add_argument("--folder", type=Path, default=Path("experiments"), help="of the claims (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder for the same tables as claims.html, claims.csv and claims.tex")
    parser.add_argument(
        "--uri", default="sqlite:///outputs/mlflow.db", help="where the runs are (default: %(default)s)"
    )
    parser.add_argument("--experiment", default="lrp_bench", help="MLflow experiment (default: %(default)s)")
    return parser
