"""`python -m lrp_bench.report`: tables and figures of a sweep that is in MLflow."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lrp_bench.contracts import BenchError

LONGEST = 100  # characters of a folder's name


def main(arguments: Sequence[str] | None = None) -> int:
    """Write and show the report; the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    console = Console(width=None if sys.stdout.isatty() else 100)
    try:
        if given[:1] == ["claims"]:
            from lrp_bench.report import claims_page

            return claims_page.main(given[1:])
        options = _parser().parse_args(given)
        _list(options, console) if options.list else _report(options, console)
    except BenchError as error:
        Console(stderr=True).print(Text(f"Error: {error}", style="red"), soft_wrap=True)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m lrp_bench.report",
        description="Tables and figures of a sweep in MLflow.",
        epilog="python -m lrp_bench.report claims --help: published numbers beside those in the store.",
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
    from lrp_bench.report.collect import sweeps

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
    from lrp_bench.report.collect import collect
    from lrp_bench.report.pictures import draw_all
    from lrp_bench.report.stability_report import write_stability
    from lrp_bench.report.summary import write_tables
    from lrp_bench.report.terminal import render

    results = collect(options.uri, options.experiment, None if options.sweep == "latest" else options.sweep)
    folder = options.out / _folder_name(results.name, results.sweep)
    summary = write_tables(results, folder, every=options.all, by=options.by)
    stability, more = write_stability(results, folder)
    drawn = [path for picture in draw_all(results, summary.comparison, folder) for path in picture.files]
    console.print(summary.render(console.width))
    if stability:
        console.print(render(stability, console.width))
    for path in (*summary.files, *more, *drawn, folder):
        console.print(Text(str(path)), soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
