from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lrp_bench.contracts import BenchError
from lrp_bench.report.__main__ import _folder_name, main
from lrp_bench.report.pages.summary import summarize
from lrp_bench.tracking.mlflow import MLflowRun, MLflowTracker

Explain = Callable[..., MLflowRun]


def test_a_sweep_is_summed_up_in_every_format(
    tracker: MLflowTracker, sweep: str, explain: Explain, tmp_path: Path
) -> None:
    for method in ("epsilon", "random"):
        explain(method)
    explain("gamma", error=BenchError("Expected gamma >= 0, got -1."))
    folder = tmp_path / "new" / "folder"
    summary = summarize(tracker.uri, tracker.experiment, sweep, folder)
    assert [path.name for path in summary.files] == ["table.md", "table.html", "table.csv", "table.tex", "pairs.csv"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "pairs.csv",
        "table.csv",
        "table.html",
        "table.md",
        "table.tex",
    ]
    assert all("got -1" in path.read_text() for path in summary.files[:4])
    assert [failure.method for failure in summary.comparison.failures] == ["gamma"]
    assert summary.table.methods == ("epsilon", "random")


def test_a_folder_that_cannot_be_written_is_told(
    tracker: MLflowTracker, sweep: str, explain: Explain, tmp_path: Path
) -> None:
    explain("epsilon")
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="choose another folder"):
        summarize(tracker.uri, tracker.experiment, sweep, tmp_path / "file")


def test_the_command_writes_tables_and_figures(
    tracker: MLflowTracker, sweep: str, explain: Explain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for method in ("epsilon", "gamma", "random"):
        explain(method)
    where = ["--uri", tracker.uri, "--experiment", tracker.experiment]
    assert main([*where, "--sweep", sweep[:10], "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    folder = tmp_path / "test_the_command_writes_tables_and_figures"
    drawn = [f"{name}.{kind}" for name in ("agreement", "cost", "flip_curves") for kind in ("pdf", "png")]
    names = sorted([*drawn, "pairs.csv", "report.html", "table.csv", "table.html", "table.md", "table.tex"])
    assert sorted(path.name for path in folder.iterdir()) == names
    assert all(str(folder / name) in told for name in names)
    assert "Conservation" in told
    assert told.splitlines()[-1] == str(folder / "report.html")
    assert main([*where, "--list"]) == 0
    assert sweep[:8] in capsys.readouterr().out


STUDY = """
title: A study
about: about
source: a book
experiment: {experiment}
claims:
  - {{what: the error, row: epsilon, column: conservation/error, published: 0.5, tolerance: 0.5}}
"""


def test_a_file_of_claims_names_the_sweep_and_its_page_shows_them(
    tracker: MLflowTracker, sweep: str, explain: Explain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tmp_path / "mine.yaml"
    study.write_text(STUDY.format(experiment="named_by_a_file"))
    given = [str(study), "--uri", tracker.uri, "--experiment", tracker.experiment, "--out", str(tmp_path)]
    assert main(given) == 1
    assert "Expected a finished sweep of experiment=named_by_a_file" in capsys.readouterr().err
    assert main([*given, "--sweep", sweep]) == 1
    assert "got both" in capsys.readouterr().err
    explain("epsilon")
    tracker.resume(sweep).set_tags({"experiment": "named_by_a_file"})
    assert main(given) == 0
    page = Path(capsys.readouterr().out.splitlines()[-1]).read_text()
    assert "Claims: A study" in page
    assert '<td class="reached">reached</td>' in page


@pytest.mark.parametrize("status", ["RUNNING", "KILLED"])
def test_the_page_of_a_sweep_without_its_end_says_so(
    tracker: MLflowTracker,
    explain: Explain,
    sweep: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    status: str,
) -> None:
    explain("epsilon")
    explain("gamma", error=BenchError("Expected gamma >= 0, got -1."))
    tracker.store.client.update_run(sweep, status=status)
    assert main(["--sweep", sweep, "--uri", tracker.uri, "--experiment", "tests", "--out", str(tmp_path)]) == 0
    page = Path(capsys.readouterr().out.splitlines()[-1]).read_text()
    assert {"RUNNING": "has not finished", "KILLED": "was interrupted"}[status] in page
    assert "gamma on digits (mlp) gave no numbers: Expected gamma &gt;= 0, got -1." in page


def test_a_missing_store_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--uri", f"sqlite:///{tmp_path}/mlflow.db"]) == 1
    told = capsys.readouterr()
    assert "no such file" in told.err
    assert "Traceback" not in told.err + told.out
    assert list(tmp_path.iterdir()) == []


def test_help_is_quick_and_reading_needs_no_torch_and_no_figures() -> None:
    code = (
        "import sys, lrp_bench.report.__main__\n"
        "assert not {'mlflow', 'pandas', 'torch', 'matplotlib'} & set(sys.modules)\n"
        "import lrp_bench.report.pages.summary, lrp_bench.report.store.artifacts, lrp_bench.report.numbers.curves\n"
        "assert not {'matplotlib', 'torch', 'seaborn', 'hydra'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_folder_name_is_short_and_plain_whatever_the_command() -> None:
    assert _folder_name("rule=epsilon,gamma", "f9b8e7ea01") == "rule_epsilon_gamma"
    long = _folder_name("metric=[" + "conservation," * 40 + "]", "f9b8e7ea01")
    assert len(long) < 120
    assert long.endswith("_f9b8e7ea")
    assert _folder_name("???", "f9b8e7ea01") == "f9b8e7ea"


def test_the_shell_completes_options(tmp_path: Path) -> None:
    line, answer = "python -m lrp_bench.report --s", tmp_path / "answer"
    asked = {"_ARGCOMPLETE": "3", "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9"}
    where = {"_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "_ARGCOMPLETE_IFS": "\n"}
    subprocess.run([sys.executable, "-m", "lrp_bench.report"], env={**os.environ, **asked, **where}, check=True)
    assert answer.read_text().split() == ["--sweep"]
