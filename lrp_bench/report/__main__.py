"""`python -m lrp_bench.report`: tables, figures and a page of a sweep that is in MLflow."""
# PYTHON_ARGCOMPLETE_OK

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import argcomplete
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lrp_bench.contracts import BenchError
from lrp_bench.startup import uncollected

if TYPE_CHECKING:
    from lrp_bench.report.claims.tables import ClaimsTable
    from lrp_bench.report.store.origin import Origin

LONGEST = 100  # characters of a folder's name


def main(arguments: Sequence[str] | None = None) -> int:
    """Write and show the report; the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    console = Console(width=None if sys.stdout.isatty() else 100)
    try:
        if given[:1] == ["claims"]:
            from lrp_bench.report.pages import claims

            return claims.main(given[1:])
        parser = _parser()
        argcomplete.autocomplete(parser)
        options = parser.parse_args(given)
        _list(options, console) if options.list else _report(options, console)
    except BenchError as error:
        Console(stderr=True).print(Text(f"Error: {error}", style="red"), soft_wrap=True)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m lrp_bench.report",
        description="Tables, figures and a page, report.html, of a sweep in MLflow.",
        epilog="python -m lrp_bench.report claims --help: published numbers beside those in the store.",
    )
    parser.add_argument(
        "claims", nargs="?", type=Path, metavar="experiments/NAME.yaml", help="the latest finished sweep of its preset"
    )
    parser.add_argument(
        "--sweep", default="latest", help="run id, the start of one, or run name (default: %(default)s)"
    )
    parser.add_argument(
        "--uri", default="sqlite:///outputs/mlflow.db", help="where the runs are (default: %(default)s)"
    )
    parser.add_argument("--experiment", default="lrp_bench", help="MLflow experiment (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("outputs/report"), help="folder to write (default: %(default)s)"
    )
    parser.add_argument("--all", action="store_true", help="every measure in the tables, not only the headline ones")
    parser.add_argument(
        "--by",
        choices=["measure", "dataset", "model"],
        help="what lies side by side in a table (default: measures, the data sets and models below each)",
    )
    parser.add_argument("--list", action="store_true", help="show which sweeps there are")
    return parser


def _list(options: argparse.Namespace, console: Console) -> None:
    from lrp_bench.report.store.collect import sweeps

    found = sweeps(options.uri, options.experiment)
    table = Table("sweep", "name", "started (UTC)", "status", "finished", "failed", box=None)
    for sweep, name, started, *rest in found.itertuples(index=False):
        table.add_row(sweep[:8], Text(name), f"{started:%Y-%m-%d %H:%M}", *map(str, rest))
    console.print(table if len(found) else "There is no sweep yet.")


def _folder_name(name: str, sweep: str) -> str:
    """A sweep's name in the characters that every file system takes; a long one ends in the sweep's id."""
    plain = re.sub(r"[^\w.-]+", "_", name).strip("._")
    return plain if 0 < len(plain) <= LONGEST else f"{plain[:LONGEST]}_{sweep[:8]}".strip("_")


def _report(options: argparse.Namespace, console: Console) -> None:
    with uncollected():
        from lrp_bench.report.figures.sweep import draw_all
        from lrp_bench.report.pages.report import write_page
        from lrp_bench.report.pages.stability import write_stability
        from lrp_bench.report.pages.summary import write_tables
        from lrp_bench.report.store.collect import collect
        from lrp_bench.report.store.origin import origin
        from lrp_bench.report.tables.terminal import render

    results = collect(options.uri, options.experiment, _sweep(options))
    folder = options.out / _folder_name(results.name, results.sweep)
    summary = write_tables(results, folder, every=options.all, by=options.by)
    stability, files = write_stability(results, folder)
    pictures = draw_all(results, summary.comparison, folder)
    source = origin(options.uri, options.experiment, results.sweep)
    page = write_page(
        results,
        summary,
        pictures,
        folder,
        origin=source,
        more={"Stability of the rankings": stability} if stability else {},
        claims=_claims(options, source),
    )
    console.print(summary.render(console.width))
    if stability:
        console.print(render(stability, console.width))
    drawn = (path for picture in pictures for path in picture.files)
    for path in (*summary.files, *files, *drawn, page):
        console.print(Text(str(path)), soft_wrap=True)


def _sweep(options: argparse.Namespace) -> str | None:
    """The sweep that is asked for; None is the latest."""
    if options.claims is None:
        return None if options.sweep == "latest" else str(options.sweep)
    from lrp_bench.report.claims.study import read_study
    from lrp_bench.report.store.collect import latest_id

    if options.sweep != "latest":
        raise BenchError(f"Expected a sweep or a file of claims, got both: leave out --sweep or {options.claims}.")
    return latest_id(options.uri, options.experiment, read_study(options.claims).experiment)


def _claims(options: argparse.Namespace, source: Origin) -> ClaimsTable | None:
    """The claims about a sweep's preset, where there is a file of them."""
    from lrp_bench.report.claims.study import read_study
    from lrp_bench.report.pages.claims import of_sweep

    path = options.claims or Path("experiments") / f"{source.preset}.yaml"
    if not source.preset or not path.is_file():
        return None
    return of_sweep(read_study(path), options.uri, options.experiment, source.sweep)


if __name__ == "__main__":
    sys.exit(main())
