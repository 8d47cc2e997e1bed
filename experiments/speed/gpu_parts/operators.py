"""Is every operator of the engine's table right on the device? The calls are those of the table's own test."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from gpu_parts.setups import Setup, differences, exact, gathered
from gpu_parts.sheet import Cell, Scale, Sheet
from lrp_bench.engine.rules import Epsilon

TABLE = "Operators"
TESTS = Path(__file__).parents[3] / "tests"


def main(sheet: Sheet, scale: Scale) -> None:
    """Pass relevance through each operator in four ways, and say which rows of the table had none."""
    exact()
    calls = cases()
    chosen = list(calls.CASES)[:: 20 if scale.size == "smoke" else 1]
    done = [row for row in chosen if sheet.attempt(TABLE, row, partial(compared, calls, row, scale.device))]
    missing = [row for row in calls.OPERATORS if row not in done]
    sheet.put("Coverage of the table of operators", "rows of the table", number=len(calls.OPERATORS))
    sheet.put("Coverage of the table of operators", "compared here", number=len(done))
    sheet.put(
        "Coverage of the table of operators", "not compared", number=len(missing), note=", ".join(missing) or "none"
    )


def cases() -> ModuleType:
    """The test module of the table: a call of each operator, in a graph written by hand."""
    sys.path.insert(0, str(TESTS))
    spec = importlib.util.spec_from_file_location("operator_cases", next(TESTS.rglob("test_table.py")))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def compared(calls: ModuleType, row: str, device: str) -> Mapping[str, Cell]:
    """The largest differences."""
    return differences(gathered(device, partial(relevance, calls, row)), device)


def relevance(calls: ModuleType, row: str, setup: Setup) -> Tensor:
    """Of the operator's input, where a dense layer follows it, under LRP-epsilon."""
    case = calls.CASES[row]
    case = replace(case, arguments=tuple(_moved(each, setup) for each in case.arguments))
    x = setup.moved(calls.seeded(calls.BATCH, *case.shape))
    head = setup.moved(calls.seeded(2, case(x).numel() // calls.BATCH))
    module, coverage = calls.rewrite(calls.written(case, x, head), calls.Uniform(Epsilon()))
    if coverage[0].operator != row:
        raise AssertionError(f"Expected {row} in the graph, got {coverage[0].operator}")
    leaf = x.clone().requires_grad_()
    logits = module(leaf)
    return torch.autograd.grad(logits, leaf, logits.detach().clone())[0]


def _moved(argument: Any, setup: Setup) -> Any:
    if isinstance(argument, list):
        return [_moved(part, setup) for part in argument]
    return setup.moved(argument) if isinstance(argument, Tensor) else argument
