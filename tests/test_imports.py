"""Who may import whom: the rules of the house, held by walking every import statement of the package."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lrp_bench"
MODULES = sorted(PACKAGE.rglob("*.py"))

# part of the package -> what it may import: other parts (names with a leading dot) and third-party packages
ALLOWED = {
    ".contracts": {"torch"},
    ".chance": {"torch"},
    ".devices": {".contracts", "torch"},
    ".progress": {"rich"},
    ".startup": set(),
    ".engine": {".contracts", "torch"},
    ".metrics": {".chance", ".contracts", "torch", "torchmetrics", "scipy", "skimage", "cv2"},
    ".explainers": {".chance", ".contracts", ".engine", "torch", "captum", "zennit"},
    ".data": {".contracts", "torch", "torchvision", "pytorch_lightning", "sklearn", "numpy", "PIL", "filelock"},
    ".models": {".contracts", ".engine", "torch", "torchvision", "torchmetrics", "pytorch_lightning", "rich"},
    ".tracking": {".contracts", "torch", "filelock", "pandas", "pyarrow", "pynvml", "sqlalchemy", "alembic"},
    ".report": {
        ".contracts",
        ".startup",
        ".tracking",
        "pandas",
        "numpy",
        "scipy",
        "seaborn",
        "matplotlib",
        "rich",
        "jinja2",
        "markupsafe",
        "argcomplete",
        "PIL",
        "pyarrow",
        "yaml",
    },
    ".training": {
        ".contracts",
        ".data",
        ".devices",
        ".models",
        ".progress",
        "torch",
        "pytorch_lightning",
        "lightning_fabric",
        "filelock",
        "rich",
        "sklearn",
    },
}
# the only files that may import these
ONLY = {
    "hydra": {"cli.py", "run.py", "sweep.py"},
    "omegaconf": {"cli.py", "run.py", "sweep.py"},
    "mlflow": {
        *("tracking/load.py", "tracking/mlflow.py", "tracking/packaged.py", "tracking/store.py"),
        "report/collect.py",
    },
}


def part(module: Path) -> str:
    """The part a file belongs to: its folder in the package, or its own name."""
    return "." + module.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(module: Path) -> Iterator[tuple[int, str]]:
    """(line, name) of every import, at any depth: `.engine` for a part of the package, `torch` for a third party."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: import by the full name, not relatively"
            whole = node.module == "lrp_bench"
            names = [f"lrp_bench.{alias.name}" for alias in node.names] if whole else [str(node.module)]
        else:
            continue
        for name in names:
            top, _, rest = name.partition(".")
            if top == "lrp_bench" and rest and rest != "__version__":
                yield node.lineno, "." + rest.split(".")[0]
            elif top != "lrp_bench" and top not in sys.stdlib_module_names:
                yield node.lineno, top


def broken(module: Path) -> list[str]:
    here, file = part(module), module.relative_to(PACKAGE).as_posix()
    wrong = []
    for line, name in imported(module):
        allowed = file in ONLY[name] if name in ONLY else here not in ALLOWED or name in ALLOWED[here] | {here}
        if not allowed:
            wrong.append(f"lrp_bench/{file}:{line} must not import {name}")
    return wrong


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_imports_only_what_its_part_may(module: Path) -> None:
    assert not broken(module)


def test_every_part_has_its_rule() -> None:
    packages = {"." + path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert packages
    assert packages <= set(ALLOWED)


def test_a_forbidden_import_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "engine").mkdir()
    module = tmp_path / "engine" / "rules.py"
    module.write_text(
        "import math\n\n\ndef f():\n    import hydra\n    from lrp_bench import metrics\n    import torch\n"
    )
    assert broken(module) == [
        "lrp_bench/engine/rules.py:5 must not import hydra",
        "lrp_bench/engine/rules.py:6 must not import .metrics",
    ]


def test_every_third_party_import_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"], *project["optional-dependencies"]["peers"]]
    declared = {plain(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in requirements}
    names = {name for module in MODULES for _, name in imported(module) if not name.startswith(".")}
    sources = packages_distributions()
    undeclared = {name for name in names if not declared & {plain(source) for source in sources[name]}}
    assert not undeclared


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("lrp_bench.engine", {"hydra", "omegaconf", "mlflow", "pytorch_lightning", "captum", "pandas", "torchvision"}),
        ("lrp_bench.cli", {"torch", "mlflow", "pytorch_lightning", "captum", "pandas", "matplotlib", "sklearn"}),
        ("lrp_bench.metrics", {"hydra", "mlflow", "pytorch_lightning", "captum", "lrp_bench.engine"}),
        ("lrp_bench.metrics.flipping", {"torchmetrics", "skimage", "cv2"}),
        ("lrp_bench.report", {"torchvision", "pytorch_lightning", "captum", "lrp_bench.engine", "lrp_bench.run"}),
    ],
)
def test_importing_a_part_pulls_in_nothing_heavy(module: str, absent: set[str]) -> None:
    found = subprocess.run(
        [sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert not absent & set(found.stdout.split())
