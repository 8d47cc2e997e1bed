"""A process of its own for tests on the device that is not there, which would be there for all others, too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
EVALUATORS = "tests/metrics/evaluators"
PATHS = f"pythonpath=tests tests/engine/operators {EVALUATORS} {EVALUATORS}/faithfulness tests/explainers"


def pass_there(file: str, *options: str) -> None:
    """Run the tests of tests/made_up/<file>; fail with what they print."""
    command = [sys.executable, "-m", "pytest", f"tests/made_up/{file}", "-o", PATHS, "-q", "-p", "no:cacheprovider"]
    command += options
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(command, cwd=TESTS.parent, env=own, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
