"""What the figures are measured on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version

import torch
from timing import processor

from gpu_parts.sheet import Scale, Sheet

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "mlflow", "captum", "zennit", "transformers")
TABLE = "Machine"


def main(sheet: Sheet, scale: Scale) -> None:
    """Name device, driver and libraries."""
    wanted = scale.device if scale.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    torch.zeros(1, device=wanted)
    found = {
        "device": wanted,
        "name": name(wanted),
        "processor": processor(),
        "threads": str(torch.get_num_threads()),
        "at the start": f"{os.getloadavg()[0]:.1f} processes at work, for {os.cpu_count()} processors",
    }
    if wanted == "cuda":
        found |= {
            "driver": driver(),
            "CUDA of torch": str(torch.version.cuda),
            "cuDNN": str(torch.backends.cudnn.version()),
        }
        found["memory of the device, GiB"] = f"{torch.cuda.get_device_properties(0).total_memory / 2**30:.1f}"
    found |= {"Python": platform.python_version(), "system": platform.platform()}
    for what, value in (found | {package: installed(package) for package in PACKAGES}).items():
        sheet.put(TABLE, what, value=value)


def name(device: str) -> str:
    """Of the GPU, or of the processor."""
    return torch.cuda.get_device_name() if device == "cuda" else processor()


def driver() -> str:
    """The version that nvidia-smi tells."""
    if not shutil.which("nvidia-smi"):
        return "unknown: no nvidia-smi"
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    said = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False).stdout.splitlines()
    return said[0].strip() if said else "unknown"


def installed(package: str) -> str:
    """Its version."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
