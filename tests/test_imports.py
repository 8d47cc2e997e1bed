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
    ".transfers": {".contracts", "torch"},
    ".devices": {".contracts", "torch"},
    ".progress": {"rich"},
    ".startup": set(),
    ".engine": {".contracts", ".transfers", "torch"},
    ".metrics": {".chance", ".contracts", ".transfers", "torch", "torchmetrics", "scipy", "skimage", "cv2"},
    ".explainers": {".chance", ".contracts", ".engine", ".transfers", "torch", "captum", "zennit"},
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
    ".run": {
        *(
            ".contracts",
            ".data",
            ".devices",
            ".evaluation",
            ".models",
            ".notes",
            ".progress",
            ".records",
            ".tracking",
            ".training",
        ),
        *(".training", "torch", "filelock"),
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
RUN = {f"run/{name}.py" for name in ("__init__", "config", "method", "study")}
ONLY = {
    "hydra": {"cli.py", "sweep.py", "run/config.py"},
    "omegaconf": {"cli.py", "sweep.py", *RUN},
    "mlflow": {
        *("tracking/load.py", "tracking/mlflow.py", "tracking/packaged.py", "tracking/store.py"),
        "report/store/collect.py",
    },
}


# part -> its wings, each of which may import itself and those before it; what lies beside the wings may import them all
WINGS = {
    "engine": ("capture", "rules", "operators", "rewrite"),
    "report": ("store", "numbers", "tables", "figures", "claims", "pages"),
    "metrics": ("functional", "imputers"),
    "data": ("sources", "sets"),
}
# a wing that may import less, or more, than that
ALONE = {
    "metrics/functional": {"functional"},
    "metrics/imputers": {"checks", "imputers"},
    "data/sources": {"arguments", "sources"},
    "data/sets": {"arguments", "base", "regression", "sources", "text"},
}
MOST = 14  # modules of a folder


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


def inner(module: Path) -> Iterator[tuple[int, list[str], str]]:
    """(line, module as a path of names below lrp_bench, name) of every import of the package's own."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "lrp_bench":
            for alias in node.names:
                yield node.lineno, str(node.module).split(".")[1:], alias.name


def climbing(module: Path) -> list[str]:
    """The imports by which a wing reaches into one behind it, or beside the wings."""
    here, *below = module.relative_to(PACKAGE).with_suffix("").parts
    wings = WINGS.get(here, ())
    if len(below) < 2 or below[0] not in wings:
        return []
    may = ALONE.get(f"{here}/{below[0]}", {*wings[: wings.index(below[0]) + 1]})
    return [
        f"lrp_bench/{module.relative_to(PACKAGE).as_posix()}:{line} must not import {'.'.join((*target, name))}"
        for line, target, name in inner(module)
        if target[:1] == [here] and (target[1:2] or [name])[0] not in may
    ]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_wing_reaches_into_one_behind_it(module: Path) -> None:
    assert not climbing(module)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_nobody_imports_the_private_parts_of_another_module(module: Path) -> None:
    assert [found for found in inner(module) if re.match(r"_[^_]", found[2])] == []


def test_every_wing_has_its_place_and_a_first_page() -> None:
    for name in ("data", "engine", "report"):
        assert {path.parent.name for path in (PACKAGE / name).glob("*/*.py")} == set(WINGS[name])
    for folder in {module.parent for module in MODULES}:
        page = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
        assert page, folder
        deep = len(folder.relative_to(PACKAGE).parts) > 1
        assert not deep or "Begin with" in page or folder.name == "functional", f"{folder}: where to begin reading?"


@pytest.mark.parametrize("name", ["data", "engine", "report", "metrics"])
def test_no_folder_is_a_hall(name: str) -> None:
    folders = [path for path in (PACKAGE / name).rglob("*") if path.is_dir() and any(path.glob("*.py"))]
    counts = {f.relative_to(PACKAGE).as_posix(): len(list(f.glob("*.py"))) - 1 for f in [PACKAGE / name, *folders]}
    assert {folder: count for folder, count in counts.items() if count > MOST} == {}


def test_an_arrow_back_up_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    module = tmp_path / "engine" / "rules" / "formulas.py"
    module.parent.mkdir(parents=True)
    module.write_text(
        "from lrp_bench.engine.capture.graph import operands\nfrom lrp_bench.engine.operators import table\n"
        "from lrp_bench.engine import operators, checks\n"
    )
    assert climbing(module) == [
        "lrp_bench/engine/rules/formulas.py:2 must not import engine.operators.table",
        "lrp_bench/engine/rules/formulas.py:3 must not import engine.operators",
        "lrp_bench/engine/rules/formulas.py:3 must not import engine.checks",
    ]


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
