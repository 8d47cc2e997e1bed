from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest
import torch

from lrp_bench.metrics import functional

MODULES = [module.name for module in pkgutil.iter_modules(functional.__path__, functional.__name__ + ".")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    failed, _ = doctest.testmod(import_module(name), extraglobs={"torch": torch})
    assert failed == 0


def test_every_function_shows_an_example() -> None:
    finder = doctest.DocTestFinder(recurse=False)
    assert [name for name in functional.__all__ if not finder.find(getattr(functional, name))[0].examples] == []
