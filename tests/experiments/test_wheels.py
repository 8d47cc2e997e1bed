"""What is brought to a machine without a network is whole, pinned, and nothing that is there."""

from __future__ import annotations

import importlib
import subprocess
from importlib import metadata
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

SPEED = Path(__file__).parents[2] / "experiments" / "speed"


@pytest.fixture
def wheels(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SPEED))
    return importlib.import_module("wheels")


def test_what_the_machine_lacks_and_nothing_else(wheels: ModuleType) -> None:
    wanted = wheels.missing()
    named = {"hydra-core", "omegaconf", "antlr4-python3-runtime", "hydra-joblib-launcher", "captum", "zennit"}
    assert named | {"argcomplete", "alembic", "sqlalchemy", "mlflow", "mlflow-skinny", "mlflow-tracing"} <= set(wanted)
    assert not {"torch", "triton", "numpy", "pandas", "pyarrow", "aiohttp", "pyyaml", "matplotlib"} & set(wanted)
    assert wanted["hydra-core"] == metadata.version("hydra-core")


@pytest.mark.parametrize("there", [[], ["torch", "numpy"], ["torch", "pandas", "pyarrow", "a-package-of-theirs"]])
def test_every_requirement_is_brought_or_there(wheels: ModuleType, there: list[str]) -> None:
    brought, known = set(wheels.missing(there)), [name for name in there if name != "a-package-of-theirs"]
    has = brought | wheels.needed(known)
    asked = {wheels.canonicalize_name(each.name) for name in brought for each in wheels._asked_for(name, "")}
    assert asked <= has
    assert not brought & wheels.needed(known)


def test_only_the_markers_of_the_target_count(wheels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asks = {
        "root": ["old; python_version < '3.12'", "new; python_version >= '3.12'", "other; sys_platform == 'win32'"],
        "new": ["leaf[more]", "unasked; extra == 'more'"],
        "leaf": ["asked; extra == 'more'", "root"],
    }
    monkeypatch.setattr(metadata, "requires", asks.get)
    assert wheels.needed(["root"]) == {"root", "new", "leaf", "asked"}
    assert wheels._asked_for("leaf", "") == [Requirement("root")]


def test_the_folder_holds_these_wheels_alone(
    wheels: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def pip(command: list[object], **kwargs: object) -> None:
        commands.append([str(part) for part in command])
        for part in commands[-1]:
            name, equal, version = part.partition("==")
            if equal and not part.startswith("-"):
                ZipFile(tmp_path / f"{name.replace('-', '_')}-{version}-py3-none-any.whl", "w").close()

    monkeypatch.setattr(subprocess, "run", pip)
    for name in ("omegaconf-2.3.0", "gone-1.0", "mlflow-3.0"):
        ZipFile(tmp_path / f"{name}-py3-none-any.whl", "w").close()
    wanted = {"omegaconf": "2.3.1", "mlflow": "3.0", "antlr4-python3-runtime": "4.9.3"}
    names = [path.name.removesuffix("-py3-none-any.whl") for path in wheels.gather(wanted, tmp_path)]
    assert names == ["antlr4_python3_runtime-4.9.3", "mlflow-3.0", "omegaconf-2.3.1"]
    built, downloaded = commands
    assert built[3] == "wheel"
    assert built[-1] == "antlr4-python3-runtime==4.9.3"
    assert downloaded[3] == "download"
    assert {"--python-version=3.12", "--only-binary=:all:", "omegaconf==2.3.1"} <= set(downloaded)
    assert "mlflow==3.0" not in downloaded
    assert wheels.gather(wanted, tmp_path)
    assert len(commands) == 2
