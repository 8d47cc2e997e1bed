"""The machine a run is on: its processor, and its GPUs as their driver names them. Known without torch."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pynvml

T = TypeVar("T")

HIDDEN = ("", "-1")  # values of CUDA_VISIBLE_DEVICES that show no GPU


def describe() -> dict[str, str]:
    """Tags: processor and, where there are GPUs that a process may use, their names and their driver's version."""
    told = {"processor": processor()}
    if names := gpus():
        told |= {"gpus": ", ".join(names), "version.driver": _asked(pynvml.nvmlSystemGetDriverVersion, "unknown")}
    return told


def processor() -> str:
    """The model's name, or at least its architecture."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def gpus() -> list[str]:
    """The kinds of NVIDIA GPU that a process may use, sorted; none where their driver does not answer."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in HIDDEN
    return [] if hidden else _asked(_names, [])


def _names() -> list[str]:
    handles = [pynvml.nvmlDeviceGetHandleByIndex(place) for place in range(pynvml.nvmlDeviceGetCount())]
    return sorted({str(pynvml.nvmlDeviceGetName(handle)) for handle in handles})


def _asked(question: Callable[[], T], otherwise: T) -> T:
    """The driver's answer, where there is one and it has an answer."""
    try:
        pynvml.nvmlInit()
        try:
            return question()
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return otherwise
