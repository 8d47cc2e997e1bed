"""The code in README.md and CONTRIBUTING.md is true: the recipes run, and give what their formulas say."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from lrp_bench.contracts import Explanation
from lrp_bench.data.sets import scikit
from lrp_bench.engine import LRP
from lrp_bench.engine.rules import formulas
from lrp_bench.metrics import Context, functional
from lrp_bench.metrics.evaluators.conservation import conservation

ROOT = Path(__file__).parents[1]


def blocks(file: str, language: str) -> list[str]:
    """The fenced blocks of a language, in their order."""
    return [
        dedent(text) for text in re.findall(rf"^ *```{language}\n(.*?)^ *```$", (ROOT / file).read_text(), re.M | re.S)
    ]


def recipe(name: str, module: Any, **names: object) -> Any:
    """The class that a recipe of CONTRIBUTING.md adds to a module."""
    (code,) = [block for block in blocks("CONTRIBUTING.md", "python") if f"class {name}(" in block]
    space = {**vars(module), **names}
    exec(compile(code, f"CONTRIBUTING.md, {name}", "exec"), space)
    return space[name]


def test_every_block_of_code_is_tested_here() -> None:
    assert [re.findall(r"^class (\w+)", block, re.M) for block in blocks("CONTRIBUTING.md", "python")] == [
        ["Positive"],
        ["Smoothness"],
        ["Wine"],
    ]
    assert len(blocks("README.md", "python")) == 1


def test_the_rule_of_the_recipe_shares_as_its_formula_says() -> None:
    rule, x = recipe("Positive", formulas)(), torch.tensor([[1.0, 2.0, 3.0]])
    layer = nn.Linear(3, 2)
    w, b = torch.tensor([[1.0, -1.0, 2.0], [0.5, 1.0, -1.0]]), torch.tensor([0.5, -1.0])
    layer.load_state_dict({"weight": w, "bias": b})
    share = w.clamp(min=0) * x / (x @ w.clamp(min=0).T + b.clamp(min=0)).T
    R = layer(x).detach()
    torch.testing.assert_close(LRP(layer, rule, example=x)(x, target=0).relevance, share[:1] * R[0, 0])


def test_the_yaml_of_the_rule_lists_its_parameters() -> None:
    rule = recipe("Positive", formulas)
    written = OmegaConf.create(next(block for block in blocks("CONTRIBUTING.md", "yaml") if "Positive" in block))
    assert {key: value for key, value in written.items() if key != "_target_"} == {
        each.name: each.default for each in fields(rule)
    }


@pytest.mark.filterwarnings("error")
def test_the_metric_of_the_recipe_gives_one_value_per_sample() -> None:
    metric = recipe("Smoothness", conservation, functional=functional)()
    R = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, -1.0, 1.0, -1.0]])
    metric.update(Explanation(R, R, R.argmax(1), R.amax(1), R), Context(nn.Identity()))
    scores = metric.compute()
    assert set(scores.values) == set(scores.measures)
    torch.testing.assert_close(scores.values["smoothness/correlation"], torch.tensor([1.0, -1.0]))


def test_the_data_set_of_the_recipe_is_read() -> None:
    wine = recipe("Wine", scikit)(
        shape=[13], classes=3, mean=0.0, std=1.0, validation=0.1, batch_size=8, samples=9, seed=0
    )
    wine.setup()
    assert [len(split.labels) for split in (wine.contents.train, wine.contents.test)] == [142, 36]


def test_the_page_on_the_engine_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "engine.md").read_text()
    cells = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```$", text, re.M | re.S)
    assert len(cells) == text.count("```python") > 5
    names: dict[str, Any] = {}
    dtype, state = torch.get_default_dtype(), torch.random.get_rng_state()
    try:
        for code, printed in cells:
            exec(code, names)
            assert capsys.readouterr().out == printed
    finally:
        torch.set_default_dtype(dtype)
        torch.random.set_rng_state(state)


def test_the_code_of_the_readme_names_what_there_is() -> None:
    (code,) = blocks("README.md", "python")
    compile(code, "README.md", "exec")  # VGG-16 at 224 pixels takes too long to run here
    imports = [line for line in code.splitlines() if line.startswith(("import ", "from "))]
    assert len(imports) == 4
    exec("\n".join(imports), {})
