"""Where a number came from: machine, process, versions, commit; and what it cost."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import lrp_bench
from lrp_bench.tracking import machine

DISTRIBUTIONS = ("captum", "hydra-core", "mlflow", "pytorch-lightning", "torch", "torchmetrics", "torchvision")
HOST = socket.gethostname()
PACKAGE = Path(lrp_bench.__file__).parent
CHECKOUT = PACKAGE.parent
DECIDES = (
    *("chance.py", "devices.py", "evaluation.py", "run.py"),
    *("data", "engine", "explainers", "metrics", "models", "training"),
)


def describe() -> dict[str, str]:
    """Tags for a run of this process: host, pid, command line, machine, user, versions and the git commit."""
    return {
        "host": HOST,
        "pid": str(os.getpid()),
        "pid.started": _started(os.getpid()),
        "command": shlex.join(sys.argv),
        "mlflow.source.name": "lrp_bench",
        "mlflow.source.type": "LOCAL",
        **machine.describe(),
        **_user(),
        **versions(),
        **_commit(CHECKOUT),
    }


def alive(tags: Mapping[str, str]) -> bool:
    """Whether the process that `describe` wrote these tags for still runs.

    Processes of other hosts count as alive, and all on Windows, which has no signal that only asks.
    """
    if tags.get("host") != HOST or "pid" not in tags or sys.platform == "win32":
        return True
    pid = int(tags["pid"])
    if Path("/proc/self/stat").exists():
        started = _started(pid)
        return started != "" and started == tags.get("pid.started")  # a new process may have been given the old number
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True


def peak_memory() -> float:
    """The largest resident memory of this process so far, in MiB; NaN where the platform does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def cost(seconds: float, cpu_began: float) -> dict[str, float]:
    """What a run took of this process, as metrics; of the machine as a whole, see `load.Load`.

    seconds; peak_memory_mib, see `peak_memory`; cpu_utilization_percentage, of one core, since time.process_time() was
    `cpu_began`; gpu_peak_memory_mib, the most that torch held on one GPU, where one is used.
    """
    busy = time.process_time() - cpu_began
    numbers = {"seconds": seconds, "peak_memory_mib": peak_memory()}
    if seconds > 0:
        numbers["cpu_utilization_percentage"] = 100 * busy / seconds
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        held = [torch.cuda.max_memory_allocated(place) for place in range(torch.cuda.device_count())]
        numbers["gpu_peak_memory_mib"] = max(held) / 2**20
    return numbers


def code(package: Path = PACKAGE) -> str:
    """A sha256 of the source that decides the numbers: a version's name says too little while it is worked on."""
    digest = hashlib.sha256()
    for path in sorted(path for part in DECIDES for path in [package / part, *(package / part).rglob("*.py")]):
        if path.is_file():
            digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty for one that is gone, a zombie, or on another system."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _user() -> dict[str, str]:
    try:
        return {"mlflow.user": getpass.getuser()}
    except (KeyError, OSError):  # a container's user may have no name
        return {}


def versions() -> dict[str, str]:
    """Tags that name what decides numbers beside the code: Python and the packages it rests on."""
    found = {"version.lrp_bench": lrp_bench.__version__, "version.python": platform.python_version()}
    for name in DISTRIBUTIONS:
        with suppress(PackageNotFoundError):
            found[f"version.{name}"] = version(name)
    return found


def _commit(folder: Path) -> dict[str, str]:
    """The checkout's commit. An installed package has no `.git` beside it, and must not report its user's project."""
    if not (folder / ".git").exists():
        return {}
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return {}
    commit, _, dirty = found.partition("-")
    return {"mlflow.source.git.commit": commit, "git.dirty": str(bool(dirty)).lower()}
