"""Which device computes: whether it can, what it is called, and how data get there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from lrp_bench.contracts import BenchError

LEAST_FREE = 512 * 2**20  # bytes of a GPU's memory that CUDA's libraries want before anything is computed


def on_device(name: str) -> torch.device:
    """The device a config names, found to work; auto means a GPU where there is one. Raises BenchError."""
    return working("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else working(name)


def working(name: str, setting: str = "device", other: str = "cpu") -> torch.device:
    """A device on which a first tensor could be made. Raises BenchError that names the setting, and another value."""
    try:
        device = torch.device(name)
        free = _first_tensor(device)
    except (RuntimeError, AssertionError) as error:
        raise _refused(name, str(error), setting, other) from error
    if free < LEAST_FREE:
        raise _full(name, f"{free // 2**20} MiB", setting, other)
    return device


def kind(device: torch.device) -> str:
    """What tells devices apart whose numbers may differ: the name of a GPU, whichever of several; else the type."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def describe(device: torch.device) -> dict[str, str]:
    """Tags of a run: its device and, of a GPU, what torch computes with there."""
    if device.type != "cuda":
        return {"device": kind(device)}
    major, minor = torch.cuda.get_device_capability(device)
    return {
        "device": kind(device),
        "device.capability": f"{major}.{minor}",
        "version.cuda": str(torch.version.cuda),
        "version.cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
    }


def sent(x: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; on its way to a GPU nobody waits for it."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" and not x.is_cuda else x.to(device)


@contextmanager
def room(setting: str) -> Iterator[None]:
    """Turn a GPU that runs out of memory inside the block into a BenchError that names the setting to lower."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        said = str(error).splitlines()[0].rstrip(".")
        raise BenchError(
            f"Expected room on the GPU, got: {said}: lower {setting}, or end what else fills it (nvidia-smi names it)."
        ) from error


def _first_tensor(device: torch.device) -> float:
    """Bytes that are free on the device once it has a tensor; no bound but on a GPU."""
    torch.ones(1, device=device)
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else float("inf")


def _refused(name: str, reason: str, setting: str, other: str) -> BenchError:
    """What to tell of a device that torch refuses, from what torch says of it."""
    said = next(iter(reason.strip().splitlines()), "no reason was given").partition(". ")[0]
    if "out of memory" in reason:
        return _full(name, "too little", setting, other)
    if "driver on your system is too old" in reason:
        found = said.partition("(found version ")[2].partition(")")[0] or "none it knows"
        return BenchError(
            f"Expected a driver for CUDA {torch.version.cuda}, with which torch {torch.__version__} was built, got one "
            f"for version {found} at most: update the driver, install a torch for that, or set {setting}={other}."
        )
    if "invalid device ordinal" in reason:
        count = torch.cuda.device_count()
        there = "cuda:0 is the only GPU" if count == 1 else f"cuda:0 to cuda:{count - 1} are the GPUs"
        return BenchError(f"Expected {setting} to be a GPU of this machine, got {name!r}, where {there}: correct it.")
    if name.startswith("cuda"):
        return BenchError(
            f"Expected a GPU for {setting}, got {name!r} on a machine without one that torch can use ({said}): set "
            f"{setting}={other}, or run where nvidia-smi lists a GPU."
        )
    return BenchError(
        f"Expected {setting} to be auto, cpu or a GPU of this machine, got {name!r} ({said}): correct {setting}."
    )


def _full(name: str, free: str, setting: str, other: str) -> BenchError:
    return BenchError(
        f"Expected a GPU with {LEAST_FREE // 2**20} MiB free, got {name!r} with {free}: end what fills it (nvidia-smi "
        f"names it), or set {setting} to another GPU or to {other}."
    )
