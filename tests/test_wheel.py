"""The package as a user installs it: built, installed away from the checkout, and run in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QUICK = ["trainer.max_epochs=1", "samples=20", "baselines=gradient"]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the source distribution, so that neither can lack a file."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed wheel and nothing else; what it needs comes from the running environment."""
    target = tmp_path_factory.mktemp("site")
    install = ("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
    run(sys.executable, *install, "--target", target, wheel, cwd=target)
    return target


def test_the_wheel_holds_the_package_and_every_config(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lrp_bench").rglob("*.py")}
    configs = {"lrp_bench/" + path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yaml")}
    templates = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lrp_bench").glob("report/pages/templates/*")}
    assert configs
    assert templates
    assert sources | configs | templates <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"lrp_bench"}


def test_the_command_runs_in_an_empty_folder(site: Path, tmp_path: Path) -> None:
    environment = {"PYTHONPATH": str(site), "MLFLOW_DISABLE_TELEMETRY": "true"}
    where = "import lrp_bench.cli as cli; print(cli.__file__); print(cli.CONF)"
    for place in run(sys.executable, "-c", where, cwd=tmp_path, **environment).splitlines():
        assert Path(place).is_relative_to(site)

    command = site / "bin" / "lrp-bench"
    assert "epsilon_plus" in run(command, "--help", cwd=tmp_path, **environment)
    run(command, *QUICK, cwd=tmp_path, **environment)
    assert {path.name for path in tmp_path.iterdir()} == {"outputs"}
    outputs = tmp_path / "outputs"
    assert (outputs / "mlflow.db").is_file()
    assert any((outputs / "models").iterdir())
    assert any((outputs / "runs").iterdir())
