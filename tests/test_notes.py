from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrp_bench import notes
from lrp_bench.contracts import Measure
from lrp_bench.report.numbers import statistics

MEASURES = {
    "srg": Measure("SRG", "flipping", higher_is_better=True),
    "error": Measure("Error", "conservation", higher_is_better=False, summary="median"),
    "ties": Measure("Ties", "flipping", None, headline=False),
}


def test_a_description_holds_the_headline_numbers() -> None:
    values = {"srg": [0.25, 0.25], "error": [1.0, 2.0, 5.0], "ties": [0.0]}
    metrics = {name: value for each in values for name, value in statistics.metrics({each: values[each]}).items()}
    note = notes.of_explanation("**zplus** explains.", MEASURES, metrics)
    assert note.splitlines()[0] == "**zplus** explains."
    assert "| SRG ↑ | 0.25 (0.25 to 0.25) | 2 |" in note
    assert "| Error ↓ | 2 (1.5 to 3.5) | 3 |" in note
    assert "Ties" not in note


def test_what_was_not_defined_is_no_row() -> None:
    assert "|" not in notes.of_explanation("about", MEASURES, {})


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20), max_size=20), st.integers(30, 60))
def test_a_shortened_text_keeps_whole_lines(lines: list[str], longest: int) -> None:
    text = "\n".join(lines)
    short = notes.shortened(text, longest)
    assert len(short) <= longest
    if short != text:
        *kept, mark = short.split("\n")
        assert mark == "…"
        assert kept == lines[: len(kept)] or kept == [""]


def test_no_name_is_markup() -> None:
    assert notes.plain("<script>") == "&lt;script&gt;"
    assert notes.plain("a|b*c_d[e]") == r"a\|b\*c\_d\[e\]"


def test_several_settings_are_told_apart() -> None:
    cells = pd.DataFrame({"measure": "srg", "setting": ["a", "b"], "method": "zplus", "shown": [1.0, 2.0]})
    comparison: Any = SimpleNamespace(cells=cells, measures=MEASURES, settings=("a", "b"))
    assert notes.beside_each_other(comparison) == {"srg/a/zplus": 1.0, "srg/b/zplus": 2.0}


def test_names_that_a_key_cannot_tell_apart_are_numbered() -> None:
    methods = ["layered(a=[1,0])", "layered(a=1,0)", "flat"]
    cells = pd.DataFrame({"measure": "srg", "setting": "a", "method": methods, "shown": [1.0, 2.0, 3.0]})
    comparison: Any = SimpleNamespace(cells=cells, measures=MEASURES, settings=("a",))
    found = notes.beside_each_other(comparison)
    assert list(found.values()) == [1.0, 2.0, 3.0]
    assert [name.endswith(":2") for name in found] == [False, True, False]


def test_where_nothing_was_measured_nothing_is_beside_each_other() -> None:
    cells = pd.DataFrame({"measure": [], "setting": [], "method": [], "shown": []})
    comparison: Any = SimpleNamespace(cells=cells, measures={}, settings=())
    assert notes.beside_each_other(comparison) == {}


def test_a_command_stays_one_block_of_code() -> None:
    assert notes.of_sweep("a=1\n# b", "| t |").splitlines() == ["    a=1", "    # b", "", "| t |"]


def test_the_table_of_samples_is_plain_json(tmp_path: Path) -> None:
    evaluation: Any = SimpleNamespace(
        index=torch.tensor([7, 9]),
        label=torch.tensor([0, 1]),
        prediction=torch.tensor([1, 1]),
        score=torch.tensor([0.5, 2.0]),
        measures=MEASURES,
        values={"srg": torch.tensor([0.5, float("nan")]), "error": torch.tensor([0.0, float("inf")])},
    )
    path, tags = notes.samples_table(evaluation, tmp_path)
    told = json.loads(path.read_text(), parse_constant=lambda name: pytest_fail(name))
    assert told["columns"] == ["sample", "label", "prediction", "score", "srg", "error"]
    assert told["data"] == [[7, 0, 1, 0.5, 0.5, 0.0], [9, 1, 1, 2.0, None, None]]
    assert json.loads(tags["mlflow.loggedArtifacts"]) == [{"path": path.name, "type": "table"}]


def pytest_fail(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")
