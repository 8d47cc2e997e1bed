"""No tensor is made on the CPU by chance: every factory in the engine and the metrics says on which device."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "lrp_bench"
SOURCES = sorted([*PACKAGE.glob("engine/**/*.py"), *PACKAGE.glob("metrics/**/*.py"), PACKAGE / "chance.py"])
FACTORIES = {
    *("arange", "as_tensor", "empty", "eye", "from_numpy", "full", "linspace", "logspace", "ones", "rand", "randint"),
    *("randn", "randperm", "scalar_tensor", "tensor", "tril_indices", "triu_indices", "zeros", "Generator"),
}
# what is made on the CPU on purpose: module, function, factory
ON_THE_CPU = {
    ("adversarial", "_numbers", "tensor"),  # of the settings; sent with each batch
    ("summands", "__init__", "tensor"),
    ("inpaint", "fill", "from_numpy"),  # OpenCV's
    ("superpixels", "labels", "from_numpy"),  # scikit-image's
    # orders are drawn on the CPU, so that they are the same on any device
    ("permutation", "loss_growth", "Generator"),
    ("permutation", "loss_growth", "randperm"),
    ("randomisation", "_randomised", "Generator"),
    ("randomisation", "shuffle", "randperm"),
    ("two_models", "forgetful", "Generator"),
}


def made(tree: ast.AST, function: str = "") -> Iterator[tuple[str, str]]:
    """(function, factory) of every call that does not say where."""
    for node in ast.iter_child_nodes(tree):
        inner = node.name if isinstance(node, ast.FunctionDef) else function
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of_torch = isinstance(node.func.value, ast.Name) and node.func.value.id == "torch"
            says = any(keyword.arg == "device" for keyword in node.keywords)
            if of_torch and node.func.attr in FACTORIES and not says:
                yield inner, node.func.attr
        yield from made(node, inner)


def test_every_factory_says_where() -> None:
    found = {(path.stem, *each) for path in SOURCES for each in made(ast.parse(path.read_text()))}
    assert found == ON_THE_CPU


def test_a_factory_that_does_not_is_found() -> None:
    source = "def f(x):\n    a = torch.zeros(3)\n    return torch.ones(2, device=x.device) + torch.eye(2)\n"
    assert list(made(ast.parse(source))) == [("f", "zeros"), ("f", "eye")]
