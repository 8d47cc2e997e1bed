"""Gather, as wheels, what lrp_bench needs and a machine without a network lacks: the one with the GPU, often.

python experiments/speed/wheels.py [what is there ...] fills wheels/ for Python 3.12 on Linux, in the versions of
constraints.txt; without arguments THERE is taken to be there, and what it needs. On that machine then:

    python -m pip install --no-index --no-deps --target DIR wheels/*.whl
    PYTHONPATH=DIR:. python -m lrp_bench rule=epsilon,alphabeta --multirun
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parents[2]
WHEELS = ROOT / "wheels"
PYTHON = "3.12"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
TARGET = {"python_version": PYTHON, "python_full_version": f"{PYTHON}.0", "platform_machine": "x86_64"}
TARGET |= {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
THERE = (
    *("torch", "torchvision", "pytorch-lightning", "torchmetrics", "transformers", "timm"),
    *("pandas", "pyarrow", "scikit-learn", "scikit-image", "seaborn", "psutil", "pytest"),
)
PEERS = ("zennit",)  # beside what lrp_bench cannot do without
SOURCE_ONLY = ("antlr4-python3-runtime",)  # published without a wheel


def needed(requirements: Iterable[str]) -> set[str]:
    """The names of these and of all that they need on the target, by the metadata of the packages installed here."""
    seen: set[tuple[str, str]] = set()
    left = [Requirement(each) for each in requirements]
    while left:
        requirement = left.pop()
        for extra in {"", *requirement.extras}:
            key = canonicalize_name(requirement.name), extra
            if key not in seen:
                seen.add(key)
                left += _asked_for(*key)
    return {name for name, _ in seen}


def _asked_for(name: str, extra: str) -> list[Requirement]:
    asked = [Requirement(each) for each in metadata.requires(name) or ()]
    return [each for each in asked if each.marker is None or each.marker.evaluate({**TARGET, "extra": extra})]


def missing(there: Iterable[str] = THERE) -> dict[str, str]:
    """Name -> version of what is to be brought along. there: what the machine has; unknown here, it brings nothing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    installed = {canonicalize_name(each.name) for each in metadata.distributions()}
    present = needed(name for name in there if canonicalize_name(name) in installed)
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split("\n") if "==" in line)
    return {name: pins[name] for name in sorted(needed([*project["dependencies"], *PEERS]) - present)}


def gather(wanted: dict[str, str], folder: Path) -> list[Path]:
    """Fill the folder with these wheels, and no others."""
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.whl"):
        if not _is_wanted(path, wanted):
            path.unlink()
    have = {_named(path)[0] for path in folder.glob("*.whl")}
    left = {name: f"{name}=={version}" for name, version in wanted.items() if name not in have}
    sources = [pin for name, pin in left.items() if name in SOURCE_ONLY]
    wheels = [pin for name, pin in left.items() if name not in SOURCE_ONLY]
    if sources:
        _pip("wheel", "--no-deps", "--wheel-dir", folder, *sources)
    if wheels:
        platforms = [f"--platform={each}" for each in PLATFORMS]
        target = ("--only-binary=:all:", f"--python-version={PYTHON}", "--implementation=cp", *platforms)
        _pip("download", "--no-deps", *target, "--dest", folder, *wheels)
    return sorted(folder.glob("*.whl"))


def _named(path: Path) -> tuple[str, str]:
    name, version, _, _ = parse_wheel_filename(path.name)
    return name, str(version)


def _is_wanted(path: Path, wanted: dict[str, str]) -> bool:
    name, version = _named(path)
    return wanted.get(name) == version


def _pip(command: str, *arguments: str | Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check", *arguments], check=True
    )


if __name__ == "__main__":
    found = gather(missing(sys.argv[1:] or THERE), WHEELS)
    for path in found:
        print(f"{path.stat().st_size / 1e6:8.2f} MB  {path.name}")
    print(f"{sum(path.stat().st_size for path in found) / 1e6:8.2f} MB  in {len(found)} wheels, in {WHEELS.name}/")
