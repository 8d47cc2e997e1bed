"""`python -m lrp_bench.tracking send FOLDER`: hands over what was measured while the MLflow store was away."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from lrp_bench.contracts import BenchError
from lrp_bench.tracking.outbox import UNSENT, send


def main(arguments: Sequence[str] | None = None) -> int:
    """Send; the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser("python -m lrp_bench.tracking", description="What lies beside MLflow.")
    command = parser.add_subparsers(dest="command", required=True).add_parser(
        "send", help=f"send what a run measured and could not log: every {UNSENT} in a folder and below"
    )
    command.add_argument("folder", type=Path, help="of a run or of a sweep, such as outputs/sweeps/<time>")
    command.add_argument("--uri", help="the store's address, if it is another one by now")
    options = parser.parse_args(arguments)
    try:
        send(options.folder, options.uri)
    except BenchError as error:
        logging.getLogger(__name__).error("Error: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
