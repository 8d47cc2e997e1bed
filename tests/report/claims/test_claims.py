"""Files of claims, and the page that shows what became of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from papers import needs_latex, typeset

from lrp_bench.contracts import BenchError
from lrp_bench.report.__main__ import main
from lrp_bench.report.claims.study import read_study
from lrp_bench.report.claims.tables import claims_table, latex
from lrp_bench.report.pages.claims import write_page
from lrp_bench.tracking.mlflow import MLflowRun, MLflowTracker

EXPERIMENTS = Path(__file__).parents[3] / "experiments"
YAML = """
title: A study
about: about
source: a book
experiment: {experiment}
claims:
  - {{what: one, id: one, row: zero, column: conservation/error, sample: 3, published: 0.25, tolerance: 0.01}}
  - {{what: "two | pipe", row: zero, column: conservation/error, published: 9, deviation: another year}}
  - {{what: three, row: gone, column: conservation/error, published: 9}}
says: ["It is {{one:.2f}}."]
"""


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path / "claims"
    folder.mkdir()
    (folder / "mine.yaml").write_text(YAML.format(experiment=request.node.name))
    return folder


def test_the_page_and_what_it_keeps(
    folder: Path, tracker: MLflowTracker, sweep: str, explain: Callable[..., MLflowRun], request: pytest.FixtureRequest
) -> None:
    arguments = ["claims", "--folder", str(folder), "--uri", tracker.uri, "--experiment", "tests"]
    assert main(arguments) == 0
    assert "3 |" in (folder / "README.md").read_text()
    assert (folder / "README.md").read_text().count("not run |") >= 3

    tracker.resume(sweep).set_tags({"experiment": request.node.name})
    explain("zero", {"conservation/error": [0.25] * 19 + [0.5]})
    assert main([*arguments, "mine"]) == 0
    page = (folder / "README.md").read_text()
    for words in (
        "0.26 [",
        "0.25 | 0.25 |",
        "**It is 0.25.**",
        "not reached",
        "not run",
        "another year",
        "two \\| pipe",
    ):
        assert words in page, words

    tracker.resume(sweep).set_tags({"experiment": "another"})
    assert main(arguments) == 0
    assert (folder / "README.md").read_text() == page  # measured once, it stays


def test_the_tables_in_every_format(
    folder: Path, tracker: MLflowTracker, sweep: str, explain: Callable[..., MLflowRun], request: pytest.FixtureRequest
) -> None:
    (folder / "mine.yaml").write_text((folder / "mine.yaml").read_text().replace("two | pipe", "two <b> & 50 %"))
    tracker.resume(sweep).set_tags({"experiment": request.node.name})
    explain("zero", {"conservation/error": [0.25] * 19 + [0.5]})
    out = folder.parent / "out"
    arguments = ["claims", "--folder", str(folder), "--uri", tracker.uri, "--experiment", "tests"]
    assert main([*arguments, "--out", str(out)]) == 0
    rows = pd.read_csv(out / "claims.csv")
    assert list(rows["verdict"]) == ["reached", "not reached", "not run"]
    assert list(rows["study"].unique()) == ["mine"]
    np.testing.assert_allclose(rows["difference"], [0, 0.2625 - 9, np.nan])
    page = (out / "claims.html").read_text()
    for words in (
        "two &lt;b&gt; &amp; 50 %",
        '<td class="missed">not reached</td>',
        "1 reached, 1 not reached, 1 not run",
    ):
        assert words in page, words
    tex = (out / "claims.tex").read_text()
    assert r"two \textless{}b\textgreater{} \& 50 \%" in tex
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 1
    assert all(line.count(" & ") == 4 for line in tex.splitlines() if line.endswith(r"reached \\"))


def test_no_words_of_a_study_are_markup_on_the_page(folder: Path) -> None:
    evil = "<b>x</b> [a](http://b) *c* [0.1, |R|]"
    text = (folder / "mine.yaml").read_text().replace("about: about", f'about: "{evil}"')
    for said in ("A study", "a book", '"two | pipe"', "another year"):
        text = text.replace(said, f'"{evil}"')
    (folder / "mine.yaml").write_text(text)
    page = write_page(folder).read_text()
    told = r"&lt;b&gt;x&lt;/b&gt; [a\](http://b) \*c\* [0.1, |R|]"
    assert page.count(told) == 4  # title, about, source and deviation
    assert page.count(told.replace("|", r"\|")) == 2  # in the tables
    assert "<b>" not in page


@needs_latex
def test_a_real_latex_sets_the_claims_of_every_study(tmp_path: Path) -> None:
    studies = [read_study(path) for path in sorted(EXPERIMENTS.glob("*.yaml"))]
    empty = dict.fromkeys(("ours", "low", "high", "difference"), "")
    measured = [
        pd.read_csv(EXPERIMENTS / f"{study.name}.csv", keep_default_na=False, na_values=empty) for study in studies
    ]
    tex = latex(list(map(claims_table, studies, measured)))
    assert tex.count(r"\begin{table*}") == len(studies) > 20
    assert typeset(tex, tmp_path) < 1


@pytest.mark.parametrize(
    "change",
    [
        ("published: 0.25", "published: true"),
        ("published: 0.25, ", ""),
        ("tolerance: 0.01", "tolerance: -1"),
        ("tolerance: 0.01", "relation: about"),
        ("sample: 3", "smaple: 3"),
        ("sample: 3", "sample: first"),
        ("title:", "tilte:"),
        ("about: about", "about: about\nremark: none"),
        ("claims:", "claims: ["),
    ],
)
def test_a_file_that_cannot_be_meant_is_named(folder: Path, change: tuple[str, str]) -> None:
    path = folder / "mine.yaml"
    path.write_text(path.read_text().replace(*change))
    with pytest.raises(BenchError, match=r"Expected .*mine\.yaml"):
        read_study(path)


def test_a_study_that_is_not_there_is_named(folder: Path, tracker: MLflowTracker, capsys) -> None:
    assert main(["claims", "theirs", "--folder", str(folder), "--uri", tracker.uri]) == 1
    assert "there are mine" in capsys.readouterr().err
